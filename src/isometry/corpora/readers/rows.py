"""JSONL, CSV, TSV and Parquet files -> rows, streamed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from isometry.core.errors import InputError
from isometry.corpora.readers.decoding import detect_encoding, is_binary
from isometry.corpora.readers.reading import ReadingReport

TABLE_SUFFIXES = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"})
Row = tuple[int, dict[str, Any]]
"""The line (Parquet: the row), counted from 1, and the values by column."""

_SAMPLE_BYTES = 1 << 20
_CELL_CHARACTERS = 10_000_000


def read_rows(
    path: Path, report: ReadingReport, shown: str, columns: Sequence[str] | None = None
) -> Iterator[Row]:
    """Streams a table's rows; what is broken is skipped with its line number.

    Args:
        path: The file.
        report: Where skipped rows are noted.
        shown: The path as the report names it.
        columns: What to read of a Parquet file; the other formats give every column.

    Raises:
        InputError: When the file as a whole cannot be read.
    """
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet(path, columns)
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _json_lines(path, report, shown)
        else:
            yield from _separated(path, report, shown)
    except (OSError, UnicodeError) as error:
        raise InputError(f"Cannot read {shown}: {error}") from error


def column_names(path: Path) -> list[str]:
    """The columns, for JSONL those of the first 100 rows.

    Raises:
        InputError: When there are none, or the file cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        return [str(name) for name in _parquet_file(path).schema_arrow.names]
    if path.suffix.lower() in (".csv", ".tsv"):
        with _open_text(path) as file:
            try:
                header = next(_reader(file, path), [])
            except csv.Error as error:
                raise InputError(f"Cannot read the header of {path}: {error}.") from error
        if not any(name.strip() for name in header):
            raise InputError(f"{path} has no header.", "Its first line must name the columns.")
        return header
    names: dict[str, None] = {}
    for row in first_rows(path):
        names.update(dict.fromkeys(row))
    if not names:
        raise InputError(f"{path} holds no JSON objects.", "Every line must be one, as {...}.")
    return list(names)


def first_rows(path: Path) -> list[dict[str, Any]]:
    """The first 100 rows."""
    rows = read_rows(path, ReadingReport(), str(path))
    return [row for _, row in islice(rows, 100)]


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    if is_binary(sample):
        raise InputError(f"{path} is a binary file, not a table of text.")
    if len(sample) == _SAMPLE_BYTES:
        # The sample must not end within a character.
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    # Line ends stay as they are: csv treats them itself, and to JSON they are blanks.
    return path.open(encoding=detect_encoding(sample) or "utf-8", errors="replace", newline="")


def _json_lines(path: Path, report: ReadingReport, shown: str) -> Iterator[Row]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
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


def _reader(file: TextIO, path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_CHARACTERS))
    delimiter = "\t"
    if path.suffix.lower() != ".tsv":
        start = file.read(64_000)
        file.seek(0)
        header = next(csv.reader([start.partition("\n")[0]]), [""])
        try:
            delimiter = csv.Sniffer().sniff(start, ",;\t|").delimiter
        except csv.Error:
            delimiter = ","
        if len(header) > 1 and delimiter not in start.partition("\n")[0]:
            delimiter = ","
    return csv.reader(file, delimiter=delimiter)


def _separated(path: Path, report: ReadingReport, shown: str) -> Iterator[Row]:
    with _open_text(path) as file:
        reader: Any = _reader(file, path)
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


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"Cannot read {path} as Parquet: {error}") from error


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        with _parquet_file(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise InputError(f"Cannot read {path} after row {number}: {error}") from error
