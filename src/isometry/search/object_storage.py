"""A Space's table of passages in S3-compatible storage: files as Lance wrote them, and a manifest.

A file never changes under its name, and the manifest, which names all of them and the version of
the table, is written last: whoever reads it sees one state.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from isometry.core.errors import InputError
from isometry.search.filters import COLUMNS, Filter, FilteredIndex
from isometry.search.lancedb import TABLE, ChunkIndex
from isometry.search.passages import Exported

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

SCHEME = "s3://"
FORM = "s3://BUCKET/PREFIX"
MANIFEST = "export.json"
_CONNECT_SECONDS, _REQUEST_SECONDS = 10, 60
_BUFFER = 8 << 20


@dataclass(frozen=True)
class Storage:
    """What lies under one prefix of a bucket; make one by `open`.

    Attributes:
        shown: "s3://BUCKET/PREFIX".
    """

    shown: str
    _files: S3FileSystem

    @classmethod
    def open(cls, target: str) -> Storage:
        """Who may read and write, and where the server is, says the environment.

        `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and the like, a profile or the
        machine's role, as for any program that speaks S3; `AWS_ENDPOINT_URL` for another server.

        Args:
            target: "s3://BUCKET/PREFIX".

        Raises:
            InputError: When it is not of that form.
        """
        from pyarrow.fs import S3FileSystem

        place = target.removeprefix(SCHEME).strip("/")
        parts = place.split("/")
        if not target.startswith(SCHEME) or not all(parts) or {"@", "?", "#"} & set(place):
            raise InputError(
                f"{SCHEME}... is to be of the form {FORM}.",
                "Keys and the server's address are variables of the environment: AWS_ACCESS_KEY_ID,"
                " AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL.",
            )
        files = S3FileSystem(
            endpoint_override=_endpoint(),
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_REQUEST_SECONDS,
        )
        return cls(f"{SCHEME}{place}", files)

    def manifest(self) -> dict[str, Any] | None:
        """What was exported there; None where nothing was.

        Raises:
            InputError: When the storage cannot be read, or what lies there is no manifest.
        """
        with _clear(f"Cannot read {self.shown}"):
            try:
                with self._files.open_input_stream(self._path(MANIFEST)) as file:
                    value = json.loads(file.read())
            except FileNotFoundError:
                return None
        if not isinstance(value, dict) or not {"format", "files"} <= value.keys():
            raise InputError(f"{self.shown}/{MANIFEST} is no manifest of an export.")
        return value

    def write_manifest(self, value: dict[str, Any]) -> None:
        """Writes the manifest: from here on whoever opens the export sees what it names."""
        with _clear(f"Cannot write to {self.shown}"):
            data = json.dumps(value, indent=2).encode()
            with self._files.open_output_stream(self._path(MANIFEST)) as file:
                file.write(data)

    def upload(self, path: Path, name: str) -> None:
        """Copies a file there, in place of one of its name."""
        with (
            _clear(f"Cannot write to {self.shown}"),
            path.open("rb") as source,
            self._files.open_output_stream(self._path(name)) as file,
        ):
            shutil.copyfileobj(source, file, _BUFFER)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files; those that are not there do not matter."""
        with _clear(f"Cannot write to {self.shown}"):
            for name in names:
                try:
                    self._files.delete_file(self._path(name))
                except FileNotFoundError:
                    continue

    def table(self, folder: str, version: int, documents: str) -> StoredIndex:
        """A table of passages, read from there.

        Args:
            folder: Where it lies.
            version: Which one of its versions.
            documents: The file of the documents that they are of.

        Raises:
            InputError: When it cannot be read.
        """
        import lancedb

        options: dict[str, str] = {}
        if endpoint := _endpoint():
            options = {
                "endpoint": endpoint,
                "allow_http": str(endpoint.startswith("http:")).lower(),
            }
        with _clear(f"Cannot read {self.shown}"):
            # Lance takes an address apart, where pyarrow takes names as they are.
            place = quote(self.shown.removeprefix(SCHEME))
            connection = lancedb.connect(f"{SCHEME}{place}/{folder}", storage_options=options)
            table = connection.open_table(TABLE)
            table.checkout(version)
        return StoredIndex(table, lambda: self.documents(documents), self.shown)

    def documents(self, name: str) -> pa.Table:
        """What documents can be filtered by.

        Args:
            name: Of their file.

        Raises:
            InputError: When it cannot be read.
        """
        with (
            _clear(f"Cannot read {self.shown}"),
            self._files.open_input_file(self._path(name)) as file,
        ):
            return pq.read_table(file, columns=list(COLUMNS))

    def _path(self, name: str) -> str:
        return f"{self.shown.removeprefix(SCHEME)}/{name}"


class StoredIndex(ChunkIndex):
    """A table in object storage.

    Args:
        table: The table.
        read: Reads what its documents can be filtered by.
        shown: Where it lies.
    """

    def __init__(self, table: Any, read: Callable[[], pa.Table], shown: str) -> None:
        super().__init__(table, None)
        self._read_documents = read
        self._shown = shown

    @contextmanager
    def snapshot(self) -> Iterator[StoredIndex]:
        """This index, which stays at its version as long as its files are there.

        Raises:
            InputError: When it cannot be read any more.
        """
        try:
            yield self
        except (OSError, RuntimeError) as error:
            # A model that encodes within the block may fail, too, which is no matter of storage.
            if isinstance(error, RuntimeError) and "lance" not in str(error).lower():
                raise
            raise InputError(f"Cannot read {self._shown}: {_line(error)}.") from error

    @cached_property
    def known(self) -> pa.Table:
        """What documents can be filtered by, read on first use: `COLUMNS`."""
        return self._read_documents()

    def only(self, filter: Filter) -> FilteredIndex:
        """What a search may show of it."""
        return FilteredIndex(self, filter.names(self.known))


def open_exported(target: str, encoder: str) -> StoredIndex:
    """The table that was exported to a prefix, at the version of now.

    Args:
        target: "s3://BUCKET/PREFIX".
        encoder: The fingerprint of what will make the queries' vectors.

    Raises:
        InputError: When nothing was exported there, it cannot be read, or another encoder made its
            vectors.
    """
    storage = Storage.open(target)
    manifest = storage.manifest()
    if manifest is None:
        raise InputError(
            f"No Space was exported to {storage.shown}.", "Run: isometry export SPACE TARGET"
        )
    Exported.from_json(manifest).check_encoder(encoder, storage.shown)
    return storage.table(manifest["index"], manifest["version"], manifest["documents"])


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@contextmanager
def _clear(message: str) -> Iterator[None]:
    """Turns what the storage refuses into one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{message}: {_line(error)}.") from error


def _line(error: Exception) -> str:
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return said.rstrip(".")
