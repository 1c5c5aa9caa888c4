"""JSONL, CSV and TSV files, also compressed ones -> rows."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from isometry.core.errors import InputError
from isometry.corpora.readers.compressed import (
    MOST_STREAMED,
    compressed_suffix,
    open_inflated,
)
from isometry.corpora.readers.decoding import detect_encoding, is_binary
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import Row, clear_read_errors, first_rows, table_suffix

_SAMPLE_BYTES = 1 << 20
_CELL_CHARACTERS = 10_000_000
_LINE_CHARACTERS = 5 * _CELL_CHARACTERS
# The first line of a table that Excel wrote for another language: it names the delimiter.
_NAMED_DELIMITER = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)


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
                header = _Reader(file, start, self.path.name, self.shown).header
            except csv.Error as error:
                raise InputError(f"Cannot read the header of {self.path}: {error}.") from error
        if not header:
            raise InputError(f"{self.path} has no header.", "Its first line must name the columns.")
        return header

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`; a row of another width than the header is skipped.

        Where a quote is never closed, or only by one that opens a cell further down, the rows from
        there on would be one cell: then it is a character, and that is noted.
        """
        with _open_text(self.path, shown) as (file, start):
            reader = _Reader(file, start, self.path.name, shown)
            for line, cells in reader.rows(report):
                if len(cells) == len(reader.header):
                    yield line, dict(zip(reader.header, cells, strict=True))
                elif cells:
                    wide = f"{len(cells)} cells for {len(reader.header)} columns"
                    report.skip(f"{shown}:{line}", wide)


class _Reader:
    """The header of a table and the rows below it, each with the number of its first line.

    Args:
        file: At its beginning.
        start: What it begins with.
        name: Of the file; says where tabs are the delimiter.
        shown: The file as people know it.

    Raises:
        csv.Error: When the header cannot be read.
        InputError: While reading, when a line is too long.
    """

    def __init__(self, file: TextIO, start: str, name: str, shown: str) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARACTERS))
        self._lines = _lines(file, shown)
        self._shown = shown
        self._number = 0
        self._held: list[str] = []
        self._again: deque[str] = deque()
        tabs = table_suffix(name).startswith(".tsv")
        named = _NAMED_DELIMITER.match(start)
        if named:
            start = start[named.end() :]
            self._next_line()
        self._delimiter = named[1] if named else "\t" if tabs else _delimiter(start)
        self._padded = _is_padded(start, self._delimiter)
        self._bare = self._delimiter == "\t" and _is_bare(start)
        # Of quotes that come later nothing is known: each cell says itself what they are.
        self._late = self._bare and '"' not in start
        self._reader = self._fresh()
        self.header: list[str] = next(filter(_has_names, self._reader), [])

    def rows(self, report: ReadingReport) -> Iterator[tuple[int, list[str]]]:
        """The rows; what cannot be read goes to the report."""
        while True:
            line = self._number + 1
            self._held.clear()
            error = None
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as found:
                cells, error = [], found
            if self._runs_on():
                report.skip(f"{self._shown}:{line}", "its quote is never closed", readable=True)
                first, *rest = self._held
                self._again.extendleft(reversed([*filter(None, rest)]))
                self._number = line
                self._reader = self._fresh()
                cells = list(map(_unquoted, *self._over([first], bare=True)))
            elif error is not None:
                report.skip(f"{self._shown}:{line}", error)
                continue
            elif self._late:
                cells = list(map(_unquoted, cells))
            yield line, cells

    def _next_line(self) -> str:
        """The next line, or nothing at the end; kept until its row is whole."""
        line = self._again.popleft() if self._again else next(self._lines, "")
        self._number += bool(line)
        self._held.append(line)
        return line

    def _runs_on(self) -> bool:
        """Whether what is held are rows, which a quote without its other end has made a cell of.

        It is no table's own way of quoting, and some of its lines are as wide as the header.
        """
        width = len(self.header)
        if len(self._held) == 1 or width == 1:
            return False
        try:
            list(self._over(self._held, strict=True))
        except csv.Error:
            return any(len(row) == width for row in self._over(self._held[1:], bare=True))
        return False

    def _fresh(self) -> Iterator[list[str]]:
        return self._over(iter(self._next_line, ""), bare=self._bare)

    def _over(
        self, lines: Iterable[str], *, bare: bool = False, strict: bool = False
    ) -> Iterator[list[str]]:
        quoting = csv.QUOTE_NONE if bare else csv.QUOTE_MINIMAL
        return csv.reader(
            lines,
            delimiter=self._delimiter,
            quoting=quoting,
            strict=strict,
            skipinitialspace=self._padded,
        )


def _has_names(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _unquoted(cell: str) -> str:
    """What a cell in quotes holds; any other cell as it is."""
    inner = cell[1:-1].replace('""', "")
    if len(cell) < 2 or not cell[0] == cell[-1] == '"' or '"' in inner:
        return cell
    return cell[1:-1].replace('""', '"')


def _delimiter(start: str) -> str:
    """The character with which most rows of a table's beginning are as wide as its header."""
    best, most = ",", 0
    start = start.lstrip("\r\n ")
    for delimiter in ",;\t|":
        # Of a cell that is cut off at the end nothing is known.
        with contextlib.suppress(csv.Error):
            reader = csv.reader(
                io.StringIO(start, newline=""),
                delimiter=delimiter,
                skipinitialspace=_is_padded(start, delimiter),
            )
            header = next(reader, [])
            wide = 1 + sum(len(row) == len(header) for row in itertools.islice(reader, 500))
            if len(header) > 1 and wide > most:
                best, most = delimiter, wide
    return best


def _is_padded(start: str, delimiter: str) -> bool:
    """Whether cells in quotes begin after a blank, which else makes the quotes characters."""
    mark = re.escape(delimiter)
    cell = rf'{mark} +"(?:[^"]|"")*+" *(?:{mark}|[\r\n]|\Z)'
    return re.search(cell, start) is not None


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
    return open_inflated(path, suffix, most=MOST_STREAMED) if suffix else path.open("rb")


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
