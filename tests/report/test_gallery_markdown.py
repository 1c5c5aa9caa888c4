from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from isometry.report.markdown import prose, table, words

HOSTILE = (
    "a | b\n\n# c `d` <script>x</script> [e](f) ![g](h) **i** _j_ ~~k~~ &amp; > l\n---\n\x1b\u202e"
)


def tokens(text: str) -> list[str]:
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    return [t.type for token in parsed for t in [token, *(token.children or [])]]


def said(text: str) -> str:
    """What a reader sees of the only paragraph."""
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    assert [token.type for token in parsed] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in parsed[1].children or []} <= {"text", "text_special"}
    return "".join(child.content for child in parsed[1].children or [])


def test_words_are_read_as_they_are() -> None:
    line = "a < b & c > d, [e](f) *g* `h` \\i # j ~k~ l|m &lt;"
    assert said("x " + words(line)) == "x " + line


def test_words_stay_in_their_cell() -> None:
    calm = table(["one", "two"], [["a", words("calm")]])
    assert tokens(table(["one", "two"], [["a", words(HOSTILE)]])) == tokens(calm)
    assert "\u202e" not in words(HOSTILE)


@pytest.mark.parametrize(
    "start",
    [
        "# a",
        "- a",
        "+ a",
        "* a",
        "1. a",
        "12) a",
        "> a",
        "---",
        "===",
        "<!-- a",
        "<div a",
        "&lt; a",
    ],
)
def test_no_paragraph_becomes_something_else(start: str) -> None:
    assert said(prose(start)) == start


def test_prose_keeps_paragraphs_and_code_and_nothing_else() -> None:
    text = "One `a|b <c>` and\n*two*.\n\n\n  Three,\nfour.\n"
    assert prose(text) == "One `a|b <c>` and \\*two\\*.\n\nThree, four."
    assert prose(" \n\n ") == ""
    assert tokens(prose(HOSTILE)).count("paragraph_open") == 2
    assert "html_inline" not in tokens(prose(HOSTILE))


@pytest.mark.parametrize(("align", "style"), [("left", None), ("right", "text-align:right")])
def test_the_first_column_stands_left_and_the_others_as_asked(align, style: str | None) -> None:
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(
        table(["a", "b", "c"], [["1", "2", "3"]], align=align)
    )
    cells = [token.attrs.get("style") for token in parsed if token.type == "td_open"]
    assert cells == [None, style, style]
