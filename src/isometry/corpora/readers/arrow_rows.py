"""Parquet files, Arrow and Feather files, and folders saved by `datasets` -> rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value, read_json
from isometry.corpora.readers.compressed import MOST_STREAMED, Budget
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import Row, clear_read_errors

_BATCH_ROWS = 64  # few, since each may be a long text that the file holds only once


@dataclass(frozen=True)
class Parquet:
    """A Parquet file."""

    path: Path
    key: None = None

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    def names(self) -> list[str]:
        """See `Rows.names`."""
        with self._open() as file:
            return [str(name) for name in file.schema_arrow.names]

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`."""
        with self._open() as file, clear_read_errors(shown):
            number = 0
            budget = _budget(self.path)
            names = _text_names(file.schema_arrow) if columns is None else list(columns)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                for row in _rows_of(batch, budget):
                    number += 1
                    yield number, row

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"Cannot read {self.path} as Parquet: {error}") from error


@dataclass(frozen=True)
class ArrowFiles:
    """Arrow files of one schema, one after the other: IPC files (Feather) or IPC streams."""

    name: str
    paths: tuple[Path, ...]
    key: None = None

    @property
    def shown(self) -> str:
        """What the user typed."""
        return self.name

    def names(self) -> list[str]:
        """See `Rows.names`."""
        with clear_read_errors(self.shown), _open_ipc(self.paths[0], []) as (schema, _):
            return [str(name) for name in schema.names]

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`."""
        number = 0
        for path in self.paths:
            budget = _budget(path)
            with clear_read_errors(shown), _open_ipc(path, columns) as (_, batches):
                for batch in batches:
                    # Offsets are not checked when a file is opened, and a wrong one is a crash.
                    batch.validate(full=True)
                    for start in range(0, batch.num_rows, _BATCH_ROWS):
                        for row in _rows_of(batch.slice(start, _BATCH_ROWS), budget):
                            number += 1
                            yield number, row

    def fingerprint(self, columns: Sequence[str]) -> str:
        """The sha256 of the files."""
        return hash_value([hash_file(path) for path in self.paths])


def saved_dataset(folder: Path) -> ArrowFiles | None:
    """The table of a folder that `datasets.save_to_disk` wrote; None for any other folder.

    Of a folder with several splits it is "train", or the only one.

    Raises:
        InputError: When a file is missing, or there are splits and none is "train".
    """
    splits = _list_in(folder / "dataset_dict.json", "splits")
    if splits is not None:
        chosen = "train" if "train" in splits else splits[0] if len(splits) == 1 else None
        if chosen is None:
            raise InputError(
                f"{folder} holds several splits: {', '.join(map(str, splits))}.",
                f"Give the folder of one: {folder / str(splits[0] if splits else 'SPLIT')}.",
            )
        return saved_dataset(folder / str(chosen))
    if not all((folder / f"{name}.json").is_file() for name in ("state", "dataset_info")):
        return None
    listed = _list_in(folder / "state.json", "_data_files")
    if listed is None or not all(isinstance(one, dict) and "filename" in one for one in listed):
        return None
    # The names come from a file: none may lead out of the folder.
    paths = tuple(folder / Path(str(item["filename"])).name for item in listed)
    if not paths:
        raise InputError(f"The data set in {folder} has no files.")
    for path in paths:
        if not path.is_file():
            raise InputError(f"There is no file {path}, which the data set's state.json names.")
    return ArrowFiles(str(folder), paths)


def _list_in(path: Path, key: str) -> list[Any] | None:
    """A list of a JSON file; None where there is none: other programs have such files, too."""
    value: Any = read_json(path) if path.is_file() else None
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else None


def _budget(path: Path) -> Budget:
    return Budget(path.stat().st_size, MOST_STREAMED)


def _rows_of(batch: pa.RecordBatch, budget: Budget) -> list[dict[str, Any]]:
    """The rows of a few, with what they take counted.

    Raises:
        InputError: When that is too much, with all that came before.
    """
    whole = pa.RecordBatch.from_arrays([_whole(each) for each in batch.columns], batch.schema.names)
    budget.spend(whole.nbytes)
    return whole.to_pylist()


def _whole(column: pa.Array) -> pa.Array:
    """A column in which each row has its value for itself; else nobody knows what they take."""
    if isinstance(column, pa.DictionaryArray):
        return _whole(column.dictionary_decode())
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    return column


def _text_names(schema: pa.Schema) -> list[str]:
    """The columns that hold strings, however they are stored; not the pictures beside them."""
    return [str(field.name) for field in schema if _is_string(field.type)]


def _is_string(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        return _is_string(kind.value_type)
    is_kind = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in is_kind)


@contextmanager
def _open_ipc(
    path: Path, columns: Sequence[str] | None
) -> Generator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    with pa.memory_map(str(path)) as source:
        opened: Any = pa.ipc.open_file if is_file else pa.ipc.open_stream
        schema: pa.Schema = opened(source).schema
        names = _text_names(schema) if columns is None else columns
        fields = [schema.names.index(name) for name in names if name in schema.names]
        source.seek(0)
        reader = opened(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        if is_file:
            yield schema, (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield schema, iter(reader)
