"""EPUB -> one page a chapter."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers.compressed import GuardedZip, open_zip
from isometry.corpora.readers.decoding import decode
from isometry.corpora.readers.html import read_html
from isometry.corpora.readers.markup import Links, Page, page_documents
from isometry.corpora.readers.reading import ReadingReport

_MOST_BYTES = 20 << 20  # of one chapter
_CONTENT = frozenset({"application/xhtml+xml", "text/html"})
# What hides fonts and no text.
_FONT_METHODS = frozenset({
    "http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC",
})  # fmt: skip
_SELF_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*+)((?:"[^"]*+"|'[^']*+'|[^<>"'/]|/(?!>))*+)/>""")


def read_xhtml(text: str, *, chapter: bool = False) -> Page:
    """An XHTML page; there, other than in HTML, `<title/>` and `<script .../>` are closed."""
    return read_html(_SELF_CLOSED.sub(r"<\1\2></\1>", text), chapter=chapter)


def read_epub(file: BinaryIO, path: str, report: ReadingReport) -> Iterator[Document]:
    """The documents of an EPUB 2 or 3, in the order of its spine.

    A chapter is a file within the book: `book.epub/chapter.xhtml` is its group. Chapters without
    headings are named by the table of contents, and the book's title stands above all.

    Args:
        file: The book.
        path: Its POSIX path within the source.
        report: Where chapters that cannot be read are noted.

    Raises:
        InputError: When it is damaged, or encrypted against copying.
    """
    with open_zip(file) as archive:
        if any(member.flag_bits & 0x1 for member in archive.members):
            raise InputError("encrypted")
        book = _Book(archive)
        links = Links({f"{path}/{name}": f"{path}/{name}" for name in book.chapters})
        for name in book.chapters:
            try:
                page = read_xhtml(book.text(name), chapter=True)
            except InputError as error:
                report.skip(f"{path}/{name}", error.message)
                continue
            # The text before a chapter's first heading has no other title.
            page.sections[0].title = called = book.names.get(name, "")
            page.title = book.title or called or page.title
            yield from page_documents(page, f"{path}/{name}", links)


class _NoXMLError(InputError):
    """A file of the book is no XML. Of the table of contents, only names are lost by that."""


class _Book:
    """What the package says.

    Attributes:
        title: The title of the book.
        chapters: The names of the chapters in the ZIP file, in the order of the spine.
        names: What the table of contents calls them.
    """

    def __init__(self, archive: GuardedZip) -> None:
        self._archive = archive
        self._present = {member.filename for member in archive.members}
        container = self._xml("META-INF/container.xml")
        root = container.find(".//{*}rootfile")
        place = "" if root is None else unquote(root.get("full-path") or "")
        package = self._xml(place)
        folder = posixpath.dirname(place)
        items = {item.get("id"): item for item in package.iterfind("{*}manifest/{*}item")}
        spine = package.find("{*}spine")
        listed = [
            items.get(reference.get("idref"))
            for reference in package.iterfind("{*}spine/{*}itemref")
        ]
        self.chapters = list(
            dict.fromkeys(
                _join(folder, item.get("href") or "")
                for item in listed
                if item is not None and item.get("media-type") in _CONTENT
            )
        )
        self._refuse_encrypted()
        title = package.find("{*}metadata/{http://purl.org/dc/elements/1.1/}title")
        self.title = "" if title is None else _words(title)
        self.names: dict[str, str] = {}
        for item in items.values():
            if "nav" in (item.get("properties") or "").split():
                with contextlib.suppress(_NoXMLError):
                    self._read_nav(_join(folder, item.get("href") or ""))
        contents = items.get(None if spine is None else spine.get("toc"))
        if contents is not None and not self.names:
            with contextlib.suppress(_NoXMLError):
                self._read_ncx(_join(folder, contents.get("href") or ""))

    def text(self, name: str) -> str:
        """A file of the book.

        Raises:
            InputError: When it is not there or no text.
        """
        text = decode(self._archive.read(name, _MOST_BYTES))
        if text is None:
            raise InputError(f"damaged: {name} is no text")
        return text

    def _xml(self, name: str) -> ElementTree.Element:
        text = self.text(name)
        if "<!ENTITY" in text:
            raise InputError(f"damaged: {name} declares entities, which can expand without end")
        try:
            return ElementTree.fromstring(text)
        except (ElementTree.ParseError, ValueError) as error:
            raise _NoXMLError(f"damaged: {name}: {error}") from error

    def _refuse_encrypted(self) -> None:
        if "META-INF/encryption.xml" not in self._present:
            return
        for data in self._xml("META-INF/encryption.xml").iterfind(".//{*}EncryptedData"):
            method = data.find("{*}EncryptionMethod")
            target = data.find(".//{*}CipherReference")
            name = "" if target is None else unquote(target.get("URI") or "")
            fonts = method is not None and method.get("Algorithm") in _FONT_METHODS
            if not fonts or name in self.chapters:
                raise InputError("encrypted against copying (DRM)")

    def _read_nav(self, name: str) -> None:
        """The table of contents of EPUB 3, an XHTML page."""
        if name not in self._present:
            return
        for nav in self._xml(name).iter("{http://www.w3.org/1999/xhtml}nav"):
            kinds = nav.get("{http://www.idpf.org/2007/ops}type") or "toc"
            if "toc" in kinds.split():
                for link in nav.iter("{http://www.w3.org/1999/xhtml}a"):
                    self._call(posixpath.dirname(name), link.get("href"), _words(link))

    def _read_ncx(self, name: str) -> None:
        """The table of contents of EPUB 2."""
        if name not in self._present:
            return
        for point in self._xml(name).iter("{http://www.daisy.org/z3986/2005/ncx/}navPoint"):
            label, target = point.find("{*}navLabel"), point.find("{*}content")
            if label is not None and target is not None:
                self._call(posixpath.dirname(name), target.get("src"), _words(label))

    def _call(self, folder: str, target: str | None, title: str) -> None:
        # The first name of a chapter is that of the whole; the others are of its sections.
        if target:
            self.names.setdefault(_join(folder, target), title)


def _join(folder: str, target: str) -> str:
    """The name in the ZIP file that a reference from a folder means."""
    return posixpath.normpath(posixpath.join(folder, unquote(urlsplit(target).path)))


def _words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())
