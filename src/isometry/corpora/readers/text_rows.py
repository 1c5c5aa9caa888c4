"""JSONL, CSV and TSV files, also compressed ones -> rows."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from isometry.core.errors import InputError
from isometry.corpora.readers.compressed import compressed_suffix, open_inflated
from isometry.corpora.readers.decoding import detect_encoding, is_binary
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import Row, clear_read_errors, first_rows, table_suffix

_SAMPLE_BYTES = 1 << 20
_CELL_CHARACTERS = 10_000_000
_LINE_CHARACTERS = 5 * _CELL_CHARACTERS
_MOST_INFLATED = 1 << 36  # 64 GiB: memory stays flat, only time goes


@dataclass(frozen=True)
class JsonLines:
    """Lines with one JSON object each."""

    path: Path
    key: None = None

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    def names(self) -> list[str]:
        """The columns of the first 100 rows; see `Rows.names`."""
        names: dict[str, None] = {}
        for row in first_rows(self):
            names.update(dict.fromkeys(row))
        if not names:
            raise InputError(
                f"{self.path} holds no JSON objects.", "Every line must be one, as {...}."
            )
        return list(names)

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`."""
        with _open_text(self.path, shown) as (file, _):
            for number, line in enumerate(_lines(file, shown), start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    report.skip(f"{shown}:{number}", f"no JSON: {error}")
                    continue
                if isinstance(row, dict):
                    yield number, row
                else:
                    report.skip(f"{shown}:{number}", "no JSON object")


@dataclass(frozen=True)
class Separated:
    """Cells parted by a character, under a header."""

    path: Path
    key: None = None

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    def names(self) -> list[str]:
        """The header; see `Rows.names`."""
        with _open_text(self.path, self.shown) as (file, start):
            try:
                header = next(self._reader(file, start, self.shown), [])
            except csv.Error as error:
                raise InputError(f"Cannot read the header of {self.path}: {error}.") from error
        if not any(name.strip() for name in header):
            raise InputError(f"{self.path} has no header.", "Its first line must name the columns.")
        return header

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`; a row of another width than the header is skipped."""
        with _open_text(self.path, shown) as (file, start):
            reader: Any = self._reader(file, start, shown)
            header = next(reader, [])
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    report.skip(f"{shown}:{line}", error)
                    continue
                if len(cells) == len(header):
                    yield line, dict(zip(header, cells, strict=True))
                elif cells:
                    report.skip(f"{shown}:{line}", f"{len(cells)} cells for {len(header)} columns")

    def _reader(self, file: TextIO, start: str, shown: str) -> Iterator[list[str]]:
        csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARACTERS))
        tabs = table_suffix(self.path.name).startswith(".tsv")
        delimiter = "\t" if tabs else _delimiter(start)
        quoting = csv.QUOTE_NONE if delimiter == "\t" and _is_bare(start) else csv.QUOTE_MINIMAL
        return csv.reader(_lines(file, shown), delimiter=delimiter, quoting=quoting)


def _delimiter(start: str) -> str:
    """The character with which most rows of a table's beginning are as wide as its header."""
    best, most = ",", 0
    for delimiter in ",;\t|":
        # Of a cell that is cut off at the end nothing is known.
        with contextlib.suppress(csv.Error):
            reader = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)
            header = next(reader, [])
            wide = 1 + sum(len(row) == len(header) for row in itertools.islice(reader, 500))
            if len(header) > 1 and wide > most:
                best, most = delimiter, wide
    return best


def _is_bare(start: str) -> bool:
    """Whether quotes in a table of tabs are only characters, as in those of MS MARCO.

    So it is where every line is as wide as the header, and cells begin with a quote that do not
    end with one, or none is in quotes.
    """
    lines = [line for line in start.split("\n")[:-1] or [start] if line.strip()]
    rows = [line.rstrip("\r").split("\t") for line in lines]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return False
    opened = [cell for row in rows for cell in row if cell.startswith('"')]
    return not opened or any(len(cell) < 2 or not cell.endswith('"') for cell in opened)


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    """Reads what is no UTF-8, where all before it was plain, as programs of Windows write it."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error("isometry.cp1252", _as_cp1252)


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, inflated while they are read where its name says that it is compressed.

    Raises:
        InputError: While reading, when it is damaged, or inflates to too much.
    """
    suffix = compressed_suffix(path.name)
    return open_inflated(path, suffix, most=_MOST_INFLATED) if suffix else path.open("rb")


@contextmanager
def _open_text(path: Path, shown: str) -> Generator[tuple[TextIO, str]]:
    """The file, and the first 64,000 characters of it."""
    with clear_read_errors(shown):
        with open_bytes(path) as file:
            sample = file.read(_SAMPLE_BYTES)
        if is_binary(sample):
            raise InputError(f"{shown} is a binary file, not a table of text.")
        if len(sample) == _SAMPLE_BYTES:
            # The sample must not end within a character.
            sample = sample[: sample.rfind(b"\n") + 1] or sample
        encoding = detect_encoding(sample) or "utf-8"
        errors = "isometry.cp1252" if encoding.lower().startswith("utf-8") else "replace"
        # Line ends stay as they are: csv treats them itself, and to JSON they are blanks.
        with io.TextIOWrapper(
            open_bytes(path), encoding=encoding, errors=errors, newline=""
        ) as file:
            yield file, sample.decode(encoding, errors="replace")[:64_000]


def _lines(file: TextIO, shown: str) -> Iterator[str]:
    # A file without line ends would be read into memory whole.
    number = 0
    while line := file.readline(_LINE_CHARACTERS):
        number += 1
        if len(line) == _LINE_CHARACTERS:
            raise InputError(
                f"{shown}:{number}: a line of more than {_LINE_CHARACTERS:,} characters is no row."
            )
        yield line
