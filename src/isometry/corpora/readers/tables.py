"""A table -> one document a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import ReadingReport, has_words
from isometry.corpora.readers.rows import column_names, first_rows, read_rows

_TEXT_NAMES = ("text", "content", "body", "contents")
_ID_NAMES = ("_id", "id")
_MEAN_CHARACTERS = 20  # a column of longer values is taken for text


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; `None` where the file decides."""

    text: str | None = None
    title: str | None = None
    id: str | None = None

    def named(self) -> list[str]:
        """Those that are given."""
        return [name for name in (self.text, self.title, self.id) if name is not None]


def choose_columns(path: Path, wanted: Columns) -> Columns:
    """The columns to read: those that are wanted, else those whose names are well known.

    Raises:
        InputError: When a wanted column is not there or none looks like text; lists the columns.
    """
    names = column_names(path)
    listed = f"Its columns are: {', '.join(names)}."
    for name in wanted.named():
        if name not in names:
            raise InputError(f"{path} has no column '{name}'.", listed)
    identifier = wanted.id or _well_known(names, _ID_NAMES)
    title = wanted.title or _well_known(names, ("title",))
    text = wanted.text or _well_known(names, _TEXT_NAMES)
    if text is None and path.suffix.lower() not in (".jsonl", ".ndjson"):
        text = _longest(path, [name for name in names if name != identifier])
    if text is None:
        raise InputError(
            f"No column of {path} looks like the text.", f"{listed} Name one with --text."
        )
    return Columns(text, title if title != text else None, identifier)


def read_table(
    path: Path, columns: Columns, report: ReadingReport, *, shown: str, prefix: str = ""
) -> Iterator[Document]:
    """Streams the documents of a table: one for each row that has words.

    A row without an id column has its number among the rows as its id. Where only the title has
    words, it is the text: collections with judgements judge such rows too.

    Args:
        path: A JSONL, CSV, TSV or Parquet file.
        columns: What `choose_columns` chose.
        report: Where rows without words or with an id that came before are noted.
        shown: The path as people know it.
        prefix: What every id begins with.

    Raises:
        InputError: When the file cannot be read.
    """
    seen: set[str] = set()
    wanted = list(dict.fromkeys(columns.named()))
    for order, (line, row) in enumerate(read_rows(path, report, shown, wanted), start=1):
        place = f"{shown}:{line}"
        text, title = _words(row.get(columns.text or "")), _words(row.get(columns.title or ""))
        if not text:
            text, title = title, ""
        identifier = _string(row.get(columns.id)) if columns.id else str(order)
        if not text:
            report.skip(place, "no words")
        elif not identifier.strip():
            report.skip(place, "no id")
        elif identifier in seen:
            report.skip(place, f"its id '{identifier}' came before")
        else:
            seen.add(identifier)
            key = prefix + identifier
            yield Document(id=key, text=text, title=title, group=key, source=place)


def _well_known(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    by_name = {name.casefold().strip(): name for name in reversed(names)}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _longest(path: Path, names: Sequence[str]) -> str | None:
    rows = first_rows(path)
    means = {
        name: sum(len(row[name]) for row in rows if isinstance(row.get(name), str)) / len(rows)
        for name in (names if rows else ())
    }
    longest = max(means, key=lambda name: means[name], default=None)
    return longest if longest is not None and means[longest] > _MEAN_CHARACTERS else None


def _string(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    # JSON may escape half a surrogate pair, which no file and no Arrow table can hold.
    return str(value).encode("utf-8", errors="replace").decode("utf-8")


def _words(value: object) -> str:
    text = _string(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    return text if has_words(text) else ""
