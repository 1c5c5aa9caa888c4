from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from isometry.corpora.readers.markup import Links, Page, page_documents, read_plain, slug

GROUPS = {
    path: path
    for path in ("guide/a.md", "guide/b.md", "index.md", "api/index.rst", "api/c d.html", "e.rst")
}
LINKS = Links(GROUPS | {"tool.py": "tool"}, {"far away": "e.rst"})


def test_context_is_the_path_of_headings() -> None:
    page = Page()
    for level, title in [(1, "Guide"), (2, "Install"), (3, "Linux"), (2, "Use"), (1, "Appendix")]:
        page.heading(level, title)
        page.add("words")
    headers = [document.header() for document in page_documents(page, "g.md", Links())]
    assert headers == [
        "Guide",
        "Guide > Install",
        "Guide > Install > Linux",
        "Guide > Use",
        "Guide > Appendix",
    ]


def test_title_of_the_page_comes_from_outside_then_the_heading_then_the_file() -> None:
    page = Page("Outside")
    page.add("before")
    page.heading(1, "Inside")
    page.add("after")
    first, second = page_documents(page, "x/y.md", Links())
    assert (first.title, first.context) == ("Outside", "")
    assert (second.title, second.context) == ("Inside", "Outside")
    page.title = ""
    assert page_documents(page, "x/y.md", Links())[0].title == "Inside"
    assert page_documents(read_plain("words"), "x/y.txt", Links())[0].title == "y"


def test_sections_without_words_are_dropped_but_name_their_children() -> None:
    page = Page()
    page.heading(1, "Top")
    page.add("*** 🎉 ---")
    page.heading(2, "Below")
    page.add("words")
    (document,) = page_documents(page, "p.md", Links())
    assert document.header() == "Top > Below"
    assert document.order == 0


@given(st.lists(st.sampled_from(["Same", "same!", "Same 2", "Same-2", "…", "Ünï"]), min_size=1))
def test_ids_are_unique_and_begin_with_the_path(titles: list[str]) -> None:
    page = Page()
    for title in titles:
        page.heading(1, title + "x")
        page.add("words")
    documents = page_documents(page, "p.md", Links())
    assert len({document.id for document in documents}) == len(titles)
    assert all(document.id.startswith("p.md#") for document in documents)
    assert [document.order for document in documents] == list(range(len(titles)))


def test_slug_keeps_any_script() -> None:
    assert slug("Größe & Länge (cm)") == "größe-länge-cm"
    assert slug("→") == "section"


def test_links_lead_to_pages_of_the_source_only() -> None:
    def resolve(target: str) -> str | None:
        return LINKS.resolve(target, "guide/a.md")

    assert resolve("b.md") == "guide/b.md"
    assert resolve("b.html#part") == "guide/b.md"
    assert resolve("./b") == "guide/b.md"
    assert resolve("../index.md?x=1") == "index.md"
    assert resolve("../api/") == "api/index.rst"
    assert resolve("../api/c%20d.html") == "api/c d.html"
    assert resolve("/e") == "e.rst"
    assert resolve("/b") == "guide/b.md"  # the site's root may be a folder of the source
    assert resolve("../tool.py") == "tool"
    assert resolve("label:Far  Away") == "e.rst"
    for nowhere in (
        "#here",
        "a.md#there",
        "missing.md",
        "../../index.md",
        "https://example.org/b.md",
        "//example.org/b.md",
        "mailto:b.md",
        "label:unknown",
        "http://[broken",
    ):
        assert resolve(nowhere) is None, nowhere


@given(st.text(max_size=300))
def test_plain_text_loses_no_word(text: str) -> None:
    documents = page_documents(read_plain(text), "notes.txt", Links())
    assert re.findall(r"[^\W_]+", text) == [
        word for document in documents for word in re.findall(r"[^\W_]+", document.text)
    ]
    assert len(documents) <= 1
