"""A Space that takes documents one by one: each is on the disk before it is acknowledged."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from isometry.core.errors import InputError, IsometryError
from isometry.core.heap import give_back
from isometry.core.journal import Journal, Recovered
from isometry.corpora.documents import Document
from isometry.jobs.changes import (
    Change,
    check_encoder,
    entries_of,
    open_journal,
    read_entries,
    write_changes,
)
from isometry.jobs.compact import compact_if_scattered, remove_expired
from isometry.jobs.history import KEEP_HOURS
from isometry.jobs.layered import LayeredSpace, Stored, StoredDocuments, document_from_row
from isometry.jobs.upkeep import Writer
from isometry.search.hybrid import Mode, Result
from isometry.search.overlay import TableWords
from isometry.space import Space


class StoreBusyError(IsometryError):
    """So much waits to be applied that nothing more is taken for a moment.

    Attributes:
        retry_after: In about how many seconds there is room, at least 1.
    """

    def __init__(self, retry_after: float) -> None:
        self.retry_after = max(1.0, retry_after)
        super().__init__(f"Too many documents wait; try again in {self.retry_after:.0f} s.")


@dataclass(frozen=True)
class Limits:
    """When what was journalled is applied, and how much of it is kept in memory.

    Attributes:
        records: So many are applied at once, ...
        bytes: ... or so many bytes of them, ...
        seconds: ... or whatever came within so many seconds.
        most_bytes: Beyond so many bytes nothing is taken before some are applied.
    """

    records: int = 1000
    bytes: int = 32 << 20
    seconds: float = 30.0
    most_bytes: int = 128 << 20


class Store(AbstractContextManager["Store"]):
    """The one process that writes into a Space for as long as it lives; make one by `open`.

    What is put goes to a journal first, one flush for all who wait; a thread folds it into the
    table of passages and the file of documents now and then. Whoever searches `space` sees both as
    one. It loads no model: passages and vectors are the caller's. Safe to use from several threads.

    Attributes:
        folder: The Space's.
        recovered: What was found in the journal.
    """

    def __init__(self, writer: Writer, journal: Journal, limits: Limits, keep_hours: float) -> None:
        self.folder = writer.folder
        self.recovered: Recovered = journal.recovered
        # What `open` puts in is given back by `close`.
        self._stack = ExitStack()
        self._writer = writer
        self._journal = journal
        self._limits = limits
        self._keep_hours = keep_hours
        self._news = threading.Condition(threading.RLock())
        self._applying = threading.Lock()
        self._closing = self._full = False
        self._failure: Exception | None = None
        self._took = 0.0
        # Number and bytes of what is acknowledged and not applied, and the bytes of all that waits.
        self._sizes: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._number = journal.last
        self._entries = read_entries(journal, writer.space)
        for number, payload in journal.records(self._applied):
            self._sizes.append((number, len(payload)))
            self._bytes += len(payload)
        self._take()
        self._thread = threading.Thread(target=self._run, name="applier", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        command: str = "serve",
        limits: Limits | None = None,
        keep_hours: float = KEEP_HOURS,
    ) -> Store:
        """Opens a Space for writing; what was acknowledged before is there at once.

        Args:
            folder: The Space's.
            command: What is being done, for whoever else wants to write.
            limits: When the journal is applied.
            keep_hours: How long states that were superseded stay, for readers and going back.

        Raises:
            InputError: When it is no Space, another process writes, or its journal is damaged.
        """
        with ExitStack() as stack:
            writer = stack.enter_context(Writer(folder, command, fold=False))
            journal = stack.enter_context(open_journal(writer.space))
            store = cls(writer, journal, limits or Limits(), keep_hours)
            store._stack = stack.pop_all()
        return store

    @property
    def space(self) -> Space:
        """The Space with all that was acknowledged until now; it stays at that."""
        with self._news:
            if self._view is None:
                self._view = self._layered()
            return self._view

    @property
    def waiting(self) -> int:
        """How many records are acknowledged and not applied yet."""
        with self._news:
            return len(self._sizes)

    @property
    def failure(self) -> Exception | None:
        """Why nothing can be applied just now; it is tried again."""
        return self._failure

    def put(
        self,
        documents: Sequence[Document],
        passages: pa.Table,
        vectors: Float[np.ndarray, "passages dim"],
        encoder: str,
    ) -> Future[int]:
        """Stores documents, in place of those with their ids: all of them or none.

        Args:
            documents: With ids that differ.
            passages: Theirs, as `passages_of` cuts them.
            vectors: One of length 1 for each passage.
            encoder: The fingerprint of what made the vectors.

        Returns:
            The number of the record, as soon as it is on the disk; from then on the documents are
            found. It fails with a `NotWrittenError` when it cannot be written.

        Raises:
            InputError: For what cannot be stored, or another encoder's vectors; nothing is written.
            StoreBusyError: When too much waits to be applied.
        """
        return self._append(Change.put(documents, passages, vectors, encoder))

    def delete(self, ids: Sequence[str]) -> Future[int]:
        """Removes documents; ids that are not there do not matter.

        Returns:
            As `put` does.

        Raises:
            InputError: When no ids are given.
            StoreBusyError: As `put` does.
        """
        if not ids or not all(ids):
            raise InputError("Name the documents that shall go.")
        encoder = self._writer.space.manifest["encoder"]
        return self._append(Change.delete(ids, encoder["fingerprint"], encoder["dim"]))

    def get(self, id: str) -> Stored | None:
        """A document with its passages and vectors; none where there is none of this id."""
        with self._news:
            entry, base, files = self._entries.get(id), self._base, self._files
        if entry is None:
            return files.get(id, base)
        if entry.document is None or entry.chunks is None:
            return None
        return Stored(document_from_row(entry.document), entry.chunks.rows, entry.chunks.vectors)

    def __contains__(self, id: object) -> bool:
        """Whether there is a document of this id."""
        with self._news:
            entry = self._entries.get(str(id))
            return id in self._files if entry is None else entry.document is not None

    def search(
        self,
        query: str,
        vector: Float[np.ndarray, " dim"] | None = None,
        k: int = 10,
        mode: Mode = "hybrid",
    ) -> list[Result]:
        """What `Space.search` finds in all that was acknowledged.

        Args:
            query: What is looked for.
            vector: The query's; without it the Space's own encoder is loaded where one is needed.
            k: How many documents at most.
            mode: By vectors, by words, or by both.

        Raises:
            InputError: As `Space.search` does.
        """
        return self.space.search(query, k, mode, vector=vector)

    def apply(self) -> int:
        """Folds what was acknowledged until now into the Space, as one state.

        Returns:
            The number of the last record that is in it.

        Raises:
            InputError: When the disk is full; the Space is as it was, and the journal keeps all.
        """
        with self._applying:
            started = time.monotonic()
            with self._news:
                entries, number = dict(self._entries), self._number
            if number <= self._applied:
                if self.waiting:
                    # What was written the last time could not be opened then.
                    self._take()
                return number
            try:
                write_changes(self._writer, entries, number)
                self._take()
                self._journal.forget(number)
                if compact_if_scattered(self._writer, self._keep_hours):
                    self._take()
            except BaseException as error:
                # It may have been written nevertheless, and only not be known to be on the disk.
                self._writer.discard()
                if isinstance(error, InputError | OSError):
                    # Where the disk is full, there is room for the next try then.
                    with contextlib.suppress(InputError, OSError):
                        remove_expired(self._writer, self._keep_hours)
                self._take()
                raise
            self._took = time.monotonic() - started
            # Tables of all documents were read and written; the next time may be far away.
            give_back()
            return number

    def close(self) -> None:
        """Writes what waits; what is not applied stays in the journal, for whoever writes next."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._thread.join()
        self._stack.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _applied(self) -> int:
        return int(self._writer.space.manifest.get("applied", 0))

    def _append(self, change: Change) -> Future[int]:
        check_encoder(self._writer.space, change)
        payload = change.to_bytes()
        size, most = len(payload), self._limits.most_bytes
        if size > most:
            raise InputError(
                f"These documents have {size:,} bytes; at most {most:,} are taken at once.",
                "Send fewer at a time.",
            )
        with self._news:
            if self._bytes + size > most:
                self._full = True
                self._news.notify_all()
                raise StoreBusyError(self._took)
            self._bytes += size
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()

        def written(done: Future[int]) -> None:
            # In the order of the records: one thread acknowledges all.
            error = done.exception()
            with self._news:
                if error is not None:
                    self._bytes -= size
                else:
                    self._number = done.result()
                    lexical = self._writer.space.lexical
                    self._entries |= entries_of(self._number, change, lexical)
                    self._sizes.append((self._number, size))
                    self._view = None
                    self._news.notify_all()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        try:
            self._journal.append(payload, written)
        except BaseException:
            with self._news:
                self._bytes -= size
            raise
        return future

    def _take(self) -> None:
        """Goes over to the state that was written; what it holds is no more laid over it."""
        space = self._writer.space
        # All that a search needs, before anybody has to wait for it.
        _, _ = space.index.rows, space.index.view
        files = StoredDocuments(space.documents)
        with self._news:
            self._base, self._files = space, files
            self._words = TableWords(space.index, space.lexical)
            while self._sizes and self._sizes[0][0] <= self._applied:
                self._bytes -= self._sizes.popleft()[1]
            self._entries = {
                name: entry for name, entry in self._entries.items() if entry.number > self._applied
            }
            self._view, self._full = None, False
            self._news.notify_all()

    def _layered(self) -> Space:
        if not self._entries:
            return self._base
        # A copy: whoever searches it does so while others come.
        return LayeredSpace(self._base, dict(self._entries), self._words)

    def _run(self) -> None:
        """Applies what waits as soon as it is much, or has waited for long."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closing or self._sizes)
                self._news.wait_for(lambda: self._closing or self._due(), self._limits.seconds)
                if self._closing:
                    return
            try:
                self.apply()
                self._failure = None
            except Exception as error:
                self._failure = error
                with self._news:
                    self._full = False

    def _due(self) -> bool:
        much = len(self._sizes) >= self._limits.records or self._bytes >= self._limits.bytes
        # What failed is tried again when there is reason to hope, or after a while.
        return self._full or (much and self._failure is None)
