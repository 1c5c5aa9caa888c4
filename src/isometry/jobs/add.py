"""`isometry add`: what is new in a source, or a further source, into a finished Space."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import pyarrow as pa

from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.progress import say, track
from isometry.corpora.documents import Document
from isometry.corpora.readers import ReadingReport, Source, open_source
from isometry.corpora.readers.reading import UniqueNames, skipped_first
from isometry.jobs.changes import PUT
from isometry.jobs.compact import compact_if_scattered
from isometry.jobs.history import KEEP_HOURS
from isometry.jobs.places import place_of
from isometry.jobs.upkeep import (
    HELD,
    Writer,
    counts_of,
    differences,
    held,
    held_documents,
    update_index,
)
from isometry.report.figures import additions_of
from isometry.space import Space


@dataclass(frozen=True)
class _Change:
    """What an addition will do: the documents before and after, whence, and what to say."""

    before: pa.Table
    after: pa.Table
    place: str | None
    figures: dict[str, Any]


def add(
    space: str | Path,
    source: str | Path,
    *,
    name: str | None = None,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    keep_removed: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Brings a Space up to date with a source, one that it has or a further one.

    Documents are told apart by source and id, and compared by content: only new and changed ones
    are encoded, by the Space's own encoder. Those that came from this source and are no more in it
    are removed, unless their file is there but cannot be read now. Whoever searches meanwhile goes
    on with the old state. The figures stay those of the fit.

    Args:
        space: The folder of the Space.
        source: What `fit` takes.
        name: Under which name the Space knows the source. When not given, that of the source that
            lay in the same place, or it is a further one, called as it is typed. Ids that another
            source has already get the last part of the name as a prefix.
        text: The column of a table that holds the text; those of the last time when none is given.
        title: The column that holds the title.
        id: The column that holds the id.
        keep_removed: Keep documents that are no more in the source.
        dry_run: Only say what would be done.

    Returns:
        Figures: `added`, `changed`, `removed`, `unchanged` (documents of this source), `passages`
        (written), `documents` (in the Space), `skipped` (files and rows), `skipped_first` (where
        and why), `seconds`, `source`, `dry_run`, `compacted`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    started = time.monotonic()
    if name is not None and not name.strip():
        raise InputError("--name is empty.", "Leave it out, or say how the source is called.")
    opened = Space.open(space)
    known = _known_name(opened, str(source)) if name is None else name
    columns: dict[str, str | None] = {"text": text, "title": title, "id": id}
    if known is not None and not any(columns.values()):
        columns = _columns_of(opened, known)
    reader = _open(source, columns)
    if known is None:
        # An address may hold a password, which its reader does not show.
        known = reader.name if ":" in reader.name else str(PurePath(reader.name))
    if known == PUT:
        raise InputError(
            f"'{PUT}' is what documents are from that a server was given one by one.",
            "Give the source another name with --name.",
        )
    if dry_run:
        figures = _compare(opened, reader, known, keep_removed=keep_removed).figures
        took = {"seconds": _since(started), "dry_run": True, "compacted": False}
        return {**figures, "passages": 0, **took}
    with Writer(space, f"add {known}") as writer:
        change = _compare(writer.space, reader, known, keep_removed=keep_removed)
        figures = {**change.figures, "passages": 0, "dry_run": False, "compacted": False}
        if not change.after.equals(change.before):
            passages = _write(writer, change, known, columns, started)
            figures |= {"passages": passages, "compacted": _compacted(writer)}
    return {**figures, "seconds": _since(started)}


def _compacted(writer: Writer) -> bool:
    """Compacts what is scattered; the addition stands even where there is no room for that."""
    try:
        return compact_if_scattered(writer, KEEP_HOURS)
    except InputError as error:
        writer.discard()
        say(f"The documents are added, but the index was not compacted: {error.message}")
        return False


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


def _open(source: str | Path, columns: Mapping[str, str | None]) -> Source:
    return open_source(source, text=columns["text"], title=columns["title"], id=columns["id"])


def _known_name(space: Space, typed: str) -> str | None:
    """The name under which a Space knows a source; None where it does not.

    Raises:
        InputError: When what the Space knows by this name lies elsewhere.
    """
    places = _places_of(space)
    for known, place in places.items():
        if _is_same(known, place, typed):
            return known
    # A table is called after its database: by its reader, whom the columns of the last time help.
    for known, place in places.items() if not Path(typed).expanduser().is_dir() else ():
        with contextlib.suppress(InputError):
            if _is_same(known, place, _open(typed, _columns_of(space, known)).name):
                return known
    for known, place in places.items():
        if place is not None and PurePath(known) == PurePath(typed):
            if place_of(place) is None:
                return known  # It was moved.
            raise InputError(
                f"{space.folder} knows {place} as '{known}', and this '{typed}' lies elsewhere.",
                f"Give it a name of its own with --name, or --name {known} to replace that one.",
            )
    return None


def _places_of(space: Space) -> dict[str, str | None]:
    """The sources of a Space and where they lay, as far as it is known; the one fitted first."""
    fitted = space.manifest["source"]
    places: dict[str, str | None] = {fitted["name"]: fitted.get("place")}
    for entry in additions_of(space.manifest):
        places[entry["source"]] = entry.get("place") or places.get(entry["source"])
    return places


def _is_same(known: str, place: str | None, typed: str) -> bool:
    """Whether what is typed is a source that is known by a name, and lay at a place."""
    here = place_of(typed)
    if place is not None and here is not None:
        known, typed = place, here
    if known == typed:
        return True
    if known.startswith("python:") or typed.startswith("python:"):
        return False
    return Path(known).expanduser().resolve() == Path(typed).expanduser().resolve()


def _columns_of(space: Space, name: str) -> dict[str, str | None]:
    """Which columns of a source were read the last time."""
    for entry in reversed(additions_of(space.manifest)):
        if entry["source"] == name:
            return entry["columns"]
    fitted = space.manifest["source"]["name"] == name
    settings = space.manifest.get("settings", {}) if fitted else {}
    return {column: settings.get(column) for column in ("text", "title", "id")}


def _compare(space: Space, reader: Source, origin: str, *, keep_removed: bool) -> _Change:
    before = held_documents(space)
    report = ReadingReport()
    found: dict[str, Document] = {}
    with track("Reading", None, "documents") as task:
        for document in reader.documents(report):
            found[document.id] = document
            task.advance()
    unreadable = {item.path for item in report.skipped if not item.readable}
    rows = _merge(before.to_pylist(), found, origin, unreadable, keep_removed=keep_removed)
    after = pa.Table.from_pylist(rows, schema=HELD)
    counts = counts_of(before, after)
    figures = {
        "source": origin,
        **counts,
        "unchanged": len(found) - counts["added"] - counts["changed"],
        "documents": after.num_rows,
        "skipped": len(report.skipped),
        "skipped_first": skipped_first(report),
    }
    return _Change(before, after, place_of(reader.name), figures)


def _merge(
    before: list[dict[str, Any]],
    found: dict[str, Document],
    origin: str,
    unreadable: set[str],
    *,
    keep_removed: bool,
) -> list[dict[str, Any]]:
    """The rows of the documents afterwards: the old ones in their order, then the new ones."""
    rows: list[dict[str, Any]] = []
    new = dict(found)
    for row in before:
        if row["origin"] != origin:
            rows.append(row)
        elif row["own_id"] in new:
            # It keeps the id that it got when it came.
            rows.append(_row(new.pop(row["own_id"]), row["id"], origin))
        elif keep_removed or not unreadable.isdisjoint(_places(row["source"])):
            rows.append(row)
    names = UniqueNames()
    taken = {names.take(row["id"]) for row in rows}
    prefix = origin.removeprefix("python:") if origin.startswith("python:") else _last_part(origin)
    for document in new.values():
        name = document.id if document.id not in taken else f"{prefix}/{document.id}"
        name = names.take(name)
        taken.add(name)
        rows.append(_row(document, name, origin))
    return rows


def _row(document: Document, name: str, origin: str) -> dict[str, Any]:
    values = {**asdict(document), "links": list(document.links)}
    return held({**values, "id": name}, origin, document.id)


def _places(source: str) -> set[str]:
    """A document's place, its file if that is a line of one, and the archives and folders above."""
    places = {source, source.rpartition(":")[0]} - {""}
    return places | {str(above) for place in places for above in PurePosixPath(place).parents}


def _last_part(path: str) -> str:
    return Path(path).expanduser().resolve().name or "source"


def _write(
    writer: Writer, change: _Change, origin: str, columns: dict[str, str | None], started: float
) -> int:
    """Writes what changed and makes it the Space's state; returns how many passages came."""
    space = writer.space
    current = space.current
    passages = 0
    if any(differences(change.before, change.after)):
        from isometry.encoders.cached import CachedEncoder

        encoder = CachedEncoder(
            space.encoder, writer.work / "vectors", space.manifest["encoder"]["precision"]
        )
        version, passages = update_index(
            writer, current.index, current.index_version, encoder, change.before, change.after
        )
        current = replace(current, index_version=version)
    current = replace(current, documents=writer.write_documents(change.after))
    counts = {name: change.figures[name] for name in ("added", "changed", "removed", "unchanged")}
    entry = {
        "time": utc(),
        "state": writer.next_state,
        "source": origin,
        "place": change.place,
        "columns": columns,
        **counts,
    }
    writer.commit(
        {
            **space.manifest,
            "current": asdict(current),
            "additions": [
                *space.manifest.get("additions", []),
                {**entry, "seconds": _since(started)},
            ],
        },
        counts=counts,
    )
    say(f"{writer.folder} holds {change.after.num_rows:,} documents now.")
    return passages
