from __future__ import annotations

import io
import sysconfig
import zipfile
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.epub import read_epub, read_xhtml
from isometry.corpora.readers.html import read_html
from isometry.corpora.readers.markup import Links, page_documents

REAL = sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*.md"))[::8]

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The  book</dc:title></metadata>
<manifest>
<item id="two" href="text/two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="pic" href="cover.jpg" media-type="image/jpeg"/>
{contents}
</manifest>
<spine toc="ncx"><itemref idref="nav"/><itemref idref="one"/><itemref idref="two"/>
<itemref idref="gone"/><itemref idref="one"/></spine></package>"""
NAV_ITEM = '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
NAV = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>
<nav epub:type="landmarks"><a href="text/one.xhtml">Start here</a></nav>
<nav epub:type="toc"><ol><li><a href="text/one.xhtml">Chapter <b>One</b></a></li>
<li><a href="text/two%20b.xhtml">Chapter Two</a></li>
<li><a href="text/two%20b.xhtml#s">A section of it</a></li></ol></nav></body></html>"""
NCX_ITEM = '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
NCX = """<?xml version="1.0"?>
<!DOCTYPE ncx PUBLIC "-//NISO//DTD ncx 2005-1//EN" "http://www.daisy.org/z3986/2005/ncx-2005-1.dtd">
<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/" version="2005-1"><navMap>
<navPoint><navLabel><text>Chapter One</text></navLabel><content src="text/one.xhtml"/>
<navPoint><navLabel><text>Chapter Two</text></navLabel><content src="text/two%20b.xhtml"/>
</navPoint></navPoint></navMap></ncx>"""
FILES = {
    "META-INF/container.xml": CONTAINER,
    "OEBPS/text/one.xhtml": """<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">
<head><title/><script src="x.js"/></head><body><a id="p1"/><p>Größe <i>words</i></p>
<a href="two%20b.xhtml#s">next</a></body></html>""",
    "OEBPS/text/two b.xhtml": """<html><body><p>before</p><h2 id="s">Section</h2><p>after</p>
<a href="../text/one.xhtml">back</a></body></html>""",
}
EPUB_3 = FILES | {"OEBPS/book.opf": PACKAGE.format(contents=NAV_ITEM), "OEBPS/nav.xhtml": NAV}
EPUB_2 = FILES | {"OEBPS/book.opf": PACKAGE.format(contents=NCX_ITEM), "OEBPS/toc.ncx": NCX}


def make(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def read(files: dict[str, str], report: ReadingReport | None = None) -> list[Document]:
    return list(read_epub(io.BytesIO(make(files)), "a/b.epub", report or ReadingReport()))


@pytest.mark.parametrize("files", [EPUB_3, EPUB_2], ids=["3", "2"])
def test_chapters_come_in_the_order_of_the_spine_with_the_names_of_the_contents(
    files: dict[str, str],
) -> None:
    one, two, section = read(files)
    assert one.header() == "The book > Chapter One"
    assert one.text == "Größe words\n\nnext"
    assert two.header() == "The book > Chapter Two"
    assert section.header() == "The book > Section"
    assert [item.id for item in (one, two, section)] == [
        "a/b.epub/OEBPS/text/one.xhtml#chapter-one",
        "a/b.epub/OEBPS/text/two b.xhtml#chapter-two",
        "a/b.epub/OEBPS/text/two b.xhtml#section",
    ]
    assert one.links == (two.group,) == (section.group,)
    assert section.links == (one.group,)


def test_all_of_a_chapters_body_is_text() -> None:
    chapter = """<html xmlns="http://www.w3.org/1999/xhtml"><body>
    <header><h1>The Keys</h1></header><article><p>Turn<a href="#f">1</a> it.</p></article>
    <aside id="f"><p>To the left.</p></aside><p>The end.</p></body></html>"""
    found = read(EPUB_3 | {"OEBPS/text/one.xhtml": chapter})[0]
    assert found.header() == "The book > The Keys"
    assert found.text == "Turn1 it.\n\nTo the left.\n\nThe end."
    # A page of a site has a site around it.
    assert [section.text for section in read_xhtml(chapter).sections] == ["Turn1 it."]


def encryption(*targets: tuple[str, str]) -> dict[str, str]:
    data = "".join(
        f"""<enc:EncryptedData xmlns:enc="http://www.w3.org/2001/04/xmlenc#">
        <enc:EncryptionMethod Algorithm="{method}"/><enc:CipherData>
        <enc:CipherReference URI="{uri}"/></enc:CipherData></enc:EncryptedData>"""
        for method, uri in targets
    )
    namespace = "urn:oasis:names:tc:opendocument:xmlns:container"
    return {"META-INF/encryption.xml": f'<encryption xmlns="{namespace}">{data}</encryption>'}


AES = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
FONT = "http://www.idpf.org/2008/embedding"


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    broken = dict(EPUB_3)
    del broken["OEBPS/text/one.xhtml"]
    bomb = EPUB_3["OEBPS/text/one.xhtml"].replace("words", " " * (21 << 20))
    entities = NCX.replace('ncx-2005-1.dtd">', 'x" [<!ENTITY a "aaaa">]>')
    whole = make(EPUB_3)
    files = {
        "bomb.epub": make(EPUB_3 | {"OEBPS/text/one.xhtml": bomb}),
        "broken.epub": make(broken),
        "cut.epub": whole[:900],
        "drm.epub": make(EPUB_3 | encryption((FONT, "f.otf"), (AES, "OEBPS/text/one.xhtml"))),
        "entities.epub": make(EPUB_2 | {"OEBPS/toc.ncx": entities}),
        "fonts.epub": make(EPUB_3 | encryption((FONT, "OEBPS/f.otf"))),
        "other.epub": make({"a.txt": "words"}),
        "pictures.epub": make(EPUB_3 | encryption((AES, "OEBPS/cover.jpg"))),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    report = ReadingReport()
    documents = list(open_source(tmp_path).documents(report))
    assert len([item for item in documents if item.id.startswith("fonts.epub/")]) == 3
    assert {item.id.partition("/")[0] for item in documents} == {
        "bomb.epub", "broken.epub", "fonts.epub",
    }  # fmt: skip
    reasons = {item.path: item.reason for item in report.skipped}
    assert reasons.pop("cut.epub").startswith("damaged: ")
    assert reasons == {
        "bomb.epub/OEBPS/text/one.xhtml": "it holds more than 20 MB",
        "broken.epub/OEBPS/text/one.xhtml": "damaged: it has no 'OEBPS/text/one.xhtml'",
        "drm.epub": "encrypted against copying (DRM)",
        "entities.epub": "damaged: OEBPS/toc.ncx declares entities, which can expand without end",
        "other.epub": "damaged: it has no 'META-INF/container.xml'",
        "pictures.epub": "encrypted against copying (DRM)",
    }


def test_a_book_without_a_package_is_damaged() -> None:
    for package in ("<package/", "<package/>"):
        files = EPUB_3 | {"OEBPS/book.opf": package}
        if package == "<package/>":
            assert read(files) == []
        else:
            with pytest.raises(InputError, match=r"damaged: OEBPS/book\.opf"):
                read(files)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_chapter_reads_as_the_html_page_that_it_is(path: Path) -> None:
    html = MarkdownIt("commonmark").render(path.read_text(encoding="utf-8"))
    expected = page_documents(read_html(html), "x.html", Links())
    assert page_documents(read_xhtml(html), "x.html", Links()) == expected


def test_closed_tags_of_xhtml_hold_nothing() -> None:
    text = '<head><title/><script src="a>b"/></head><p>one<br/>two<i class="x" />three</p>'
    page = read_xhtml(text)
    assert (page.title, page.sections[0].text) == ("", "one\ntwothree")


def test_a_sloppy_table_of_contents_loses_names_and_no_chapter() -> None:
    sloppy = NCX.replace("<text>", "<text>Q & A ")
    assert sloppy != NCX
    documents = read(EPUB_2 | {"OEBPS/toc.ncx": sloppy})
    assert [document.text for document in documents] == [document.text for document in read(EPUB_2)]
