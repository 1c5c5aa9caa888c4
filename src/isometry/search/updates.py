"""Changes to a table of chunks that leave alone whoever searches one of its earlier versions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from isometry.core.errors import InputError
from isometry.core.writing import clear_disk_errors
from isometry.search.lancedb import BAD_VECTORS, TABLE, Lexical, index_text, write_checked
from isometry.search.versions import HINT, version_of

if TYPE_CHECKING:
    from lancedb.table import Table

_ONE_FILTER = 10_000
# Lance removes what is older than a week when it is not told otherwise.
_NEVER = timedelta(days=36_500)


def replace_documents(
    folder: Path,
    version: int,
    stale: Sequence[str],
    batches: Iterable[pa.RecordBatch] | None,
    schema: pa.Schema,
    lexical: Lexical,
) -> int:
    """Takes the chunks of some documents out of a table, appends others and indexes all text anew.

    The index of the text is built from scratch: extended by Lance it would go on counting the
    chunks that are gone, and words would score otherwise than in a new table.

    Args:
        folder: Where `ChunkIndex.create` made the table.
        version: What the latest version has to be.
        stale: The ids of the documents whose chunks go.
        batches: The chunks that come; None where none do.
        schema: Theirs.
        lexical: How text is indexed.

    Returns:
        The new version.

    Raises:
        InputError: When the table has another version, a vector is not finite, or the disk is full.
    """
    with clear_disk_errors(folder):
        table = _latest(folder, version)
        for start in range(0, len(stale), _ONE_FILTER):
            names = ", ".join(_quoted(name) for name in stale[start : start + _ONE_FILTER])
            table.delete(f"document IN ({names})")
        if batches is not None:
            write_checked(
                lambda reader: table.add(reader, on_bad_vectors=BAD_VECTORS), batches, schema
            )
        index_text(table, lexical)
        return table.version


def fragments(folder: Path, version: int) -> int:
    """In how many pieces a table lies."""
    table = _latest(folder, version)
    stats: Any = table.stats()
    return int(stats["fragment_stats"]["num_fragments"])


def compact_table(folder: Path, version: int, lexical: Lexical) -> int:
    """Writes a table's small pieces as one; removes nothing.

    Returns:
        The new version, or the old one when there was nothing to do.
    """
    with clear_disk_errors(folder):
        table = _latest(folder, version)
        table.optimize(cleanup_older_than=_NEVER)
        if table.version != version:
            index_text(table, lexical)
        return table.version


def restore_version(folder: Path, latest: int, version: int) -> int:
    """Makes what a table held at an earlier version its latest version again; copies nothing.

    Args:
        folder: Where `ChunkIndex.create` made the table.
        latest: What the latest version has to be.
        version: The earlier one; its rows keep their ids, and words their index.

    Returns:
        The new version, or the latest one when it is that already.

    Raises:
        InputError: When the table has another version, or the disk is full.
    """
    with clear_disk_errors(folder):
        table = _latest(folder, latest)
        if version != latest:
            table.restore(version)
        return table.version


def files_of_versions(folder: Path, versions: Collection[int], scratch: Path) -> set[str]:
    """The files that some versions of a table need, as POSIX paths below its folder.

    Lance itself says which: it cleans a copy, made of links, that has these versions only.

    Args:
        folder: Where the table lies; nothing in it changes.
        versions: The latest version must be among them.
        scratch: A folder for the copy; removed again.
    """
    import lancedb

    shutil.rmtree(scratch, ignore_errors=True)
    with clear_disk_errors(scratch):
        for file in folder.rglob("*"):
            if file.name == HINT or not file.is_file():
                continue
            if file.suffix == ".manifest" and version_of(file.name) not in versions:
                continue
            copy = scratch / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, copy)
            except OSError:
                shutil.copyfile(file, copy)
        table = lancedb.connect(scratch).open_table(TABLE)
        table.optimize(cleanup_older_than=_NEVER, delete_unverified=True)
        kept = {
            file.relative_to(scratch).as_posix() for file in scratch.rglob("*") if file.is_file()
        }
        shutil.rmtree(scratch)
    return kept


def _latest(folder: Path, version: int) -> Table:
    import lancedb

    table = lancedb.connect(folder).open_table(TABLE)
    if table.version != version:
        raise InputError(
            f"The index in {folder} is at version {table.version}, and its Space at {version}.",
            "Something else wrote into it; restore the Space from a copy.",
        )
    return table


def _quoted(text: str) -> str:
    """A string of SQL."""
    return "'" + text.replace("'", "''") + "'"
