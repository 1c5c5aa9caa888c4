from __future__ import annotations

import ast
import inspect
import json
import textwrap
from pathlib import Path

import pytest

from isometry.corpora.documents import Document
from isometry.corpora.readers.code import module_name, read_module

STANDARD = Path(json.__file__).parents[1]
MODULES = ["textwrap.py", "json/decoder.py", "dataclasses.py", "typing.py", "http/client.py"]


def read(text: str) -> dict[str, Document]:
    documents = read_module(textwrap.dedent(text), "pkg/mod.py", module="pkg.mod")
    return {document.id: document for document in documents}


@pytest.mark.parametrize("path", MODULES)
def test_standard_library_functions_are_whole(path: str) -> None:
    text = (STANDARD / path).read_text(encoding="utf-8")
    documents = read_module(text, path, module=module_name(path))
    assert len({document.id for document in documents}) == len(documents)
    tree = ast.parse(text)
    nodes = {
        node.lineno: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    functions = 0
    for document in documents[1:]:
        node = nodes[int(document.source.rpartition(":")[2])]
        assert document.title.split(".")[-1] == node.name
        assert document.summary == (ast.get_docstring(node) or "")
        if isinstance(node, ast.ClassDef):
            continue
        functions += 1
        # The oracle: the same tree, without the docstring, with the same syntax.
        if document.summary:
            node.body = node.body[1:] or [ast.Pass()]
        source = (
            document.text if node.body[0].__class__ is not ast.Pass else document.text + " pass"
        )
        try:
            parsed = ast.parse(source).body[0]
        except SyntaxError:
            parsed = ast.parse(document.text).body[0]
        assert _without_strings(parsed) == _without_strings(node), document.id
    assert functions >= 9


def _without_strings(node: ast.AST) -> str:
    # Dedenting may change the blanks within strings of several lines, and nothing else.
    node = ast.parse(ast.unparse(node))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            inner.value = "".join(inner.value.split())
    return ast.dump(node)


SAMPLE = '''
    """Short."""
    LIMIT = 3
    __all__ = ["f"]

    @decorate(
        1)
    def f(a, b="ü"):  # why
        """Sum ü.

            Indented.
        """
        # kept comment
        def inner():
            """inner doc"""
        return a

    def one(): "One."; return 1
    def only():
        """Only."""

    try:
        import x
    except ImportError:
        def fallback():
            pass

    class C(Base,
            metaclass=M):
        """A class."""
        field: int = 0
        @property
        def p(self):
            """Get."""
            return self.field
        @p.setter
        def p(self, value):
            self.field = value
        class Inner:
            z = 1
'''


def test_documents_of_a_module() -> None:
    found = read(SAMPLE)
    assert list(found) == [
        "pkg.mod", "pkg.mod.f", "pkg.mod.one", "pkg.mod.only", "pkg.mod.fallback", "pkg.mod.C",
        "pkg.mod.C.p", "pkg.mod.C.p-2", "pkg.mod.C.Inner",
    ]  # fmt: skip
    assert found["pkg.mod"].text == '"""Short."""\nLIMIT = 3'
    f = found["pkg.mod.f"]
    assert (f.title, f.context, f.group, f.kind) == ("f", "pkg.mod", "pkg.mod", "code")
    assert f.source == "pkg/mod.py:8"
    assert f.summary == "Sum ü.\n\nIndented."
    assert f.text == (
        '@decorate(\n    1)\ndef f(a, b="ü"):  # why\n    # kept comment\n    def inner():\n'
        '        """inner doc"""\n    return a'
    )
    assert found["pkg.mod.one"].text == "def one(): return 1"
    assert found["pkg.mod.only"].text == "def only():"
    assert found["pkg.mod.C.p"].title == "C.p"
    assert found["pkg.mod.C"].text == (
        "class C(Base,\n        metaclass=M):\n    field: int = 0\n    @property\n"
        "    def p(self):\n    @p.setter\n    def p(self, value):\n    class Inner:"
    )
    assert [document.order for document in found.values()] == list(range(len(found)))


def test_a_module_that_explains_itself_is_prose() -> None:
    documents = read_module(
        inspect.getsource(json), "json/__init__.py", module="json", modules={"json.decoder"}
    )
    assert (documents[0].id, documents[0].kind) == ("json", "prose")
    assert documents[0].text == inspect.cleandoc(json.__doc__ or "")
    assert documents[0].summary == ""
    assert documents[1].links == ("json.decoder",)


def test_what_follows_a_docstring_is_indented_as_it_was_by_tabs_too() -> None:
    spaced = (
        'class A:\n    def f(self):\n        """Words of it."""\n'
        "        # why\n        x = 1\n        if x:\n            return x\n"
    )
    expected = "def f(self):\n    # why\n    x = 1\n    if x:\n        return x"
    for indent in ("    ", "\t"):
        *_, function = read_module(spaced.replace("    ", indent), "a.py", module="a")
        assert function.title == "A.f"
        assert function.text == expected.replace("    ", indent)


def test_links_are_the_modules_imported() -> None:
    text = (
        "import os, pkg.a\nfrom . import b\nfrom .c import name\nfrom ..other import d\ndef f(): 1"
    )
    known = {"pkg.a", "pkg.sub.b", "pkg.sub.c", "pkg.other.d", "pkg.other", "pkg.sub.mod", "pkg"}

    def links(path: str, module: str) -> tuple[str, ...]:
        return read_module(text, path, module=module, modules=known)[0].links

    expected = ("pkg.a", "pkg.sub.b", "pkg.sub.c", "pkg.other.d")
    assert links("pkg/sub/mod.py", "pkg.sub.mod") == expected
    assert links("pkg/sub/__init__.py", "pkg.sub") == expected


def test_every_document_fits_into_arrow() -> None:
    (document,) = read('def f():\n    """Half a pair: \\ud83d."""\n    return 1\n').values()
    assert document.summary == "Half a pair: ?."


def test_module_names() -> None:
    assert module_name("a/b/__init__.py") == "a.b"
    assert module_name("a/b.py") == "a.b"
    assert module_name("__init__.py") == "__init__"
