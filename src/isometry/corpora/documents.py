"""What every reader yields and everything after it consumes: documents."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import pyarrow as pa

Kind = Literal["prose", "code"]

# Of a batch: a character takes four bytes at most.
_MOST_CHARACTERS = 1 << 26

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("title", pa.string()),
        ("context", pa.string()),
        ("summary", pa.string()),
        ("group", pa.string()),
        ("order", pa.int32()),
        ("kind", pa.string()),
        ("links", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that a search may return: a section of a page, a row of a table, a function.

    Attributes:
        id: Stable across readings and unique within a source.
        text: The body, without title and summary.
        title: The heading, the row's title, or the function's qualified name.
        context: The headings above the title ("Guide > Installing"), or a function's module.
        summary: Words that a person wrote about the text: a docstring.
        group: What a split never divides: a page, a file, a row.
        order: The position within the group.
        kind: Prose or source code.
        links: The groups that this document links to.
        source: Where it came from, for people: a path relative to the source, a line number.
    """

    id: str
    text: str
    title: str = ""
    context: str = ""
    summary: str = ""
    group: str = ""
    order: int = 0
    kind: Kind = "prose"
    links: tuple[str, ...] = ()
    source: str = ""

    def header(self) -> str:
        """The heading path with the title at its end, in one line; may be empty."""
        return " > ".join(part for part in (self.context, self.title) if part)

    def body(self) -> str:
        """Summary and text together."""
        return "\n".join(part for part in (self.summary, self.text) if part)


def views_of(documents: Iterable[Document]) -> list[tuple[str, str]]:
    """The header and the body of each."""
    return [(document.header(), document.body()) for document in documents]


def passage(header: str, body: str) -> str:
    """Both in one text, as an encoder reads it."""
    return f"{header}\n{body}" if header else body


def composed(document: Document) -> Document:
    """It, with each accented letter as one character (Unicode's form NFC).

    File names of macOS, some PDFs and Vietnamese code pages have letter and accent apart: there
    words would end at the accent, and the same text twice would be two texts.
    """
    changed: dict[str, str] = {}
    for name in ("text", "title", "context", "summary"):
        value: str = getattr(document, name)
        if not unicodedata.is_normalized("NFC", value):
            changed[name] = unicodedata.normalize("NFC", value)
    return replace(document, **changed) if changed else document


def to_batches(documents: Iterable[Document], size: int = 1024) -> Iterator[pa.RecordBatch]:
    """Packs documents into Arrow batches, so that memory stays flat as a source grows.

    Args:
        documents: One after the other.
        size: How many make a batch; of long ones fewer do, since an array ends at 2 GiB.
    """
    rows: list[dict[str, object]] = []
    characters = 0
    for document in documents:
        rows.append(asdict(document))
        characters += len(document.text) + len(document.summary)
        if len(rows) == size or characters > _MOST_CHARACTERS:
            yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
            rows, characters = [], 0
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def from_table(table: pa.Table) -> list[Document]:
    """The documents of an Arrow table; columns beyond the schema's are ignored."""
    rows = table.select([field.name for field in fields(Document)]).to_pylist()
    return [Document(**{**row, "links": tuple(row["links"] or ())}) for row in rows]
