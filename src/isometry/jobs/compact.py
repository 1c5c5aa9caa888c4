"""`isometry compact`: a Space in as few pieces and bytes as its readers allow."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.jobs.changes import PUT
from isometry.jobs.history import KEEP_HOURS
from isometry.jobs.upkeep import Writer
from isometry.search.versions import VIEWS
from isometry.space_files import DOCUMENTS, INDEX, MODEL, Current, files_below, is_written

# A search opens every piece of the table.
_MOST_FRAGMENTS = 32
_MOST_HOURS = 100_000
# Of states that a store wrote by itself, at most every half a minute: each has a copy of all
# documents, and of an hour there would be a hundred.
_MOST_WRITTEN = 8


def compact(
    space: str | Path, *, keep_hours: float = KEEP_HOURS, drop_old: bool = False
) -> dict[str, Any]:
    """Joins the pieces of a Space's index and removes what no reader needs any more.

    Args:
        space: The folder of the Space.
        keep_hours: States that were superseded within so many hours stay, for processes that opened
            the Space before.
        drop_old: Also remove what `migrate` keeps for going back.

    Returns:
        Figures: `bytes_before`, `bytes_after`, `removed` (files), `kept_states` (superseded ones).

    Raises:
        InputError: When the folder is no Space, another process writes, or the disk is full.
    """
    if not 0 <= keep_hours <= _MOST_HOURS:
        raise InputError(f"--keep-hours must be between 0 and {_MOST_HOURS}, not {keep_hours}.")
    with Writer(space, "compact") as writer:
        figures = compact_now(writer, keep_hours, drop_old=drop_old)
        _prepare_view(writer)
        return figures


def _prepare_view(writer: Writer) -> None:
    """Makes dense search fast again, which `add` and `migrate` leave to Lance."""
    from isometry.search.lancedb import ChunkIndex

    current = writer.space.current
    # What a killed process was saving: whoever may save here holds the lock of writers.
    for unfinished in writer.folder.glob(f"{INDEX}*/{VIEWS}/.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    ChunkIndex.open(writer.folder / current.index, current.index_version).prepare_view()
    kept = {name.split("/")[0] for name in writer.space.manifest["files"]}
    for views in writer.folder.glob(f"{INDEX}*/{VIEWS}"):
        if views.parent.name not in kept:
            shutil.rmtree(views.parent, ignore_errors=True)


def compact_if_scattered(writer: Writer, keep_hours: float) -> bool:
    """Compacts a Space after many small additions; returns whether it did."""
    from isometry.search.updates import fragments

    current = writer.space.current
    old = writer.space.manifest.get("superseded", [])
    expired = len(old) - len(_last_written(_recent(old, keep_hours)))
    pieces = fragments(writer.folder / current.index, current.index_version)
    if max(pieces, expired) <= _MOST_FRAGMENTS:
        return False
    compact_now(writer, keep_hours, drop_old=False, all_written=False)
    return True


def remove_expired(writer: Writer, keep_hours: float) -> None:
    """Removes what only states need that nobody needs.

    Nothing is written but the manifest, so that it helps where the disk is full.
    """
    space = writer.space
    kept_states = _last_written(_recent(space.manifest.get("superseded", []), keep_hours))
    if len(kept_states) < len(space.manifest.get("superseded", [])):
        manifest = {**space.manifest, "superseded": kept_states}
        writer.commit(manifest, _doomed(writer, _needed(manifest)))


def compact_now(
    writer: Writer, keep_hours: float, *, drop_old: bool, all_written: bool = True
) -> dict[str, Any]:
    """What `compact` does, for a writer that is at work already.

    Args:
        writer: The writer.
        keep_hours: As in `compact`.
        drop_old: As in `compact`.
        all_written: Whether of states that a store wrote all stay for so long, or the last few.
    """
    from isometry.search.updates import compact_table

    space = writer.space
    before = _size(writer.folder)
    manifest = dict(space.manifest)
    was = space.current
    version = compact_table(writer.folder / was.index, was.index_version, space.lexical)
    current = replace(was, index_version=version)
    manifest["current"] = asdict(current)
    kept_states = _recent(manifest.get("superseded", []), keep_hours)
    if not all_written:
        kept_states = _last_written(kept_states)
    manifest["superseded"] = kept_states
    dropped = manifest.pop("former", None) if drop_old else None
    kept = _needed(manifest)
    if keep_hours > 0:
        kept.append(was)
    doomed = _doomed(writer, kept)
    if (
        doomed
        or dropped
        or current != was
        or len(kept_states) != len(space.manifest.get("superseded", []))
    ):
        writer.commit(manifest, doomed, forget=keep_hours == 0, by="compact")
    return {
        "bytes_before": before,
        "bytes_after": _size(writer.folder),
        "removed": len(doomed & set(space.manifest["files"])),
        "kept_states": len(writer.space.manifest.get("superseded", [])),
    }


def _recent(states: list[dict[str, Any]], keep_hours: float) -> list[dict[str, Any]]:
    """The states that were superseded within so many hours."""
    since = datetime.now(UTC) - timedelta(hours=keep_hours)
    return [state for state in states if datetime.fromisoformat(state["until"]) > since]


def _last_written(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The states without those that a store wrote before its last few."""
    written = [
        place for place, state in enumerate(states) if state.get("state", {}).get("by") == PUT
    ]
    gone = set(written[:-_MOST_WRITTEN])
    return [state for place, state in enumerate(states) if place not in gone]


def _needed(manifest: Mapping[str, Any]) -> list[Current]:
    """What is current, what is kept of before, and what `migrate` keeps."""
    former = manifest.get("former")
    states = [*manifest.get("superseded", []), *([former] if former else [])]
    return [Current.of(manifest), *(Current.of({"current": state}) for state in states)]


def _doomed(writer: Writer, kept: Collection[Current]) -> set[str]:
    """The files that none of these states needs."""
    from isometry.search.updates import files_of_versions

    needed: set[str] = set()
    for index in {state.index for state in kept}:
        versions = {state.index_version for state in kept if state.index == index}
        folder, scratch = writer.folder / index, writer.work / "links"
        needed |= {f"{index}/{name}" for name in files_of_versions(folder, versions, scratch)}
    models = tuple(f"{state.model}/" for state in kept)
    documents = {state.documents for state in kept}
    ours = tuple(Path(name).stem for name in (MODEL, INDEX, DOCUMENTS))
    # Of what no manifest names only files where a writer makes some: others are somebody's own.
    named = {name for name in writer.space.manifest["files"] if name.startswith(ours)}
    left = {name for name in writer.space.unlisted() if is_written(name)}
    return {
        name
        for name in named | left
        if name not in needed | documents and not name.startswith(models)
    }


def _size(folder: Path) -> int:
    """The bytes of all files below a folder; those that vanish meanwhile have none."""
    size = 0
    for path in files_below(folder):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
