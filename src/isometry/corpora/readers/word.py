"""DOCX -> a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from isometry.core.errors import InputError, MissingExtraError
from isometry.corpora.readers.compressed import check_zip
from isometry.corpora.readers.markup import Page
from isometry.corpora.readers.reading import in_one_piece

if TYPE_CHECKING:
    from docx.styles.style import ParagraphStyle

_MOST_BYTES = 256 << 20  # python-docx holds all parts, pictures too, in memory
_OLE = b"\xd0\xcf\x11\xe0"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# Of equations.
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TABLE_OF_CONTENTS = re.compile(r"(?:toc|table of figures)\b", re.IGNORECASE)
_HEADING = re.compile(r"heading ([1-9])$", re.IGNORECASE)
# What is moved away, what is drawn, and the readings above the words; deleted text is no text.
_UNREAD = frozenset({f"{_W}moveFrom", f"{_W}txbxContent", f"{_W}pPr", f"{_W}rt"})
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
# What only wraps other things: content controls, custom markup, insertions that are tracked.
_WRAPPERS = frozenset({f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins", f"{_W}moveTo"})
_BODY_LEVEL = 9


def read_word(file: BinaryIO) -> Page:
    """A DOCX file: its headings, paragraphs, lists and tables in their order, and links.

    A heading is told by the built-in name of its style, which is the same in every language of
    Word, or by its outline level. Tables of contents, headers, footers, notes, drawings and deleted
    text go.

    Raises:
        InputError: When it is no DOCX file, is damaged or has a password.
        MissingExtraError: When python-docx is not installed.
    """
    try:
        import docx
    except ModuleNotFoundError:
        raise MissingExtraError("python-docx", "office") from None
    if file.read(4) == _OLE:
        raise InputError("encrypted with a password, or of the old .doc kind")
    check_zip(file, most=_MOST_BYTES)
    try:
        document = docx.Document(file)
        return _Reader(document).page
    except InputError:
        raise
    except Exception as error:  # python-docx raises whatever a broken part leads to
        raise InputError(f"damaged: {type(error).__name__}: {error}") from error


class _Reader:
    def __init__(self, document: Any) -> None:
        self.page = Page()
        self._targets = {
            key: relation.target_ref
            for key, relation in document.part.rels.items()
            if relation.reltype.endswith("/hyperlink")
        }
        self._styles: dict[str | None, ParagraphStyle] = {
            style.style_id: style for style in document.styles if style.type == 1
        }
        self._default = next((s for s in self._styles.values() if _is_default(s)), None)
        self._in_list = False
        self._blocks(document.element.body)

    def _blocks(self, body: Any) -> None:
        for element in _unwrapped(body):
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self._table(element)

    def _paragraph(self, element: Any) -> None:
        text = _text(element)
        style = self._styles.get(_value(element, "pStyle"), self._default)
        level, names, listed = self._look(element, style)
        if any(_TABLE_OF_CONTENTS.match(name) for name in names):
            return
        if "title" in names and not self.page.title:
            self.page.title = " ".join(text.split())
        elif level is not None and text.strip():
            self.page.heading(level, text)
        else:
            self.page.add(text, tight=listed and self._in_list)
        if text.strip():
            self._in_list = listed
        for link in element.iter(f"{_W}hyperlink"):
            self.page.link(self._targets.get(link.get(f"{_R}id")))

    def _look(
        self, element: Any, style: ParagraphStyle | None
    ) -> tuple[int | None, list[str], bool]:
        """The level as a heading, the names of the styles, and whether it is an item of a list."""
        level = _number(element, "outlineLvl")
        numbering = element.find(f"{_W}pPr/{_W}numPr")
        names = list[str]()
        while style is not None and len(names) < 20:  # styles may be based on each other in a ring
            names.append((style.name or "").casefold())
            if level is None and (match := _HEADING.match(names[-1])):
                level = int(match[1]) - 1
            level = _number(style.element, "outlineLvl") if level is None else level
            if numbering is None:
                numbering = style.element.find(f"{_W}pPr/{_W}numPr")
            style = style.base_style  # type: ignore[assignment]
        return (
            (None if level is None or level >= _BODY_LEVEL else level + 1),
            names,
            (numbering is not None),
        )

    def _table(self, element: Any) -> None:
        begun = False
        for row in _unwrapped(element):
            cells = (
                " ".join(" ".join(_text(part) for part in cell.iter(f"{_W}p")).split())
                for cell in _unwrapped(row)
                if cell.tag == f"{_W}tc"
            )
            self.page.add(text := " ".join(cell for cell in cells if cell), tight=begun)
            begun = begun or bool(text)
            for link in row.iter(f"{_W}hyperlink"):
                self.page.link(self._targets.get(link.get(f"{_R}id")))
        self._in_list = False


def _unwrapped(parent: Any) -> Iterator[Any]:
    """The children of an element, those in wrappers among them; no table of contents."""
    for element in parent:
        if element.tag not in _WRAPPERS:
            yield element
            continue
        gallery = element.find(f"{_W}sdtPr/{_W}docPartObj/{_W}docPartGallery")
        if gallery is None or "Contents" not in (gallery.get(f"{_W}val") or ""):
            yield from _unwrapped(element)


def _text(paragraph: Any) -> str:
    return "".join(_pieces(paragraph))


def _pieces(element: Any) -> Iterator[str]:
    for child in element:
        if child.tag in (f"{_W}t", f"{_M}t"):
            yield in_one_piece(child.text or "")
        elif child.tag in _BREAKS:
            yield _BREAKS[child.tag]
        elif child.tag not in _UNREAD and isinstance(child.tag, str):
            yield from _pieces(child)


def _value(element: Any, name: str) -> str | None:
    found = element.find(f"{_W}pPr/{_W}{name}")
    return None if found is None else found.get(f"{_W}val")


def _number(element: Any, name: str) -> int | None:
    value = _value(element, name)
    return int(value) if value is not None and value.isdigit() else None


def _is_default(style: ParagraphStyle) -> bool:
    return style.element.get(f"{_W}default") in ("1", "true", "on")
