"""PDF -> a page."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from isometry.core.errors import InputError, MissingExtraError
from isometry.corpora.readers.markup import MOST_CHARACTERS, Page, Section
from isometry.corpora.readers.reading import has_words

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_PASSWORD = 4  # FPDF_ERR_PASSWORD
_URI, _OTHER_FILE = 3, 2  # PDFACTION_URI, PDFACTION_REMOTEGOTO
_EDGE = 2  # lines that a running header or footer has at most
_KEY = 10  # so many characters of a numbered one tell it
_BOOK_PAGES = 50  # from so many on, a chapter is as long as other people's files
# A word divided at the end of a line; PDFium itself joins the two by U+FFFE.
_DIVIDED = re.compile(r"(\w+)(?:\ufffe|[-\u00ad\u2010]\n)(\w+)")
# "Vor- und Nachteile": the hyphen stands for a part of the second word.
_CONTENTS = re.compile(r"(?:\.\s?){5,}[\divxlc]*$")  # "Index . . . . . 12"
_HYPHENATED = re.compile(r"\w+-\w+")
_ELLIPSES = frozenset({"und", "oder", "bzw", "and", "or", "et", "ou"})
_NUMBERING = re.compile(r"^(?:(?:chapter|kapitel|chapitre)\s+)?(?:[a-z]|\d+)(?:\.\d+)*[.:)]?\s+")


def read_pdf(file: BinaryIO) -> Page:
    """A PDF: a section for each of its bookmarks, or for each page where it has none.

    Running headers and footers go, and words divided at a line's end are joined. Pages without
    text are counted in the notes. A long book's chapters are groups of their own.

    Raises:
        InputError: When it needs a password, is damaged, or no page has text.
        MissingExtraError: When pypdfium2 is not installed.
    """
    try:
        import pypdfium2 as pdfium
    except ModuleNotFoundError:
        raise MissingExtraError("pypdfium2", "pdf") from None
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == _PASSWORD:
            raise InputError("encrypted with a password") from error
        raise InputError("damaged: it cannot be opened as a PDF") from error
    with document:
        marks = list(_bookmarks(document))
        title = _called(lambda: document.get_metadata_value("Title"))
        if len(marks) > 1 and [mark.level for mark in marks].count(1) == marks[0].level == 1:
            # One bookmark above all others is the book itself.
            title = title if has_words(title) else marks[0].title
            for mark in marks[1:]:
                mark.level -= 1
        by_page: dict[int, list[_Mark]] = {}
        for mark in marks:
            by_page.setdefault(mark.page, []).append(mark)
        leaves = _leaves(document, by_page)
    empty = sum(not leaf.lines for leaf in leaves)
    if empty == len(leaves):
        raise InputError(f"no text on any of its {len(leaves)} pages: they are images")
    page = Page(title if has_words(title) else "")
    if empty:
        page.notes.append(f"{empty} of {len(leaves)} pages are images or empty")
    _drop_running_lines(leaves)
    hyphenated = {word for leaf in leaves for word in _HYPHENATED.findall("\n".join(leaf.lines))}
    if marks:
        _sections(page, leaves, by_page, hyphenated)
        chapters = sum(section.level == 1 for section in page.sections)
        page.chapters = chapters > 2 and len(leaves) >= _BOOK_PAGES
    else:
        for number, leaf in enumerate(leaves, start=1):
            page.sections.append(Section(0, "", f"page-{number}", leaf.links))
            page.add(_prose(leaf.lines, hyphenated))
    return page


@dataclass
class _Mark:
    """A bookmark: its level from 1, title, page from 0, its height there, and lines above it."""

    level: int
    title: str
    page: int
    top: float | None
    above: int = 0


@dataclass
class _Leaf:
    """A printed page; `dropped` counts lines taken from its top."""

    lines: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    dropped: int = 0


def _bookmarks(document: PdfDocument) -> Iterator[_Mark]:
    """Those that lead somewhere, never back: others repeat the contents in another order."""
    last = 0
    for bookmark in document.get_toc():
        place = bookmark.get_dest()
        index = None if place is None else place.get_index()
        title = " ".join(_called(bookmark.get_title).replace("\0", "").split())
        if place is None or index is None or index < last or not has_words(title):
            continue
        last = index
        mode, view = place.get_view()
        # XYZ gives left and top, FitH and FitBH only top, FitR left, bottom, right and top.
        position = {1: 1, 3: 0, 5: 3, 7: 0}.get(mode)
        top = view[position] if position is not None and position < len(view) else None
        yield _Mark(bookmark.level + 1, title, index, top)


def _called(read: Callable[[], str]) -> str:
    """A title; none where it is no Unicode, as with half of a surrogate pair."""
    try:
        return read()
    except UnicodeDecodeError:
        return ""


def _leaves(document: PdfDocument, marks: dict[int, list[_Mark]]) -> list[_Leaf]:
    from pypdfium2 import PdfiumError

    leaves, characters = list[_Leaf](), 0
    for number in range(len(document)):
        leaf = _Leaf()
        leaves.append(leaf)
        try:
            page = document[number]
            text_page = page.get_textpage()
        except PdfiumError:
            continue
        leaf.lines = _lines(text_page.get_text_range())
        leaf.links = list(_links(document, page))
        for mark in marks.get(number, []):
            if mark.top is not None:
                mark.above = len(_lines(text_page.get_text_bounded(bottom=mark.top)))
        characters += sum(map(len, leaf.lines))
        if characters > MOST_CHARACTERS:
            raise InputError(f"its text is more than {MOST_CHARACTERS >> 20} million characters")
        text_page.close()
        page.close()
    return leaves


def _lines(text: str) -> list[str]:
    lines = (" ".join(line.split()) for line in re.split(r"[\r\n\f\v\x02]+", text))
    return [line for line in lines if has_words(line) and not _CONTENTS.search(line[-200:])]


def _find_title(lines: list[str], title: str, start: int) -> tuple[int, int] | None:
    """At which line a title stands, and how many it takes; None where the words are others."""
    wanted = _bare(title)
    for first in range(start, len(lines)):
        for length in (1, 2, 3):
            if _bare(" ".join(lines[first : first + length])) == wanted:
                return first, length
    return None


def _bare(title: str) -> str:
    """A title without its number, blanks and punctuation."""
    return "".join(re.findall(r"\w", _NUMBERING.sub("", title.strip().casefold())))


def _links(document: PdfDocument, page: PdfPage) -> Iterator[str]:
    """Where a page links to: other files, and addresses."""
    import ctypes

    from pypdfium2 import raw

    position, link = ctypes.c_int(0), raw.FPDF_LINK()
    while raw.FPDFLink_Enumerate(page, position, link):
        action = raw.FPDFLink_GetAction(link)
        kind = raw.FPDFAction_GetType(action) if action else 0
        if kind not in (_URI, _OTHER_FILE):
            continue
        read: Any = raw.FPDFAction_GetFilePath
        arguments: tuple[Any, ...] = (action,)
        if kind == _URI:
            read, arguments = raw.FPDFAction_GetURIPath, (document, action)
        size = read(*arguments, None, 0)
        buffer = ctypes.create_string_buffer(size)
        read(*arguments, buffer, size)
        yield buffer.value.decode("utf-8", errors="replace")


def _drop_running_lines(leaves: list[_Leaf]) -> None:
    """Takes away what stands at the top or bottom of most pages, or of many left or right ones."""
    filled = [(number % 2, leaf) for number, leaf in enumerate(leaves) if leaf.lines]
    for side in (0, 1):
        counts = [Counter[str](), Counter[str]()]
        for hand, leaf in filled:
            counts[hand].update({_key(line) for line in _edge(leaf.lines, side)})
        lines = [line for _, leaf in filled for line in _edge(leaf.lines, side)]
        # "Question 12: Where is it?" only begins like others: no number comes again, as that of a
        # chapter does.
        numbers: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            numbers[_key(line)] += re.findall(r"\d+", line)[:1]
        once = {key for key, own in numbers.items() if len(set(own)) == len(own)}
        wholes = Counter(map(_whole, lines))
        pages = Counter(hand for hand, _ in filled)
        for hand, leaf in filled:
            for line in _edge(leaf.lines, side):
                key = _key(line)
                if len(leaf.lines) == 1 and re.search(r"[^\W\d]", key):
                    break  # a slide that says one thing
                everywhere = counts[0][key] + counts[1][key]
                most = everywhere > max(2, len(filled) / 2)
                if not (most or counts[hand][key] > max(2, pages[hand] / 3)):
                    break
                if key != _whole(line) and key in once and wholes[_whole(line)] < 2:
                    break
                leaf.lines.pop(-side)
                leaf.dropped += 1 - side


def _edge(lines: list[str], side: int) -> list[str]:
    return lines[:_EDGE] if side == 0 else lines[: -_EDGE - 1 : -1]


def _whole(line: str) -> str:
    return re.sub(r"\d+", "#", line.casefold())


def _key(line: str) -> str:
    """What is the same on all pages: the line, or its numbered beginning ("Chapter 3. The")."""
    whole = _whole(line)
    return whole[:_KEY] if "#" in whole[:_KEY] else whole


def _sections(
    page: Page, leaves: list[_Leaf], marks: dict[int, list[_Mark]], hyphenated: Collection[str]
) -> None:
    """Cuts the pages at the bookmarks; a section goes on over page breaks."""
    open_lines: list[str] = []

    def close() -> None:
        page.add(_prose(open_lines, hyphenated))
        open_lines.clear()

    for number, leaf in enumerate(leaves):
        position = 0
        for mark in marks.get(number, []):
            start, length = _find_title(leaf.lines, mark.title, position) or (
                min(max(mark.above - leaf.dropped, position), len(leaf.lines)),
                0,
            )
            open_lines += leaf.lines[position:start]
            close()
            page.heading(mark.level, mark.title)
            position = start + length
        open_lines += leaf.lines[position:]
        page.sections[-1].links += leaf.links
    close()


def _prose(lines: list[str], hyphenated: Collection[str]) -> str:
    """Lines as paragraphs: one ends with a sentence on a line that is shorter than most."""
    if not lines:
        return ""
    full = sorted(map(len, lines))[len(lines) * 3 // 4]
    text = ""
    for line in lines:
        ends = line[-1] in ".!?:" and len(line) < 0.8 * full
        text += line + ("\n\n" if ends else "\n")

    def joined(match: re.Match[str]) -> str:
        first, second = match[1], match[2]
        if second.casefold() in _ELLIPSES:
            return f"{first}- {second}"
        if second[0].isupper() or second[0].isdigit() or f"{first}-{second}" in hyphenated:
            return f"{first}-{second}"
        return first + second

    return _DIVIDED.sub(joined, text).replace("\ufffe", "-")
