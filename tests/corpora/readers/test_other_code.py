from __future__ import annotations

from isometry.corpora.readers.other_code import read_other_code
from isometry.corpora.readers.reading import UniqueNames


def test_a_short_file_is_one_document() -> None:
    (document,) = read_other_code(
        "\nint f() {\n\n  return 1;\n}\n\nint g();\n", "src/a.c", UniqueNames()
    )
    assert (document.id, document.title, document.context) == ("src/a.c", "a.c", "src")
    assert (document.kind, document.group) == ("code", "src/a.c")
    assert read_other_code("\n{}\n", "a.js", UniqueNames()) == []


def test_a_long_file_is_split_between_blocks_and_loses_nothing() -> None:
    blocks = [f"fn f{n}() {{\n    let x = {n};\n\n    x\n}}" for n in range(60)]
    documents = read_other_code("\n\n".join(blocks), "a.rs", UniqueNames())
    assert "\n\n".join(document.text for document in documents) == "\n\n".join(blocks)
    assert [document.id for document in documents[:2]] == ["a.rs#1", "a.rs#2"]
    for document in documents:
        assert document.text.startswith("fn f")
        assert document.text.endswith("}")
        assert 30 < document.text.count("\n") < 60


def test_a_name_that_a_function_has_is_not_given_again() -> None:
    names = UniqueNames()
    assert names.take("app.js") == "app.js"
    (document,) = read_other_code("int main;", "app.js", names)
    assert (document.id, document.source) == ("app.js-2", "app.js")
