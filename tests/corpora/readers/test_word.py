from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from isometry.core.errors import InputError, MissingExtraError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.markup import Links, page_documents
from isometry.corpora.readers.word import read_word


def data_of(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def documents_of(document: Any) -> list[Document]:
    page = read_word(io.BytesIO(data_of(document)))
    return page_documents(page, "a/b.docx", Links({"a/c.docx": "a/c.docx"}))


def add_xml(document: Any, xml: str) -> None:
    document.element.body.insert_element_before(
        parse_xml(xml.replace(">", f" {nsdecls('w', 'r')}>", 1)), "w:sectPr"
    )


def test_headings_paragraphs_lists_and_tables_in_their_order() -> None:
    document = docx.Document()
    document.add_heading("The report", 0)
    document.add_paragraph("Before.")
    document.add_heading("Größe", 1)
    document.add_paragraph("First\tword.")
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("two", style="List Number")
    table = document.add_table(2, 3)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{number}"
    table.cell(1, 0).merge(table.cell(1, 1))
    table.cell(0, 2).add_table(1, 1).cell(0, 0).text = "inner"
    document.add_paragraph("After.")
    document.add_heading("Deeper", 2)
    document.add_paragraph("End.")
    before, size, deeper = documents_of(document)
    assert (before.header(), before.text) == ("The report", "Before.")
    assert size.header() == "The report > Größe"
    assert size.text == "First\tword.\n\none\ntwo\n\nc0 c1 c2 inner\nc3 c4 c5\n\nAfter."
    assert (deeper.header(), deeper.text) == ("The report > Größe > Deeper", "End.")
    assert deeper.id == "a/b.docx#deeper"


def test_the_readings_of_ruby_cut_no_word() -> None:
    document = docx.Document()
    reading, base = (
        f"<w:{tag}><w:r><w:t>{text}</w:t></w:r></w:{tag}>"
        for tag, text in (("rt", "とうきょう"), ("rubyBase", "東京"))
    )
    add_xml(
        document,
        f"<w:p><w:r><w:ruby>{reading}{base}</w:ruby></w:r><w:r><w:t>です。</w:t></w:r></w:p>",
    )
    assert documents_of(document)[0].text == "東京です。"


def test_headings_are_told_in_every_language() -> None:
    document = docx.Document()
    # Word in German writes the style's id so; the name that it stores stays English.
    document.styles["Heading 1"].element.set(
        "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}styleId", "berschrift1"
    )
    document.add_paragraph("Übersicht", style="Heading 1")
    document.add_paragraph("words")
    named = document.styles["Heading 2"].element
    named.pPr.remove(named.pPr.find(f"{named.tag.partition('}')[0]}}}outlineLvl"))
    own = document.styles.add_style("Firmentitel", 1)
    own.base_style = document.styles["Heading 2"]
    document.add_paragraph("Geerbt", style=own)
    document.add_paragraph("words")
    outlined = document.styles.add_style("Kapitel", 1)
    outlined.element.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="2"/>'))
    document.add_paragraph("Gegliedert", style=outlined)
    document.add_paragraph("words")
    add_xml(
        document,
        '<w:p><w:pPr><w:outlineLvl w:val="0"/></w:pPr><w:r><w:t>Direkt</w:t></w:r></w:p>',
    )
    document.add_paragraph("words")
    add_xml(  # body text, in whatever style
        document,
        '<w:p><w:pPr><w:pStyle w:val="berschrift1"/><w:outlineLvl w:val="9"/></w:pPr>'
        "<w:r><w:t>no heading</w:t></w:r></w:p>",
    )
    documents = documents_of(document)
    assert documents[-1].text == "words\n\nno heading"
    assert [item.header() for item in documents] == [
        "Übersicht",
        "Übersicht > Geerbt",
        "Übersicht > Geerbt > Gegliedert",
        "Übersicht > Direkt",
    ]


def test_wrapped_and_tracked_text_is_read_once_and_contents_are_not() -> None:
    document = docx.Document()
    add_xml(
        document,
        '<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>'
        "</w:sdtPr><w:sdtContent><w:p><w:r><w:t>Intro 3</w:t></w:r></w:p></w:sdtContent></w:sdt>",
    )
    toc = document.styles.add_style("toc 1", 1)
    document.add_paragraph("Intro 3", style=toc)
    add_xml(
        document,
        "<w:sdt><w:sdtPr/><w:sdtContent><w:p><w:r><w:t>a field</w:t></w:r></w:p></w:sdtContent>"
        "</w:sdt>",
    )
    add_xml(
        document,
        "<w:p><w:r><w:t>was </w:t></w:r><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:r><w:br/><w:t>next</w:t></w:r></w:p>",
    )
    (read,) = documents_of(document)
    assert read.text == "a field\n\nwas new\nnext"


def test_links_stay() -> None:
    document = docx.Document()
    key = document.part.relate_to(
        "c.docx", "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink",
        is_external=True,
    )  # fmt: skip
    add_xml(
        document,
        f'<w:p><w:hyperlink r:id="{key}"><w:r><w:t>there</w:t></w:r></w:hyperlink>'
        '<w:hyperlink w:anchor="x"><w:r><w:t> and here</w:t></w:r></w:hyperlink></w:p>',
    )
    (read,) = documents_of(document)
    assert (read.text, read.links) == ("there and here", ("a/c.docx",))


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    good = docx.Document()
    good.add_paragraph("words")
    data = data_of(good)
    bomb = io.BytesIO(data)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/bomb.xml", bytes(100 << 20))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "words")
    files = {
        "bomb.docx": bomb.getvalue(),
        "cut.docx": data[:2000],
        "good.docx": data,
        "locked.docx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "other.docx": other.getvalue(),
        "empty.docx": data_of(docx.Document()),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    report = ReadingReport()
    documents = list(open_source(tmp_path).documents(report))
    assert [document.id for document in documents] == ["good.docx#good"]
    reasons = {item.path: item.reason for item in report.skipped}
    assert reasons.pop("bomb.docx") == "it inflates to more than 200 times its size"
    assert reasons.pop("locked.docx").startswith("encrypted with a password")
    assert reasons.pop("empty.docx") == "it holds nothing to read"
    assert set(reasons) == {"cut.docx", "other.docx"}
    assert all(reason.startswith("damaged: ") for reason in reasons.values())


def test_entities_do_not_expand() -> None:
    whole = docx.Document()
    whole.add_paragraph("&x;")
    source, target = io.BytesIO(data_of(whole)), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "word/document.xml":
                kinds = b'<!DOCTYPE x [<!ENTITY x "secret words">]>'
                start = data.index(b"<w:document")
                data = data[:start] + kinds + data[start:].replace(b"&amp;x;", b"a &x; b")
            new.writestr(name, data)
    page = read_word(io.BytesIO(target.getvalue()))
    assert "secret" not in "".join(section.text for section in page.sections)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docx", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[office\]'"):
        read_word(io.BytesIO(b""))
    with pytest.raises(InputError):
        read_word(io.BytesIO(b""))
