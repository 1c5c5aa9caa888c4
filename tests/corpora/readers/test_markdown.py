from __future__ import annotations

import re
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.corpora.documents import Document
from isometry.corpora.readers.markdown import read_markdown
from isometry.corpora.readers.markup import Links, page_documents

INSTALLED = sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.md"))


def read(text: str, path: str = "docs/page.md", links: Links | None = None) -> list[Document]:
    return page_documents(read_markdown(text), path, links or Links())


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text))


def shown(documents: list[Document]) -> set[str]:
    return {
        word for document in documents for word in words(f"{document.header()} {document.text}")
    }


PAGE = """\
---
title: "The page"
---
Before <b>all</b> headings. ![logo](logo.png "Logo")

First steps {#first}
===========
Install *it* with [pip](../install.md#pip) or ask [others](https://example.org/install.md).

```python
def code():
    return "kept  as is"
```

<h2 align="center">An HTML <img src="x.png" alt="picture"> heading</h2>
<p>Words in a <code>tag</code>.</p>
<script>no()</script>
<!-- no comment -->

- one
- two
  - three

| name | value |
|------|-------|
| `a`  | **1** |

> ## Not a section
> quoted &amp; escaped \\*
"""


def test_sections_of_a_page() -> None:
    before, steps, html = read(PAGE, links=Links({"install.md": "install.md"}))
    assert (before.id, before.title, before.text) == (
        "docs/page.md#the-page",
        "The page",
        "Before all headings.",
    )
    assert steps.header() == "The page > First steps"
    assert steps.links == ("install.md",)
    assert 'def code():\n    return "kept  as is"' in steps.text
    assert "Install it with pip or ask others." in steps.text
    assert html.header() == "The page > First steps > An HTML heading"
    assert html.text == (
        "Words in a tag.\n\none\ntwo\nthree\n\n"
        "name value\na 1\n\nNot a section\n\nquoted & escaped *"
    )


WORD = st.text("abcdefäöüжлמ漢字0123456789", min_size=1, max_size=8)
BLOCK = st.one_of(
    st.lists(WORD, min_size=1).map(" ".join),
    st.lists(WORD, min_size=1).map(lambda items: "\n".join(f"- *{item}*" for item in items)),
    st.lists(WORD, min_size=1).map(lambda items: "> " + " ".join(items)),
    st.lists(WORD, min_size=1).map(lambda items: "```\n" + "\n".join(items) + "\n```"),
    st.lists(WORD, min_size=1).map(lambda items: f"<div>{'<br>'.join(items)}</div>"),
    st.tuples(WORD, WORD).map(lambda pair: f"| {pair[0]} |\n|---|\n| {pair[1]} |"),
    WORD.map(lambda word: f"[{word}](x.md) `{word}`"),
)
SECTION = st.tuples(st.integers(1, 6), WORD, BLOCK).map(
    lambda parts: f"{'#' * parts[0]} {parts[1]}\n\n{parts[2]}"
)


@given(BLOCK, st.lists(SECTION))
def test_no_word_is_lost(first: str, sections: list[str]) -> None:
    text = "\n\n".join([first, *sections])
    markup = {"div", "br", "x", "md"}
    documents = read(text)
    assert words(re.sub(r"<[^>]*>|\(x\.md\)", " ", text)) - markup <= shown(documents)
    assert len({document.id for document in documents}) == len(documents)
    assert len(documents) == 1 + len(sections)


@pytest.mark.parametrize("path", INSTALLED[::7], ids=lambda path: path.name)
def test_real_pages_keep_their_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    documents = read(text)
    body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->|<[^<>]*>|!\[[^\]]*\]|\]\([^)]*\)|^\[[^\]]+\]:.*$|\{[#.][^}]*\}",
                  " ", body, flags=re.DOTALL | re.MULTILINE)  # fmt: skip
    # Fences, addresses, and the numbers of lists, which a renderer gives.
    body = re.sub(r"^\s*(```|~~~).*$|&\w+;|\w+://\S+|^\s*\d+[.)]\s", " ", body, flags=re.MULTILINE)
    wanted = words(body)
    # Headings with nothing below them go; what else is missing is a sign of lost text.
    headings = words(" ".join(re.findall(r"^#+.*$|^.*\n[-=]+$", text, flags=re.MULTILINE)))
    missing = wanted - shown(documents) - headings
    assert len(missing) <= len(wanted) // 100, missing


def test_front_matter_is_not_a_rule_and_a_rule_is_not_front_matter() -> None:
    assert read("---\n\nwords\n\n---\n\nmore")[0].text == "words\n\nmore"
    assert read("---\nlayout: x\ntitle: 'A: b'\n---\nwords")[0].title == "A: b"
    assert read("---\n---\nwords")[0].text == "words"


@pytest.mark.parametrize(
    "front",
    [
        '---\n# of the site\n\ntitle: "The page"\n---\n',
        "---\n\ntitle: The page\ntags:\n- one\n- two\n---\n",
        "---\ndate created: 2024-01-02\ntitle: 'The page'\nlast seen: |\n  today: yes\n...\n",
        '+++\n# of the site\ntitle = "The page"\n[params]\ntitle = "no"\n+++\n',
        "+++\n[params]\ntitle = 'no'\n+++\n# The page\n",
    ],
)
def test_front_matter_of_every_kind_is_no_text(front: str) -> None:
    (document,) = read(f"{front}Its words.\n\n---\n")
    assert (document.header(), document.text) == ("The page", "Its words.")


@pytest.mark.parametrize(
    "text",
    [
        "---\nSome plain words\n\n---\n",
        "---\n\nOne thing to note: it is hot.\n\n---\n",
        "---\n# A heading\n\nWords in a sentence: they stay.\n\n---\n",
        "---\nA sentence to begin with: it has words.\nAnother line.\n---\n",
        "+++\nSome plain words\n+++\n",
    ],
)
def test_prose_after_a_thematic_break_is_no_front_matter(text: str) -> None:
    documents = read(f"{text}more")
    assert words(text) | {"more"} <= shown(documents)


def test_cells_of_a_table_stay_apart_after_a_blank_line_in_it() -> None:
    page = (
        "<table>\n<tr><td>foo</td><td>bar</td></tr>\n\n"
        "  <tr><td>alpha</td><td>beta</td></tr>\n\n<td>one</td>\n<td>two</td></tr>\n\n"
        "</tr><tr><td>last</td><td>row</td></tr></table>\n<b>The</b> end."
    )
    (document,) = read(page)
    rows = ["foo bar", "alpha beta", "one two", "last row", "The end."]
    assert document.text.split("\n\n") == rows


def test_outlines_nest_as_deep_as_people_write_them() -> None:
    text = "\n".join(f"{'  ' * level}- level {level} says it" for level in range(30))
    words = " ".join(section.text for section in read_markdown(text).sections)
    assert all(f"level {level} says it" in words for level in range(30))
    assert read_markdown("---\ntitle: >-\n  Folded\n---\nwords").title == ""
