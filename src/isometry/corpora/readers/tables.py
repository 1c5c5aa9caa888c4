"""A table -> one document a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from isometry.core.files import hash_value
from isometry.corpora.documents import Document, composed
from isometry.corpora.readers.arrow_rows import ArrowFiles, Parquet
from isometry.corpora.readers.columns import Columns, choose
from isometry.corpora.readers.reading import ReadingReport, counted, has_words
from isometry.corpora.readers.rows import (
    ARROW,
    LINES,
    SPREADSHEETS,
    SQLITE,
    Rows,
    StoredRows,
    table_suffix,
)
from isometry.corpora.readers.spreadsheet_rows import Spreadsheet
from isometry.corpora.readers.sqlite_rows import only_table
from isometry.corpora.readers.text_rows import JsonLines, Separated

# Those of a column of 32 bits.
_MOST_ORDER = 2**31 - 1

__all__ = ["Columns", "TableSource", "choose_columns", "open_rows", "read_documents", "read_table"]


def open_rows(path: Path, columns: Columns | None = None) -> Rows:
    """A file's table.

    Args:
        path: A file whose name ends as `TABLE_SUFFIXES` lists.
        columns: Which columns it must have; decides between the tables of an SQLite file.

    Raises:
        InputError: When an SQLite file does not have exactly one table that fits.
    """
    suffix = table_suffix(path.name)
    if suffix in SQLITE:
        return only_table(path, columns or Columns())
    if suffix in ARROW:
        return ArrowFiles(str(path), (path,))
    if suffix in SPREADSHEETS:
        return Spreadsheet(path)
    if suffix == ".parquet":
        return Parquet(path)
    if any(suffix.startswith(lines) for lines in LINES):
        return JsonLines(path)
    return Separated(path)


def choose_columns(path: Path, wanted: Columns) -> Columns:
    """The columns of a file to read: those that are wanted, else those with well-known names.

    Raises:
        InputError: When a wanted column is not there or none looks like text; lists the columns.
    """
    return choose(open_rows(path, wanted), wanted)


def read_table(
    path: Path, columns: Columns, report: ReadingReport, *, shown: str, prefix: str = ""
) -> Iterator[Document]:
    """Streams the documents of a table in a file; see `read_documents`.

    Args:
        path: The file.
        columns: What `choose_columns` chose.
        report: Where rows are noted that give no document.
        shown: The path as people know it.
        prefix: What every id begins with.

    Raises:
        InputError: When the file cannot be read.
    """
    return read_documents(open_rows(path, columns), columns, report, shown=shown, prefix=prefix)


def read_documents(
    rows: Rows, columns: Columns, report: ReadingReport, *, shown: str, prefix: str = ""
) -> Iterator[Document]:
    """Streams the documents of a table: one for each row that has words.

    A row without an id column has its number among the rows as its id. Where only the title has
    words, it is the text: collections with judgements judge such rows too.

    Args:
        rows: The table.
        columns: What `choose` chose.
        report: Where rows without words or with an id that came before are noted.
        shown: The table as people know it.
        prefix: What every id begins with.

    Raises:
        InputError: When the table cannot be read.
    """
    seen: set[str] = set()
    wanted = list(dict.fromkeys(columns.named()))
    for order, (line, row) in enumerate(rows.read(wanted, report, shown), start=1):
        place = f"{shown}:{line}"
        text, title = (
            "" if name is None else _words(row.get(name)) for name in (columns.text, columns.title)
        )
        if not text:
            text, title = title, ""
        identifier = _string(row.get(columns.id)) if columns.id else str(order)
        if not text:
            report.skip(place, "no words", readable=True)
        elif not identifier.strip():
            report.skip(place, "no id", readable=True)
        elif identifier in seen:
            report.skip(place, f"its id '{identifier}' came before", readable=True)
        else:
            seen.add(identifier)
            key = prefix + identifier
            if not columns.pages:
                yield Document(id=key, text=text, title=title, group=key, source=place)
                continue
            group = _string(row.get("group"))
            yield Document(
                id=key,
                text=text,
                title=title,
                context=_words(row.get("context")),
                group=prefix + group if group else key,
                order=_number(row.get("order")),
                source=place,
            )


def _number(value: object) -> int:
    """A place among sections, which some tables give as text; 0 where it is none."""
    digits = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", digits):
        return 0
    return max(-_MOST_ORDER, min(_MOST_ORDER, int(digits)))


@dataclass
class TableSource:
    """A table that is no single file: of a database, a hub, a folder of Arrow files.

    Attributes:
        name: What the user typed, without a password.
        rows: The table.
        columns: What `choose` chose.
        limit: How many documents to yield at most.
    """

    name: str
    rows: StoredRows
    columns: Columns
    limit: int | None

    @classmethod
    def open(cls, rows: StoredRows, wanted: Columns, limit: int | None) -> TableSource:
        """Chooses the columns.

        Raises:
            InputError: As `choose` does.
        """
        return cls(rows.shown, rows, choose(rows, wanted), limit)

    def fingerprint(self) -> str:
        """The sha256 of the table's own fingerprint and the options."""
        columns = [self.columns.text, self.columns.title, self.columns.id, self.columns.pages]
        return hash_value([self.rows.fingerprint(self._named()), columns, self.limit])

    def documents(self, report: ReadingReport) -> Iterator[Document]:
        """Streams the documents; see `Source`."""
        report.files += 1
        documents = read_documents(self.rows, self.columns, report, shown=self.name)
        return counted(map(composed, documents), report, self.name, self.limit)

    def _named(self) -> Sequence[str]:
        return list(dict.fromkeys(self.columns.named()))


def _string(value: object) -> str:
    if value != value:  # NaN, which is what pandas writes where nothing is
        return ""
    if isinstance(value, bytes):
        # Some writers do not say of a column of words that it is one.
        with suppress(UnicodeDecodeError):
            return value.decode("utf-8")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # where one is missing, pandas makes fractions of whole numbers
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal | UUID | date):
        return ""
    # JSON may escape half a surrogate pair, which no file and no Arrow table can hold.
    return str(value).encode("utf-8", errors="replace").decode("utf-8")


def _words(value: object) -> str:
    text = _string(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    return text if has_words(text) else ""
