"""Plain text -> sentences and paragraphs, by rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|viz|et al|approx|resp|ca|dr|mr|mrs|ms|prof|st|figs?|eqs?|vol|pp|eds"
    r"|inc|ltd|z\.b|d\.h|bzw|p\.ex)|(?:^|[\s(.])[^\W\d_])\.$",
    re.IGNORECASE,
)
# The end of a sentence: a mark, closing quotes, and white space; full-width marks need no space.
_END = re.compile(r"(?<![.!?…])[.!?…؟۔।॥]++[\"'”’»)\]]*+(?=\s)|[。！？．]++[”’」』）]*+")
_BULLET = re.compile(r"\s*(?:[-*+•‣–]|\(?(?:\d{1,3}|[a-z])[.)]|#+\.)\s+(?=\S)")
_CODE = re.compile(r"\s*(?:>>>|\.\.\.(?:\s|$)|\$ |::|\.\. |:\w[\w ]*:\s|\|)|(?:\t| {4,})\S")
_FENCE = re.compile(r"\s*(?:```|~~~)")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences of a text as (start, end) in characters, in order.

    A sentence ends at its mark, at a blank line, and where a list item begins; it may run over
    line ends. Bullets, underlines, fenced and indented code, doctests, tables, and directives of
    reStructuredText are in no sentence.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _blocks(text):
        position = start
        for mark in _END.finditer(text, start, end):
            if _goes_on(text, mark, end):
                continue
            spans.append((position, mark.end()))
            position = mark.end()
        spans.append((position, end))
    trimmed = (_trim(text, *span) for span in spans)
    return [(start, end) for start, end in trimmed if any(map(str.isalnum, text[start:end]))]


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, each in one line. See `sentence_spans`."""
    return [" ".join(text[start:end].split()) for start, end in sentence_spans(text)]


def paragraphs(text: str) -> list[str]:
    """The parts of a text between blank lines."""
    runs = groupby(text.splitlines(), key=lambda line: bool(line.strip()))
    return ["\n".join(lines) for filled, lines in runs if filled]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Runs of prose lines: within a block, only marks end sentences."""
    start: int | None = None
    end = position = 0
    fenced = doctest = False
    for line in text.splitlines(keepends=True):
        begin, position = position, position + len(line)
        fence = _FENCE.match(line) is not None
        fenced ^= fence
        doctest = bool(line.strip()) and (doctest or line.lstrip().startswith(">>>"))
        bullet = _BULLET.match(line)
        # Deep indentation continues a list item, or a paragraph of a list, unless a block begins.
        code = _CODE.match(line) is not None and not (bullet or (start is not None and _deep(line)))
        prose = not (fence or fenced or doctest or code) and any(map(str.isalnum, line))
        if start is not None and (bullet or not prose):
            yield start, end
            start = None
        if prose and start is None:
            start = begin + (bullet.end() if bullet else 0)
        end = position
    if start is not None:
        yield start, end


def _deep(line: str) -> bool:
    """Whether only its indentation makes a line code."""
    return _CODE.match(line.lstrip()) is None


def _goes_on(text: str, mark: re.Match[str], end: int) -> bool:
    """Whether a mark ends an abbreviation, or a lower-case letter follows it."""
    if mark[0][0] in "。！？．":
        return False
    following = text[mark.end() : min(mark.end() + 8, end)].lstrip()
    if following[:1].islower():
        return True
    before = text[max(0, mark.start() - 8) : mark.start() + 1]
    return mark[0] == "." and _ABBREVIATION.search(before) is not None


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())
