"""Python source -> one document a function, method, class and module."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import UniqueNames, has_words

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_MODULE_WORDS = 20  # a module docstring of fewer words says little more than the name
# Where statements hold others.
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_CONSTANT_LINES = 20  # a longer constant is a data table


def module_name(path: str) -> str:
    """The dotted name of a module, by its POSIX path: "a/b/__init__.py" -> "a.b"."""
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def read_module(
    text: str,
    path: str,
    *,
    module: str,
    modules: Collection[str] = (),
    names: UniqueNames | None = None,
) -> list[Document]:
    """The documents of a Python file; functions within functions belong to the outer one.

    Args:
        text: The source.
        path: Its path, for people.
        module: Its dotted name: group, context, and the beginning of every id.
        modules: The modules that an import may link to.
        names: The ids taken so far; those of this file are added.

    Raises:
        SyntaxError: When it does not parse.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes and comparisons that are the author's matter
        tree = ast.parse(text)
    reader = _Reader(text, path, module, names or UniqueNames())
    reader.add_module(tree)
    reader.add_definitions(tree.body, "")
    is_package = path.endswith("__init__.py")
    links = _imported(tree, module, is_package=is_package, modules=modules)
    return [replace(document, links=links) for document in reader.documents]


@dataclass
class _Reader:
    text: str
    path: str
    module: str
    names: UniqueNames
    documents: list[Document] = field(default_factory=list)

    def __post_init__(self) -> None:
        # ast counts columns in UTF-8 bytes and lines by line feeds alone.
        self.lines = [line.encode() for line in self.text.split("\n")]

    def add_module(self, tree: ast.Module) -> None:
        docstring = _words_of(tree)
        if len(docstring.split()) >= _MODULE_WORDS:
            self._add("", docstring, 1, prose=True)
            return
        constants = [
            self._slice(_start(node), _end(node))
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and _is_constant(node)
        ]
        if constants:
            head = [self._slice(_start(tree.body[0]), _end(tree.body[0]))] if docstring else []
            self._add("", "\n".join(head + constants), 1)

    def add_definitions(self, body: list[ast.stmt], above: str) -> None:
        for node in _definitions(body):
            name = above + node.name
            docstring = _words_of(node)
            if isinstance(node, ast.ClassDef):
                self._add(name, self._class(node), node.lineno, docstring)
                self.add_definitions(node.body, name + ".")
            else:
                self._add(name, self._function(node), node.lineno, docstring)

    def _add(
        self, name: str, text: str, line: int, summary: str = "", *, prose: bool = False
    ) -> None:
        if has_words(text):
            identifier = self.names.take(f"{self.module}.{name}" if name else self.module)
            self.documents.append(
                Document(
                    id=identifier,
                    text=text,
                    title=name or self.module,
                    context=self.module if name else "",
                    summary=summary,
                    group=self.module,
                    order=len(self.documents),
                    kind="prose" if prose else "code",
                    source=f"{self.path}:{line}",
                )
            )

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        docstring = _docstring(node)
        if docstring is None:
            return self._slice(_start(node), _end(node))
        head = self._slice(_start(node), (docstring.lineno, docstring.col_offset))
        if len(node.body) == 1:
            return head
        # From the docstring's end, not from the next statement: comments stand between them.
        tail = self._slice(_end(docstring), _end(node), indent=node.col_offset).lstrip("; \t\n")
        before = self.lines[docstring.lineno - 1][: docstring.col_offset]
        if before.strip():
            return f"{head} {tail}"
        return f"{head}\n{before[node.col_offset :].decode()}{tail}"

    def _class(self, node: ast.ClassDef) -> str:
        parts = [self._signature(node)]
        docstring = _docstring(node)
        for statement in node.body:
            if statement is docstring or isinstance(statement, ast.Pass):
                continue
            inner = list(_definitions([statement]))
            if inner:
                parts += [_indented(self._signature(definition)) for definition in inner]
            else:
                parts.append(_indented(self._slice(_start(statement), _end(statement))))
        return "\n".join(parts)

    def _signature(self, node: Definition) -> str:
        return self._slice(_start(node), _start(node.body[0]))

    def _slice(
        self, start: tuple[int, int], end: tuple[int, int], indent: int | None = None
    ) -> str:
        """The source between two (line, byte) places, less the indentation of its first line."""
        (first, begin), (last, stop) = start, end
        margin = begin if indent is None else indent
        lines = self.lines[first - 1 : last]
        lines[-1] = lines[-1][:stop]
        lines[0] = lines[0][begin:]
        for index in range(1, len(lines)):
            if not lines[index][:margin].strip():
                lines[index] = lines[index][margin:]
        return b"\n".join(lines).decode(errors="replace").rstrip()


def _definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """Functions and classes in order, also those that stand within `if`, `try` and the like."""
    for node in body:
        if isinstance(node, Definition):
            yield node
        else:
            yield from _definitions(list(_statements(node)))


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _statements(child)


def _words_of(node: Definition | ast.Module) -> str:
    docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
    # An escape may stand for half a surrogate pair, which no Arrow table can hold.
    return docstring.encode(errors="replace").decode()


def _docstring(node: Definition) -> ast.stmt | None:
    return node.body[0] if ast.get_docstring(node, clean=False) is not None else None


def _start(node: ast.stmt) -> tuple[int, int]:
    if isinstance(node, Definition) and node.decorator_list:
        return node.decorator_list[0].lineno, node.col_offset
    return node.lineno, node.col_offset


def _end(node: ast.stmt) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))


def _is_constant(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    named = all(isinstance(target, ast.Name) and target.id != "__all__" for target in targets)
    return named and (node.end_lineno or 0) - node.lineno < _CONSTANT_LINES


def _all_statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, outer ones first; there are ten times as many expressions."""
    left: deque[ast.AST] = deque([tree])
    while left:
        node = left.popleft()
        yield node
        for name in _BLOCKS:
            left.extend(getattr(node, name, ()))


def _imported(
    tree: ast.Module, module: str, *, is_package: bool, modules: Collection[str]
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    parts = module.split(".")
    for node in _all_statements(tree):
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package that holds the module; a package's own file is in itself.
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found[inner if inner in modules else base] = None
    return tuple(name for name in found if name in modules and name != module)
