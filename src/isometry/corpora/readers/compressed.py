"""The one guard of everything compressed: what inflates is counted while it does.

A few kilobytes can inflate to terabytes, and the sizes that a file declares can be lies. Whatever
is compressed is read through here: it is given up once it inflates to more than it may, or to more
than 200 times what is on the disk, and costs no more than the first 32 MB. Parquet and Arrow files,
which other libraries inflate in pieces, are counted by the same measure.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO

from isometry.core.errors import InputError

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
MOST_INFLATED = 8 << 30
"""So many bytes come out of one file or one archive at most."""
MOST_STREAMED = 1 << 36
"""So many come out of a table at most, whose rows stream: memory stays flat, only time goes."""

_RATIO = 200  # text shrinks to a third or a tenth of its size, and a log to a hundredth
_FREE = 32 << 20  # what is always inflated: short files may repeat themselves without end
_CHUNK = 1 << 16
# zipfile inflates these two in bounded steps; a step of the others is as large as it likes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGES = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, struct.error,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip


class Budget:
    """Counts what one file or archive has inflated to.

    Args:
        compressed: Its bytes on the disk.
        most: So many bytes it may inflate to at most.
    """

    def __init__(self, compressed: int, most: int = MOST_INFLATED) -> None:
        self._spent, self._most = 0, most
        self._plausible = max(_FREE, _RATIO * compressed)

    def spend(self, size: int) -> None:
        """Counts bytes that have come out.

        Raises:
            InputError: When they are too many.
        """
        self._spent += size
        if self._spent > self._plausible:
            raise InputError(f"it inflates to more than {_RATIO} times its size")
        if self._spent > self._most:
            raise InputError(f"it inflates to more than {megabytes(self._most)}")


class _Counted(io.RawIOBase):
    """A stream whose bytes are counted and whose damages are an `InputError`."""

    def __init__(self, stream: Any, budget: Budget, close: Callable[[], None]) -> None:
        self._stream, self._budget, self._close = stream, budget, close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except _DAMAGES as error:
            raise InputError(f"damaged: {error}") from error
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._close()
        super().close()


def compressed_suffix(path: str) -> str:
    """The ending that says how a file is compressed, in lower case; empty if it is not."""
    name = path.lower()
    return next((suffix for suffix in COMPRESSED_SUFFIXES if name.endswith(suffix)), "")


def open_inflated(
    file: Path | BinaryIO, suffix: str, *, most: int = MOST_INFLATED
) -> io.BufferedReader:
    """Opens a compressed file for reading what it holds, from its start, under the guard.

    Args:
        file: The file. Closing the answer closes a path, and not a stream.
        suffix: How it is compressed, of `COMPRESSED_SUFFIXES`; empty: it is not, but counted.
        most: So many bytes may come out.

    Raises:
        InputError: While reading, when it is damaged, or inflates to too much.
    """
    raw: BinaryIO = file.open("rb") if isinstance(file, Path) else file
    try:
        budget = Budget(_size(raw), most)
        stream = _inflating(raw, suffix)
    except _DAMAGES as error:
        if isinstance(file, Path):
            raw.close()
        raise InputError(f"damaged: {error}") from error
    close = raw.close if isinstance(file, Path) else lambda: None
    return io.BufferedReader(_Counted(stream, budget, close), _CHUNK)


def _inflating(raw: BinaryIO, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if suffix == ".bz2":
        return bz2.BZ2File(raw)
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    if suffix == ".zst":
        import pyarrow as pa

        # The inner stream must not close what is not ours.
        return pa.CompressedInputStream(pa.PythonFile(_Lent(raw), mode="r"), "zstd")
    return _Lent(raw)


class _Lent:
    """A stream that outlives those who read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.closed = stream, False

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def close(self) -> None:
        self.closed = True


def inflated(path: str, data: bytes, most: int) -> bytes:
    """The bytes of a file, inflated if its name says that they are compressed.

    Raises:
        InputError: When they are damaged, or are more than `most`.
    """
    suffix = compressed_suffix(path)
    if not suffix:
        return data
    with open_inflated(io.BytesIO(data), suffix) as stream:
        return read_at_most(stream, most)


def read_at_most(stream: IO[bytes], most: int) -> bytes:
    """Everything that is left of a stream.

    Raises:
        InputError: When that is more than `most` bytes.
    """
    data = stream.read(most + 1)
    if len(data) > most:
        raise InputError(f"it holds more than {megabytes(most)}")
    return data


class GuardedZip:
    """A ZIP file whose members are read under the guard; `open_zip` makes it.

    Attributes:
        members: The members in the order of the directory, folders among them.
    """

    def __init__(self, zip_file: zipfile.ZipFile, budget: Budget) -> None:
        self._zip, self._budget = zip_file, budget
        self.members = zip_file.infolist()

    def __enter__(self) -> GuardedZip:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def open(self, member: zipfile.ZipInfo | str) -> io.BufferedReader:
        """Opens a member, by its entry or its name.

        Raises:
            InputError: When it is not there, is encrypted, or is compressed in a rare way; while
                reading, when it is damaged, or the whole archive inflates to too much.
        """
        self._budget.spend(0)  # once it is spent, nothing more is opened
        try:
            entry = self._zip.getinfo(member) if isinstance(member, str) else member
            if entry.flag_bits & 0x1:
                raise InputError("encrypted")
            if entry.compress_type not in _METHODS:
                raise InputError(f"compressed by a method that is not read ({entry.compress_type})")
            stream = self._zip.open(entry)
        except KeyError as error:
            raise InputError(f"damaged: it has no '{member}'") from error
        except _DAMAGES as error:
            raise InputError(f"damaged: {error}") from error
        return io.BufferedReader(_Counted(stream, self._budget, lambda: None), _CHUNK)

    def read(self, member: zipfile.ZipInfo | str, most: int) -> bytes:
        """A whole member of at most so many bytes.

        Raises:
            InputError: As `open`, or when it is longer.
        """
        with self.open(member) as stream:
            return read_at_most(stream, most)


def open_zip(file: Path | BinaryIO, *, most: int = MOST_INFLATED) -> GuardedZip:
    """Opens a ZIP file under the guard.

    Args:
        file: The file.
        most: So many bytes may come out of all members together.

    Raises:
        InputError: When it is none.
    """
    try:
        size = file.stat().st_size if isinstance(file, Path) else _size(file)
        return GuardedZip(zipfile.ZipFile(file), Budget(size, most))
    except _DAMAGES as error:
        raise InputError(f"damaged: {error}") from error


def check_zip(file: Path | BinaryIO, *, most: int = 1 << 30) -> None:
    """Inflates a ZIP file once, keeping nothing: what passes may be given to another library.

    A stream is put back to its start.

    Args:
        file: The file: DOCX and XLSX are such.
        most: So many bytes may come out of all members together.

    Raises:
        InputError: When it is no ZIP file, is damaged, holds encrypted members, or is a bomb. The
            message is a reason in lower case, without the name of the file.
    """
    with open_zip(file, most=most) as archive:
        for member in archive.members:
            with archive.open(member) as stream:
                while stream.read(_CHUNK):
                    pass
    if not isinstance(file, Path):
        file.seek(0)


def megabytes(size: int) -> str:
    """A limit for people: "20 MB"."""
    return f"{size >> 20} MB"


def _size(stream: BinaryIO) -> int:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size
