"""An append-only journal: what is acknowledged is on the disk, many writers share one flush.

A journal is a folder of segments `NUMBER.journal`, named by the number of their first record. A
segment begins with a mark, the version of the format, that number and a checksum of the three. A
record is a mark, its number, its payload's length, a checksum of all three, and the payload.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from isometry.core.errors import InputError
from isometry.core.writing import atomic_file, clear_disk_errors, flush

VERSION = 1
SUFFIX = ".journal"

_LOCK = "lock"
_MARK = b"ISOJ"
_RECORD_MARK = b"\xf1REC"
_HEADER = struct.Struct("<4sIQI")
_FRAME = struct.Struct("<4sQII")
_MOST_BYTES = (1 << 32) - 1
# Of a segment, after which the next one begins.
_SEGMENT_BYTES = 16 << 20
# A file's size counts as data here, its times do not.
_flush_data = getattr(os, "fdatasync", os.fsync)


class NotWrittenError(InputError):
    """What was to be written is not on the disk, nor will it be there after a crash."""


@dataclass(frozen=True)
class Recovered:
    """What was found when a journal was opened.

    Attributes:
        records: How many whole ones.
        torn_bytes: How many bytes of an unfinished write were cut off at the end.
    """

    records: int
    torn_bytes: int


@dataclass
class _Segment:
    """A file of records.

    Attributes:
        path: The file.
        first: The number of its first record.
        count: How many it has.
        size: Its bytes as far as they are known to be on the disk.
    """

    path: Path
    first: int
    count: int
    size: int

    @property
    def end(self) -> int:
        """The number of the first record after it."""
        return self.first + self.count


class Journal(AbstractContextManager["Journal"]):
    """Numbered records in the order of their acknowledgement; make one by `open`.

    One thread writes all records that wait, flushes once, and acknowledges them together. When a
    write fails, nothing of it stays; the next one begins a new segment, so that it goes on as soon
    as there is room. Safe to use from several threads.

    Attributes:
        folder: Where the segments lie.
        recovered: What was found there.
    """

    def __init__(
        self, folder: Path, lock: FileLock, segments: list[_Segment], recovered: Recovered
    ) -> None:
        self.folder = folder
        self.recovered = recovered
        self._lock = lock
        self._segments = segments
        # Of the last segment; none where the next record begins a new one.
        self._file: int | None = None
        self._files = threading.RLock()
        self._waiting: list[tuple[bytes, Future[int]]] = []
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, folder: Path, first: int = 1) -> Journal:
        """Opens a journal, or begins one; an unfinished write at its end is cut off.

        Args:
            folder: Where its segments lie.
            first: The number of the first record where there is none yet.

        Raises:
            InputError: When another process has it open, or it is damaged elsewhere than at its
                end: nothing is changed then, and file and place are named.
        """
        with clear_disk_errors(folder):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                flush(folder.parent)
            # It may be given back by another thread than took it.
            lock = FileLock(folder / _LOCK, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"The journal {folder} is open in another process.", "Stop that one first."
                ) from None
        try:
            with clear_disk_errors(folder):
                segments, torn = _recover(folder)
                if not segments:
                    segments = [_begin(folder, first)]
        except BaseException:
            lock.release()
            raise
        return cls(folder, lock, segments, Recovered(sum(one.count for one in segments), torn))

    @property
    def first(self) -> int:
        """The number of the oldest record that is kept, or of the next one where none is."""
        with self._files:
            return self._segments[0].first

    @property
    def last(self) -> int:
        """The number of the last record that was acknowledged; one below `first` before any."""
        with self._files:
            return self._segments[-1].end - 1

    def append(
        self, payload: bytes, written: Callable[[Future[int]], None] | None = None
    ) -> Future[int]:
        """Writes a record.

        Args:
            payload: What it holds.
            written: Called with what is returned as soon as that is known, before whoever waits
                for it: of all records in their order, by one thread.

        Returns:
            Its number, as soon as it is on the disk; never before, and never cancelled. It fails
            with a `NotWrittenError` when it cannot be written.

        Raises:
            ValueError: When the payload is too long, or the journal is closed.
        """
        if len(payload) > _MOST_BYTES:
            raise ValueError(f"a record has at most {_MOST_BYTES} bytes, not {len(payload)}")
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()
        if written is not None:
            # Before the record is: else it might be written by now, and this thread called it.
            future.add_done_callback(written)
        with self._news:
            if self._closing:
                raise ValueError("the journal is closed")
            self._waiting.append((payload, future))
            self._news.notify()
        return future

    def records(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """The acknowledged records beyond a number, in order; none may be forgotten meanwhile."""
        with self._files:
            segments = [
                (one.path, one.first, one.size) for one in self._segments if one.end > after
            ]
        for path, first, size in segments:
            with path.open("rb") as file:
                data = file.read(size)
            for number, (start, end) in enumerate(_records(data, first), first):
                if number > after:
                    yield number, data[start:end]

    def forget(self, up_to: int) -> None:
        """Removes the segments that have no record beyond a number.

        Raises:
            InputError: When the disk is full: a journal without records still needs a segment,
                for the number of the next one.
        """
        with self._files, clear_disk_errors(self.folder):
            last = self._segments[-1]
            if last.count and last.end - 1 <= up_to:
                self._next_segment()
            while self._segments[0].end - 1 <= up_to and len(self._segments) > 1:
                # One after the other and the oldest first: a crash must not leave a gap.
                self._segments[0].path.unlink(missing_ok=True)
                flush(self.folder)
                del self._segments[0]

    def close(self) -> None:
        """Writes what waits, and lets others open the journal."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()
        with self._files:
            self._let_go()
        self._lock.release()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _work(self) -> None:
        """Writes all that waits, again and again."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing)
                batch, self._waiting = self._waiting, []
            if not batch:
                return
            try:
                with self._files:
                    first = self._write([payload for payload, _ in batch])
            except BaseException as error:
                failure = _failure(self.folder, error)
                for _, future in batch:
                    future.set_exception(failure)
                continue
            for number, (_, future) in enumerate(batch, first):
                future.set_result(number)

    def _write(self, payloads: list[bytes]) -> int:
        """Puts records on the disk, all or none; returns the number of the first."""
        if self._file is None or self._segments[-1].size >= _SEGMENT_BYTES:
            self._next_segment()
        segment, file = self._segments[-1], self._file
        assert file is not None
        first = segment.end
        data = b"".join(_framed(number, one) for number, one in enumerate(payloads, first))
        try:
            _write_all(file, data, segment.size)
            _flush_data(file)
        except BaseException:
            # After a failed flush nobody knows what of it is on the disk, nor whether the next
            # flush would tell: what was not acknowledged goes, and the segment is left alone.
            with contextlib.suppress(OSError):
                self._cut_off()
            raise
        segment.count += len(payloads)
        segment.size += len(data)
        return first

    def _cut_off(self) -> None:
        """Closes the last segment behind its last acknowledged record."""
        segment = self._segments[-1]
        self._let_go()
        with segment.path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size > segment.size:
                file.truncate(segment.size)
                os.fsync(file.fileno())

    def _next_segment(self) -> None:
        """Goes on in a new segment; the one before it ends with an acknowledged record."""
        last = self._segments[-1]
        self._cut_off()
        fresh = _begin(self.folder, last.end)
        # One without records has the same name, and is replaced.
        self._segments[len(self._segments) - (last.count == 0) :] = [fresh]
        self._file = os.open(fresh.path, os.O_WRONLY)

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _framed(number: int, payload: bytes) -> bytes:
    return _FRAME.pack(_RECORD_MARK, number, len(payload), _checksum(number, payload)) + payload


def _checksum(number: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<QI", number, len(payload))))


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _begin(folder: Path, first: int) -> _Segment:
    """A new segment, which is there whole or not at all."""
    path = folder / f"{first:020}{SUFFIX}"
    head = struct.pack("<4sIQ", _MARK, VERSION, first)
    with atomic_file(path) as temporary:
        temporary.write_bytes(head + struct.pack("<I", zlib.crc32(head)))
    return _Segment(path, first, 0, _HEADER.size)


def _failure(folder: Path, error: BaseException) -> NotWrittenError:
    """What whoever waits is told."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, InputError):
        return NotWrittenError(error.message, error.hint)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return NotWrittenError(
            f"No room left on the disk that holds {folder}.",
            "Free some space: writing then goes on by itself.",
        )
    reason = os.strerror(number) if number else f"{type(error).__name__}: {error}"
    return NotWrittenError(f"Cannot write to {folder}: {reason}.", "Look at the disk.")


def _recover(folder: Path) -> tuple[list[_Segment], int]:
    """The segments in order, and how many bytes of an unfinished write were cut off the last."""
    for rest in folder.glob(f".*{SUFFIX}.*"):
        # A segment that was about to begin.
        rest.unlink(missing_ok=True)
    segments: list[_Segment] = []
    torn = 0
    paths = sorted(folder.glob(f"[0-9]*{SUFFIX}"))
    for path in paths:
        data = path.read_bytes()
        first = _first_of(path, data)
        if segments and segments[-1].end != first:
            raise _damaged(
                path, 0, f"records {segments[-1].end} to {first - 1} before it are missing"
            )
        spans = list(_records(data, first))
        size = spans[-1][1] if spans else _HEADER.size
        segments.append(_Segment(path, first, len(spans), size))
        if size == len(data):
            continue
        if path != paths[-1] or _goes_on(data, size - 1, segments[-1].end):
            raise _damaged(path, size, "a record is damaged, and others follow it")
        torn = len(data) - size
    if torn:
        with segments[-1].path.open("r+b") as file:
            file.truncate(segments[-1].size)
            os.fsync(file.fileno())
    return segments, torn


def _first_of(path: Path, data: bytes) -> int:
    """The number of a segment's first record, by its header."""
    if len(data) < _HEADER.size:
        raise _damaged(path, 0, "its header is cut off")
    mark, version, first, checksum = _HEADER.unpack_from(data)
    if mark != _MARK or checksum != zlib.crc32(data[: _HEADER.size - 4]):
        raise _damaged(path, 0, "its header is damaged")
    if version > VERSION:
        raise InputError(
            f"{path} is a journal of version {version}; this Isometry reads up to {VERSION}.",
            "Upgrade Isometry.",
        )
    if path.name != f"{first:020}{SUFFIX}":
        raise _damaged(path, 0, f"it begins with record {first}: somebody renamed it")
    return first


def _records(data: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Where the payloads of a segment start and end, up to the first that is not whole."""
    offset, number = _HEADER.size, first
    while (end := _end(data, offset, number)) is not None:
        if _FRAME.unpack_from(data, offset)[1] != number:
            return
        yield offset + _FRAME.size, end
        offset, number = end, number + 1


def _end(data: bytes, offset: int, number: int) -> int | None:
    """Where the record at this place ends; None where no whole one of this number or later is."""
    if offset + _FRAME.size > len(data):
        return None
    mark, own, length, checksum = _FRAME.unpack_from(data, offset)
    start, end = offset + _FRAME.size, offset + _FRAME.size + length
    if mark != _RECORD_MARK or own < number or end > len(data):
        return None
    return end if _checksum(own, memoryview(data)[start:end]) == checksum else None


def _goes_on(data: bytes, offset: int, number: int) -> bool:
    """Whether a whole record of a later number follows: then this is no unfinished write."""
    at = data.find(_RECORD_MARK, offset + 1)
    while at >= 0 and _end(data, at, number) is None:
        at = data.find(_RECORD_MARK, at + 1)
    return at >= 0


def _damaged(path: Path, offset: int, what: str) -> InputError:
    return InputError(
        f"{path} is damaged at byte {offset}: {what}.",
        "Restore it from a copy. Cutting it off there gives up all that follows.",
    )
