from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.core.errors import InputError
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


def test_a_compressed_page_does_not_link_to_itself() -> None:
    links = Links({"a.html": "a.html.gz", "a.html.gz": "a.html.gz", "b.html": "b.html"})
    assert links.resolve("a.html#part", "a.html.gz") is None
    assert links.resolve("a.html#part", "b.html") == "a.html.gz"


def test_a_page_goes_on_in_the_section_that_another_left_open() -> None:
    page, other = Page(), Page()
    page.heading(1, "Top")
    page.add("one")
    other.add("two")
    other.link("e.rst")
    other.heading(2, "Below")
    other.add("three")
    page.extend(other)
    page.add("four", tight=True)
    top, below = page_documents(page, "g.md", LINKS)
    assert (top.text, top.links) == ("one\n\ntwo", ("e.rst",))
    assert (below.header(), below.text) == ("Top > Below", "three\nfour")


def test_chapters_are_groups_of_their_own() -> None:
    page = Page("Book", chapters=True)
    page.add("before")
    for level, title in [(1, "Same"), (2, "In it"), (1, "Same"), (1, "Other")]:
        page.heading(level, title)
        page.add("words")
    documents = page_documents(page, "b.pdf", Links())
    groups = ["b.pdf", "b.pdf#same", "b.pdf#same", "b.pdf#same-2", "b.pdf#other"]
    assert [document.group for document in documents] == groups
    assert {document.source for document in documents} == {"b.pdf"}


def test_text_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isometry.corpora.readers.markup.MOST_CHARACTERS", 10)
    page = Page()
    page.add("12345")
    page.heading(1, "Next")
    page.add("67890")
    with pytest.raises(InputError, match="million characters"):
        page.add("1")


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


def test_slug_keeps_the_signs_without_which_words_are_others() -> None:
    assert slug("हिन्दी, और हुन्दा") == "हिन्दी-और-हुन्दा"
    assert slug("தமிழ் மொழி") == "தமிழ்-மொழி"
    assert slug("ภาษาไทยที่นี่") == "ภาษาไทยที่นี่"


@given(
    st.text(st.characters(codec="cp1252") | st.sampled_from("e\u0301⚠\ufe0f1\u20e3ıñ"), max_size=20)
)
def test_slug_of_latin_text_is_its_letters_and_digits(title: str) -> None:
    # However an accent was typed, a heading has one id.
    whole = unicodedata.normalize("NFC", title.replace("\u00ad", ""))
    letters = re.findall(r"\w+", whole.lower())
    assert slug(title) == ("-".join(letters) or "section")


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


def test_letters_and_accents_of_a_path_may_be_apart_or_not() -> None:
    apart, whole = (unicodedata.normalize(form, "für/Übersicht.md") for form in ("NFD", "NFC"))
    for path in (apart, whole):
        links = Links({path: path, "für.md": "für.md"})
        for link in (apart, whole, quote(apart), quote(whole)):
            assert links.resolve(link, "für.md") == path
            assert links.resolve(f"../{link}", path) is None
    both = Links({apart: apart, whole: whole})
    assert (both.resolve(apart, "a.md"), both.resolve(whole, "a.md")) == (apart, whole)


@given(st.text(max_size=300))
def test_plain_text_loses_no_word(text: str) -> None:
    documents = page_documents(read_plain(text), "notes.txt", Links())
    assert re.findall(r"[^\W_]+", text) == [
        word for document in documents for word in re.findall(r"[^\W_]+", document.text)
    ]
    assert len(documents) <= 1
