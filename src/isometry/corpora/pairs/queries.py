"""Which words of a document can ask for it: summaries, identifiers, headings, sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from isometry.corpora.curation.dedup import normalize, words
from isometry.corpora.documents import Document
from isometry.corpora.views.sentences import paragraphs, sentence_spans

QUERY_WORDS = 4
TITLE_WORDS = 2
FURTHER_PARAGRAPHS = 3
# Headings that say nothing without the heading above.
_GENERIC = re.compile(
    r"(?:(?:also|and|contents|descriptions?|details|examples?|faq|features|further|general|getting"
    r"|index|install|installation|introduction|notes?|of|options|overview|parameters|quick|reading"
    r"|references?|remarks|requirements|returns|see|start|started|summary|synopsis|table|the|usage"
    r"|warnings?)\W*)+",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"(?:[^=]*=\s)?[\w.<>]+\s?\([^()]*(?:\([^()]*\)[^()]*)*\)\s?(?:->.*)?(?:--)?$"
)
_MARKUP = re.compile(r">>>|\.\. |:\w[\w ]*:|@\w+|[-=~*#^\"']{3,}|\|")
_TABLE = re.compile(
    r"^\s*(?:[-=~^]{3,}\s*$|>>>|[\w*, ]+\s:\s|[*\w.]+\s*(?:\([^)\n]*\))?\s*:\s*\S|[\w.]+\s+--?\s)",
    re.MULTILINE,
)
_IDENTIFIER_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")


def one_line(text: str) -> str:
    """The text with single spaces for all white space."""
    return " ".join(text.split())


def shown(query: str, header: str, body: str) -> bool:
    """Whether a passage repeats the query word for word."""
    return normalize(query) in normalize(f"{header}\n{body}")


def split_identifier(name: str) -> str:
    """The words of CamelCase and snake_case: "HTTPServer.do_GET" gives "HTTP Server do GET"."""
    return " ".join(_IDENTIFIER_WORD.findall(name))


def summary_query(summary: str) -> str:
    """The first paragraph after any signature, in one line.

    Empty where that is a doctest, a directive, or shorter than four words.
    """
    for paragraph in paragraphs(summary):
        line = one_line(paragraph)
        if not _SIGNATURE.match(line):
            return "" if _MARKUP.match(line) or len(words(line)) < QUERY_WORDS else line
    return ""


def further_queries(summary: str) -> list[str]:
    """Up to three later paragraphs of five words or more that read as prose."""
    first = summary_query(summary)
    lines = [
        one_line(paragraph)
        for paragraph in paragraphs(summary)
        if not (_TABLE.search(paragraph) or _MARKUP.match(paragraph.lstrip()))
    ]
    return [
        line
        for line in lines
        if line != first and len(words(line)) > QUERY_WORDS and not _SIGNATURE.match(line)
    ][:FURTHER_PARAGRAPHS]


def heading_query(document: Document) -> str:
    """The title, after the heading above it where it is one word or generic.

    Empty for a generic title without a heading above it, and for code, whose names are no
    headings.
    """
    title = one_line(document.title)
    found = words(title)
    if not found or document.kind == "code":
        return ""
    generic = _GENERIC.fullmatch(title) is not None
    parent = one_line(document.context.rpartition(" > ")[2])
    if parent and (generic or len(found) < TITLE_WORDS):
        return f"{parent} {title}"
    return "" if generic else title


def names_file(document: Document) -> bool:
    """Whether the title is only the name of the file that the document came from."""
    title = " ".join(words(document.title.casefold()))
    paths = (PurePosixPath(document.group), PurePosixPath(document.source))
    names = {name for path in paths for name in (path.name, path.stem)}
    return title in {" ".join(words(name.casefold().replace("_", " "))) for name in names}


def unit_spans(document: Document) -> list[tuple[int, int]]:
    """The sentences of a document's body as (start, end); the filled lines, if it is code."""
    body = document.body()
    if document.kind == "code":
        return [match.span() for match in re.finditer(r"\S[^\n]*", body)]
    return sentence_spans(body)


def sentence_queries(document: Document) -> list[str]:
    """The sentences of a document that have four words or more, without repetitions."""
    body = document.body()
    lines = dict.fromkeys(one_line(body[start:end]) for start, end in unit_spans(document))
    return [line for line in lines if len(words(line)) >= QUERY_WORDS]


def inverse_cloze(text: str, spans: Sequence[tuple[int, int]], index: int) -> tuple[str, str]:
    """A sentence of a text in one line, and the text without it.

    Args:
        text: A passage.
        spans: Its sentences as (start, end) in characters, in order.
        index: Which of them to take out.

    Raises:
        ValueError: When there is one sentence only: nothing would be left.
    """
    if len(spans) < 2:
        raise ValueError(f"Inverse cloze needs two sentences or more, not {len(spans)}.")
    start, end = spans[index]
    return one_line(text[start:end]), text[:start] + text[end:]
