"""What every writer of a finished Space does: take turns, tidy up, change the manifest last."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value, read_json
from isometry.core.writing import atomic_file, clear_disk_errors, flush, write_json
from isometry.corpora.documents import SCHEMA
from isometry.jobs.history import CHANGES, generation, numbered
from isometry.space import Space
from isometry.space_files import (
    FORMAT,
    JOURNAL,
    LOCK,
    MANIFEST,
    OWNER,
    WRITING,
    Current,
    counts,
    files_below,
    read_documents,
)

if TYPE_CHECKING:
    from isometry.encoders.cached import CachedEncoder

# Where a document came from, its id there, and a hash of what is searched and encoded.
HELD = pa.schema([*SCHEMA, ("origin", pa.string()), ("own_id", pa.string()), ("hash", pa.string())])

# One document is read by reading all that are stored together; `fit` stores as many.
_TOGETHER = 1024


class Writer(AbstractContextManager["Writer"]):
    """The one process that may change a Space; readers neither wait for it nor see it at work.

    A writer only ever adds files, under new names, and then replaces the manifest, which names
    them: that moment is the change. What a killed writer left is whatever the manifest does not
    name, so the next one removes just that; vectors that were computed are kept for it.

    Args:
        folder: The Space's.
        command: What is being done, for whoever has to wait.
        fold: Whether to bring in first what a process that stored left in the journal.

    Attributes:
        space: The Space as it is, after each `commit` the new one.
        work: A folder for what a killed run need not do again; gone after a success.

    Raises:
        InputError: On entering, when it is no Space, or another process writes.
    """

    space: Space

    def __init__(self, folder: str | Path, command: str, *, fold: bool = True) -> None:
        self.folder = Space.open(folder).folder
        self.work = self.folder / WRITING
        self._command = command
        self._fold = fold
        # It may be given back by another thread than took it.
        self._lock = FileLock(self.folder / LOCK, thread_local=False)
        self._foreign: set[str] = set()

    def __enter__(self) -> Writer:
        with clear_disk_errors(self.folder):
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"{self.folder} is being written{_by(self.folder / OWNER)}.",
                    "Wait for it to finish; searching goes on meanwhile.",
                ) from None
        try:
            self._tidy()
            self.space = Space(self.folder, numbered(Space.open(self.folder).manifest))
            self._foreign = set(self.space.unlisted())
            with clear_disk_errors(self.folder):
                # First: it says that files may now lie about which the manifest does not name.
                self.work.mkdir(exist_ok=True)
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "command": self._command}
            write_json(self.folder / OWNER, {**owner, "since": utc()})
            if self._fold and (self.folder / JOURNAL).is_dir():
                from isometry.jobs.changes import fold_journal

                fold_journal(self)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._tidy()
            (self.folder / OWNER).unlink(missing_ok=True)
            if error is None or not any(self.work.rglob("*.safetensors")):
                shutil.rmtree(self.work, ignore_errors=True)
        finally:
            self._lock.release()

    def discard(self) -> None:
        """Removes what was not committed, after something went wrong, and goes on from there."""
        self._tidy()
        now = Space.open(self.folder)
        if now.manifest.get("writes", 0) != self.space.manifest.get("writes", 0):
            self.space = self.space.refresh()

    def _tidy(self) -> None:
        """Removes what the manifest does not name and only a writer can have left."""
        self._remove(Space.open(self.folder).leftovers())

    def _remove(self, names: Iterable[str]) -> None:
        """Removes files, and the folders that hold no more of the Space without them."""
        folders: set[Path] = set()
        for name in names:
            path = self.folder / name
            path.unlink(missing_ok=True)
            folders.update(parent for parent in path.parents if self.folder in parent.parents)
        for folder in sorted(folders):
            below = (path.relative_to(self.folder).as_posix() for path in files_below(folder))
            if not any(counts(name) for name in below):
                shutil.rmtree(folder, ignore_errors=True)

    def free(self, stem: str, suffix: str = "") -> str:
        """A name that no file or folder of the Space has or had: `stem-2`, `stem-3` ..."""
        number = int(self.space.manifest.get("writes", 0)) + 2
        while (self.folder / f"{stem}-{number}{suffix}").exists():
            number += 1
        return f"{stem}-{number}{suffix}"

    @property
    def next_state(self) -> int:
        """The number of the state that the next commit makes."""
        return int(self.space.manifest.get("writes", 0)) + 1

    def commit(
        self,
        manifest: dict[str, Any],
        doomed: Collection[str] = (),
        *,
        forget: bool = False,
        by: str | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Replaces the manifest: from here on whoever opens the Space sees the new state.

        Args:
            manifest: The new one; its list of files is made here. A file that the last one names
                keeps its hash: nobody ever writes a file of that name again, and the hash of one
                that was damaged meanwhile would hide the damage.
            doomed: Files that no kept state needs; they go once the manifest names them no more.
            forget: Whether the state that is superseded now is among what goes.
            by: What writes the new state, where it is not the command.
            counts: How many documents were `added`, `changed` and `removed`, if any.
        """
        known = self.space.manifest["files"]
        files: dict[str, str] = {}
        fresh: set[Path] = set()
        with clear_disk_errors(self.folder):
            for name in sorted({*known, *self.space.unlisted()} - self._foreign - set(doomed)):
                path = self.folder / name
                if name not in known:
                    flush(path)
                    fresh.add(path.parent)
                    if path.parent != self.folder:
                        fresh.add(path.parent.parent)
                files[name] = known.get(name) or hash_file(path)
            for parent in fresh:
                flush(parent)
        was, current = self.space.current, Current.of(manifest)
        superseded = list(manifest.get("superseded", []))
        writes, state = self.next_state, manifest["state"]
        if current != was:
            if not forget:
                superseded.append({**generation(self.space.manifest), "until": utc()})
            state = {"number": writes, "time": utc(), "by": by or self._command}
            state |= {name: (counts or {}).get(name, 0) for name in CHANGES}
        written = {
            **manifest,
            "format": FORMAT,
            "writes": writes,
            "state": state,
            "superseded": superseded,
            "files": files,
        }
        write_json(self.folder / MANIFEST, written)
        self.space = self.space.refresh()
        self._remove(doomed)

    def write_documents(self, table: pa.Table) -> str:
        """Writes the documents under a new name, and returns it."""
        name = self.free("documents", ".parquet")
        with atomic_file(self.folder / name) as temporary:
            pq.write_table(table, temporary, row_group_size=_TOGETHER)
        return name


def _by(owner: Path) -> str:
    """Who writes, for a message; between taking the lock and writing the file nobody knows."""
    try:
        said = read_json(owner)
        return (
            f" since {said['since']} by process {said['pid']} on {said['host']}"
            f" (isometry {said['command']})"
        )
    except (InputError, KeyError, TypeError):
        return " by another process"


def held_documents(space: Space, path: Path | None = None) -> pa.Table:
    """The documents of a Space with where each came from; `fit` itself notes that nowhere.

    Args:
        space: The Space.
        path: The file of another of its states.

    Raises:
        InputError: When there is no such file.
    """
    table = read_documents(space.documents if path is None else path)
    origin = space.manifest["source"]["name"]
    if "hash" in table.column_names:
        return table.select(HELD.names)
    rows = table.select(SCHEMA.names).to_pylist()
    return pa.Table.from_pylist([held(row, origin, row["id"]) for row in rows], schema=HELD)


def held(document: dict[str, Any], origin: str, own_id: str) -> dict[str, Any]:
    """A document's row with its origin, its id there and its hash."""
    content = [document[name] for name in ("title", "context", "summary", "text")]
    return {**document, "origin": origin, "own_id": own_id, "hash": hash_value(content)}


def differences(before: pa.Table, after: pa.Table) -> tuple[list[str], list[str]]:
    """The ids whose passages must be written, and those whose passages must go.

    A document whose text changed is in both.
    """
    old, new = (
        dict(zip(table.column("id").to_pylist(), table.column("hash").to_pylist(), strict=True))
        for table in (before, after)
    )
    written = [name for name, value in new.items() if old.get(name) != value]
    stale = [name for name, value in old.items() if new.get(name) != value]
    return written, stale


def counts_of(before: pa.Table, after: pa.Table) -> dict[str, int]:
    """How many documents are `added`, `changed` and `removed`."""
    written, stale = (set(names) for names in differences(before, after))
    return {
        "added": len(written - stale),
        "changed": len(written & stale),
        "removed": len(stale - written),
    }


def update_index(
    writer: Writer,
    folder: str,
    version: int,
    encoder: CachedEncoder,
    before: pa.Table,
    after: pa.Table,
) -> tuple[int, int]:
    """Makes a table of passages that holds one set of documents hold another.

    Only what is new or changed is cut into passages and encoded.

    Args:
        writer: Who writes.
        folder: The table's.
        version: Its latest version.
        encoder: What made its vectors.
        before: The documents that it holds.
        after: The documents that it shall hold.

    Returns:
        The new version, and how many passages were written.
    """
    from isometry.corpora.documents import from_table, views_of
    from isometry.jobs.ranking import passages_of, rows_of
    from isometry.search.lancedb import chunk_schema
    from isometry.search.updates import replace_documents

    written, stale = differences(before, after)
    chosen = set(written)
    wanted = after.filter(pa.array([name in chosen for name in after["id"].to_pylist()]))
    schema = chunk_schema(encoder.encoder.dim)
    rows, passages = None, 0
    if written:
        documents = from_table(wanted)
        views = views_of(documents)
        chunks = passages_of(encoder.encoder, [document.id for document in documents], views)
        passages = chunks.num_rows
        vectors = encoder.encode(chunks.column("text").to_pylist(), title="Encoding passages")
        rows = rows_of(chunks, vectors, schema)
    place = writer.folder / folder
    return replace_documents(place, version, stale, rows, schema, writer.space.lexical), passages
