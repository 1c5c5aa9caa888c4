"""What every kind of table is read as: the names of its columns, and its rows, streamed."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa

from isometry.core.errors import InputError
from isometry.corpora.readers.compressed import COMPRESSED_SUFFIXES
from isometry.corpora.readers.reading import ReadingReport

LINES = frozenset({".jsonl", ".ndjson"})
SEPARATED = frozenset({".csv", ".tsv"})
ARROW = frozenset({".arrow", ".feather", ".ipc"})
SPREADSHEETS = frozenset({".xlsx", ".xls", ".ods"})
SQLITE = frozenset({".db", ".sqlite", ".sqlite3"})
TABLE_SUFFIXES = frozenset(
    {
        ".parquet",
        *LINES,
        *SEPARATED,
        *(text + packed for text in LINES | SEPARATED for packed in COMPRESSED_SUFFIXES),
        *ARROW,
        *SPREADSHEETS,
        *SQLITE,
    }
)
"""What a table's name ends with, in lower case; ".csv.gz" and the like are two suffixes."""

SAMPLE_ROWS = 100
Row = tuple[int | str, dict[str, Any]]
"""The line, or where there are no lines the row, counted from 1, and the values by column.

A row that needs more than a number to be found has a name, in which no colon stands.
"""


class Rows(Protocol):
    """A table.

    Attributes:
        shown: The table as messages name it.
        key: A column that the table itself declares to be unique; None where it declares none.
    """

    @property
    def shown(self) -> str:
        """See the attributes."""
        ...

    @property
    def key(self) -> str | None:
        """See the attributes."""
        ...

    def names(self) -> list[str]:
        """The columns.

        Raises:
            InputError: When there are none, or the table cannot be read.
        """
        ...

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """Streams the rows, always in the same order while the table stays the same.

        Args:
            columns: What is needed; more may come. None is for a sample: every column that may
                hold text, of the first 100 rows at least.
            report: Where rows are noted that cannot be read.
            shown: The table as the report names it.

        Raises:
            InputError: When the table as a whole cannot be read.
        """
        ...


class StoredRows(Rows, Protocol):
    """A table that is no file of its own."""

    def fingerprint(self, columns: Sequence[str]) -> str:
        """A hash that changes with what `read` gives for these columns; see each kind."""
        ...


def table_suffix(name: str) -> str:
    """What of a name decides how its table is read: ".csv", ".csv.gz"; "" for no table."""
    last = name.lower().rpartition("/")[2].split(".")
    for count in (2, 1):
        suffix = "".join(f".{part}" for part in last[1:][-count:])
        if suffix in TABLE_SUFFIXES:
            return suffix
    return ""


def first_rows(rows: Rows) -> list[dict[str, Any]]:
    """The first 100 rows, with every column that may hold text."""
    stream = rows.read(None, ReadingReport(), rows.shown)
    try:
        return [row for _, row in islice(stream, SAMPLE_ROWS)]
    finally:
        stream.close()


# What broken files raise, in all the libraries that read them.
_BROKEN = (OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError, pa.ArrowException)


@contextmanager
def clear_read_errors(shown: str) -> Generator[None]:
    """Turns what a broken file raises, in whatever library, into an `InputError` that names it."""
    try:
        yield
    except InputError as error:
        if shown in error.message:
            raise
        # A reason alone, as the readers of compressed files give it.
        raise InputError(f"Cannot read {shown}: {error.message}.", error.hint) from error
    except _BROKEN as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"Cannot read {shown}: {str(reason).rstrip('.')}.") from error
