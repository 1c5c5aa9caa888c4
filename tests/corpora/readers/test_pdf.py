from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pypdf
import pytest
from pypdf.annotations import Link
from pypdf.generic import (
    ArrayObject,
    ByteStringObject,
    DecodedStreamObject,
    DictionaryObject,
    Fit,
    NameObject,
    TextStringObject,
)

from isometry.core.errors import InputError, MissingExtraError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, markup, open_source
from isometry.corpora.readers.markup import Links, page_documents
from isometry.corpora.readers.pdf import read_pdf

TOP, STEP = 750, 15


def make(pages: Sequence[Sequence[str]], title: str = "") -> pypdf.PdfWriter:
    """A PDF with these lines on its pages."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
        }
    )
    for lines in pages:
        page = writer.add_blank_page(600, 800)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F"): font})}
        )
        stream = DecodedStreamObject()
        shown = "".join(
            f"1 0 0 1 50 {TOP - STEP * number} Tm ({line}) Tj\n"
            for number, line in enumerate(lines)
        )
        stream.set_data(f"BT /F 10 Tf {shown} ET".encode("cp1252"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    return writer


def data_of(writer: pypdf.PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def documents_of(writer: pypdf.PdfWriter, path: str = "a/b.pdf") -> list[Document]:
    page = read_pdf(io.BytesIO(data_of(writer)))
    return page_documents(page, path, Links({"a/other.html": "a/other.html"}))


def test_without_bookmarks_every_page_is_a_document_of_the_file() -> None:
    first, third = documents_of(make([["Größe and words"], [], ["more"]], "The title"))
    assert (first.id, third.id) == ("a/b.pdf#page-1", "a/b.pdf#page-3")
    assert first.group == third.group == first.source == "a/b.pdf"
    assert first.header() == third.header() == "The title"
    assert (first.text, first.order, third.order) == ("Größe and words", 0, 1)
    assert documents_of(make([["words"]]))[0].header() == "b"


def bookmarked() -> pypdf.PdfWriter:
    writer = make(
        [
            ["Preface words"],
            ["1 Installing", "Get it.", "1.1 On Linux or on a", "Macintosh", "Run it,", "and"],
            ["wait.", "Using it", "Use it."],
        ],
        "Manual",
    )
    chapter = writer.add_outline_item(title="Installing", page_number=1)
    writer.add_outline_item(title="On Linux or on a Macintosh", page_number=1, parent=chapter)
    # Its words are not on the page: the height decides.
    writer.add_outline_item(title="Usage", page_number=2, fit=Fit.xyz(50, TOP - 5, 0))
    writer.add_outline_item(title="Installing once more", page_number=1)
    return writer


def test_bookmarks_cut_the_text_where_their_titles_stand() -> None:
    documents = documents_of(bookmarked())
    assert [(document.header(), document.text) for document in documents] == [
        ("Manual", "Preface words"),
        ("Manual > Installing", "Get it."),
        ("Manual > Installing > On Linux or on a Macintosh", "Run it,\nand\nwait."),
        ("Manual > Usage", "Using it\nUse it."),
    ]
    assert documents[2].id == "a/b.pdf#on-linux-or-on-a-macintosh"
    assert {document.group for document in documents} == {"a/b.pdf"}


def test_a_height_is_that_of_the_page_with_its_running_lines() -> None:
    words = ["alpha", "beta", "gamma", "delta"]
    writer = make([["The whole book", f"{word} ends", f"{word} begins"] for word in words])
    for number, word in enumerate(words):
        # The words that begin the section are not its title.
        fit = Fit.xyz(50, TOP - 2 * STEP + 10, 0)
        writer.add_outline_item(title=f"On {word}", page_number=number, fit=fit)
    texts = [document.text.split("\n") for document in documents_of(writer)]
    assert texts == [
        ["alpha ends"],
        ["alpha begins", "beta ends"],
        ["beta begins", "gamma ends"],
        ["gamma begins", "delta ends"],
        ["delta begins"],
    ]


def test_one_bookmark_above_all_others_is_the_book() -> None:
    writer = make([["A"], ["words of a"], ["words of b"]])
    book = writer.add_outline_item(title="The book", page_number=0)
    for number, title in enumerate(("First", "Second"), start=1):
        writer.add_outline_item(title=title, page_number=number, parent=book)
    headers = [document.header() for document in documents_of(writer)]
    assert headers == ["The book", "The book > First", "The book > Second"]


def test_a_title_that_is_no_unicode_is_none_and_the_rest_is_read() -> None:
    half = ByteStringObject(b"\xfe\xff\xd8\x00\x00a")
    writer = make([["words of a"], ["words of b"], ["words of c"]], "Manual")
    for number, title in enumerate(("First", "Second", "Third")):
        mark = writer.add_outline_item(title=title, page_number=number).get_object()
        if title == "Second":
            mark[NameObject("/Title")] = half
    found = [(document.header(), document.text) for document in documents_of(writer)]
    assert found == [
        ("Manual > First", "words of a\nwords of b"),
        ("Manual > Third", "words of c"),
    ]
    assert writer._info is not None
    writer._info[NameObject("/Title")] = half
    assert documents_of(writer)[0].header() == "First"


def test_chapters_of_a_long_book_are_groups_of_their_own() -> None:
    pages = [[f"{chr(65 + number)} is a body"] for number in range(60)]
    for count, root, expected in ((60, False, 3), (60, True, 3), (45, False, 1)):
        writer = make(pages[:count])
        above = writer.add_outline_item(title="Book", page_number=0) if root else None
        for number, title in enumerate(("One", "Two", "Three")):
            chapter = writer.add_outline_item(title=title, page_number=20 * number, parent=above)
            writer.add_outline_item(title="Part", page_number=20 * number + 2, parent=chapter)
        documents = documents_of(writer)
        assert len({document.group for document in documents}) == expected
        assert len({document.id for document in documents}) == len(documents) == 6
    assert documents_of(writer)[0].group == "a/b.pdf"


def test_running_lines_go_and_what_is_said_once_stays() -> None:
    names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    pages = [
        [
            f"Chapter {number // 3}. {names[number // 3]}" if number % 2 else "The whole book",
            f"{name} opens",
            "The whole book" if number == 4 else "is in the middle",
            f"{name} closes",
            f"Page {number + 1} of 10",
        ]
        for number, name in enumerate(names)
    ]
    documents = documents_of(make(pages))
    assert [document.text.split("\n") for document in documents] == [
        [f"{name} opens", pages[number][2], f"{name} closes"] for number, name in enumerate(names)
    ]
    slides = documents_of(make([[f"Comparing {name}", str(n)] for n, name in enumerate(names)]))
    assert [document.text for document in slides] == [f"Comparing {name}" for name in names]
    assert len(documents_of(make([["Questions?"]] * 4))) == 4
    # Each page asks something else, which only begins as the others do.
    asked = [[f"Question {n}: what is {name}?", f"{name} is this"] for n, name in enumerate(names)]
    assert [each.text.split("\n")[0] for each in documents_of(make(asked))] == [
        page[0] for page in asked
    ]
    # Of two pages nothing can be said.
    assert "The whole book" in documents_of(make(pages[::2][:2]))[0].text


def test_words_divided_at_a_line_end_are_joined() -> None:
    lines = [
        "This is well-known to the per-",
        "sons who read. It is well-",
        "known: the Vor- und Nach-",
        "teile of Vor-",
        "und Nachnamen, and UTF-",
        "8 in the Debian-",
        "Paket.",
    ]
    text = " ".join(documents_of(make([lines]))[0].text.split())
    assert text == (
        "This is well-known to the persons who read. It is well-known: the Vor- und Nachteile of"
        " Vor- und Nachnamen, and UTF-8 in the Debian-Paket."
    )


def test_lines_of_a_table_of_contents_go() -> None:
    lines = ["Contents", "1 Words . . . . . . . . 3", "2 More ......... xii", "Really? ... yes"]
    assert documents_of(make([lines]))[0].text == "Contents\nReally? ... yes"


def test_links_to_other_files_stay() -> None:
    writer = make([["words"], ["more"]])
    box = (50, 700, 90, 760)
    writer.add_annotation(0, Link(rect=box, url="other.html"))
    writer.add_annotation(0, Link(rect=box, url="https://example.org/other.html"))
    action = DictionaryObject(
        {
            NameObject("/S"): NameObject("/GoToR"),
            NameObject("/F"): TextStringObject("../a/other.html"),
            NameObject("/D"): ArrayObject(),
        }
    )
    annotation = Link(rect=box, url="x")
    annotation[NameObject("/A")] = action
    writer.add_annotation(1, annotation)
    first, second = documents_of(writer)
    assert first.links == second.links == ("a/other.html",)


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    good = data_of(make([["words"], [], []]))
    locked = make([["words"]])
    locked.encrypt("secret")
    open_to_read = make([["free words"]])
    open_to_read.encrypt("", owner_password="secret")
    files = {
        "damaged.pdf": good[:200],
        "images.pdf": data_of(make([[], []])),
        "junk.pdf": b"words",
        "locked.pdf": data_of(locked),
        "owner.pdf": data_of(open_to_read),
        "some.pdf": good,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    report = ReadingReport()
    documents = list(open_source(tmp_path).documents(report))
    assert [document.id for document in documents] == ["owner.pdf#page-1", "some.pdf#page-1"]
    assert {item.path: item.reason for item in report.skipped} == {
        "damaged.pdf": "damaged: it cannot be opened as a PDF",
        "images.pdf": "no text on any of its 2 pages: they are images",
        "junk.pdf": "damaged: it cannot be opened as a PDF",
        "locked.pdf": "encrypted with a password",
        "some.pdf": "2 of 3 pages are images or empty",
    }
    assert report.files == len(files)


def test_the_text_is_limited_and_not_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make([["words"]])
    writer.add_attachment("picture.bin", bytes(21 << 20))
    (tmp_path / "big.pdf").write_bytes(data_of(writer))
    assert (tmp_path / "big.pdf").stat().st_size > 20 << 20
    (document,) = open_source(tmp_path / "big.pdf").documents(ReadingReport())
    assert document.text == "words"
    monkeypatch.setattr("isometry.corpora.readers.pdf.MOST_CHARACTERS", 4)
    with pytest.raises(InputError, match="million characters"):
        read_pdf(io.BytesIO(data_of(writer)))
    assert markup.MOST_CHARACTERS == 20 << 20


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[pdf\]'"):
        read_pdf(io.BytesIO(b""))
