"""`isometry export`: what a Space holds now, to where a database or object storage serves it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from isometry.core import postgres
from isometry.core.clock import utc
from isometry.core.files import hash_value
from isometry.core.progress import say, track
from isometry.jobs.history import KEEP_HOURS, numbered
from isometry.jobs.upkeep import counts_of, differences, held_documents
from isometry.search import object_storage
from isometry.search.lancedb import ChunkIndex, Hit
from isometry.search.passages import Exported
from isometry.search.versions import version_of
from isometry.space import Space
from isometry.space_files import INDEX

_BLOCK = 1024
_SHORT = 16
_ROW_HASH = "row_hash"


def export(space: str | Path, target: str, *, replace: bool = False) -> dict[str, Any]:
    """Copies a Space's documents, passages and vectors to where `Space.at` searches them.

    All of it appears there at once, or nothing does; whoever searches meanwhile goes on with what
    was there. A second export writes only what changed since. What a process that stores documents
    has not yet made a state of the Space is not copied.

    Args:
        space: The folder of the Space.
        target: "postgresql://USER@HOST/DATABASE#SCHEMA" for tables of a server with pgvector, or
            "s3://BUCKET/PREFIX" for files of S3-compatible storage, as the `AWS_` variables say.
        replace: Exchange what another Space or another encoder left there.

    Returns:
        Figures: `documents` (in all), `state`, `replaced`, `target` (without its password),
        `seconds`; of tables also `added`, `changed`, `removed` and `unchanged` (documents) and
        `passages` (written), of object storage `files` and `bytes` (written).

    Raises:
        InputError: When the target is none, cannot be written, or holds something else.
    """
    started = time.monotonic()
    opened = Space.open(space)
    new = exported(opened)
    if target.startswith(postgres.SCHEMES):
        figures = _to_postgres(opened, new, target, replace=replace)
    elif target.startswith(object_storage.SCHEME):
        figures = _to_storage(opened, new, target, replace=replace)
    else:
        raise postgres.no_place(target)
    return {**figures, "state": new.state, "seconds": round(time.monotonic() - started, 1)}


def exported(space: Space) -> Exported:
    """What an export of a Space says of it."""
    manifest = numbered(space.manifest)
    return Exported(
        hash_value([manifest.get("created"), manifest.get("fingerprint")]),
        manifest["state"]["number"],
        manifest["encoder"]["fingerprint"],
        manifest["encoder"]["dim"],
        space.lexical,
    )


def _to_postgres(space: Space, new: Exported, target: str, *, replace: bool) -> dict[str, Any]:
    from isometry.search.postgres_updates import writing

    after = _with_row_hashes(held_documents(space))
    with writing(target) as tables:
        old = tables.exported()
        if old is not None and not replace:
            old.check_replaceable(new, tables.shown)
        whole = old is None or replace
        before = _hashes([] if whole else tables.hashes())
        written, stale = differences(before, after)
        moved = _moved(before, after)
        passages = space.index.of_documents(written)
        if whole:
            tables.create(new.dim)
        elif stale:
            tables.remove(stale)
        if whole or written or stale or moved or old != new:
            tables.update_documents(moved)
            tables.add_documents(_chosen(after, written).to_pylist(), after.column_names)
            tables.add_passages(_blocks(space.index, passages), new.lexical)
            if whole:
                say("Building the server's indexes ...")
            tables.finish(new)
    return {
        **counts_of(before, after),
        "unchanged": after.num_rows - len(written),
        "passages": len(passages),
        "documents": after.num_rows,
        "replaced": old is not None and replace,
        "target": tables.shown,
    }


def _to_storage(space: Space, new: Exported, target: str, *, replace: bool) -> dict[str, Any]:
    storage = object_storage.Storage.open(target)
    old = storage.manifest()
    if old is not None and not replace:
        Exported.from_json(old).check_replaceable(new, storage.shown)
    current, known = space.current, {} if old is None else old["files"]
    number = 0 if old is None else old["number"]
    places = _places(space, number)
    # Files that are not those of an earlier state go to a folder of their own.
    follows = all(known.get(name, value) == value for name, (_, value) in places.items())
    if old is None or replace or old["of"] != current.index or not follows:
        number += 1
        places = _places(space, number)
    # Those that say what a version consists of come last, also for who knows Lance only.
    missing = sorted(places.keys() - known.keys(), key=_version)
    sizes = {name: (space.folder / places[name][0]).stat().st_size for name in missing}
    with track("Copying files", sum(sizes.values()), "bytes") as task:
        for name in missing:
            storage.upload(space.folder / places[name][0], name)
            task.advance(sizes[name])
    former, doomed = _former(old, places)
    storage.write_manifest(
        {
            **new.to_json(),
            "index": f"{INDEX}-{number}",
            "version": current.index_version,
            "documents": _documents(space),
            "files": {name: value for name, (_, value) in places.items()},
            "number": number,
            "of": current.index,
            "former": former,
        }
    )
    storage.remove(doomed)
    return {
        "documents": pq.read_metadata(space.documents).num_rows,
        "files": len(missing),
        "bytes": sum(sizes.values()),
        "replaced": old is not None and replace,
        "target": storage.shown,
    }


def _places(space: Space, number: int) -> dict[str, tuple[str, str]]:
    """The files of a Space's index and documents: their name there, here, and their hash."""
    current, files = space.current, space.manifest["files"]
    places = {_documents(space): (current.documents, files[current.documents])}
    for name, value in files.items():
        if name.startswith(f"{current.index}/"):
            places[f"{INDEX}-{number}{name.removeprefix(current.index)}"] = (name, value)
    return places


def _documents(space: Space) -> str:
    """What the file of the documents is called there: another content, another name."""
    return f"documents-{space.manifest['files'][space.current.documents][:_SHORT]}.parquet"


def _version(name: str) -> tuple[int, str]:
    return (version_of(name) if name.endswith(".manifest") else 0), name


def _former(
    old: Mapping[str, Any] | None, new: Collection[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """What is kept for those who opened an earlier export, and what may go."""
    if old is None:
        return [], []
    entries = [*old["former"], {"until": utc(), "files": sorted(old["files"].keys() - set(new))}]
    first = utc(time.time() - 3600 * KEEP_HOURS)
    kept = [entry for entry in entries if entry["until"] >= first and entry["files"]]
    needed = {*new, *(name for entry in kept for name in entry["files"])}
    gone = {name for entry in entries for name in entry["files"]} - needed
    return kept, sorted(gone)


def _with_row_hashes(documents: pa.Table) -> pa.Table:
    """Documents with a hash of all that is known of each, where "hash" is of what is searched."""
    hashes = [hash_value(row) for row in documents.to_pylist()]
    return documents.append_column(_ROW_HASH, pa.array(hashes, pa.string()))


def _hashes(rows: Sequence[tuple[str, str, str]]) -> pa.Table:
    """What a server knows of its documents, as a table."""
    schema = pa.schema([(name, pa.string()) for name in ("id", "hash", _ROW_HASH)])
    return pa.Table.from_pylist(
        [dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema
    )


def _moved(before: pa.Table, after: pa.Table) -> list[dict[str, Any]]:
    """The rows of documents whose passages are the same, and something else about them is not."""
    known = {row["id"]: (row["hash"], row[_ROW_HASH]) for row in before.to_pylist()}
    ids, hashes, row_hashes = (after[name].to_pylist() for name in before.column_names)
    moved = [
        name
        for name, content, row in zip(ids, hashes, row_hashes, strict=True)
        if name in known and known[name][0] == content and known[name][1] != row
    ]
    return _chosen(after, moved).to_pylist()


def _chosen(documents: pa.Table, ids: Sequence[str]) -> pa.Table:
    names = pa.array(ids, pa.string())
    return documents.filter(pc.is_in(documents["id"], names))  # pyright: ignore[reportAttributeAccessIssue]


def _blocks(
    index: ChunkIndex, numbers: Int[np.ndarray, " rows"]
) -> Iterator[tuple[list[Hit], Float[np.ndarray, "block dim"]]]:
    """The passages of some rows with their vectors, block by block."""
    with track("Copying passages", len(numbers), "passages") as task:
        for start in range(0, len(numbers), _BLOCK):
            block = numbers[start : start + _BLOCK]
            yield index.fetch((block, np.zeros(len(block)))), index.vectors(block)
            task.advance(len(block))
