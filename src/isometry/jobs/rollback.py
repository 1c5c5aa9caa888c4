"""`isometry space rollback`: an earlier state of a Space made current again, as a new one."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.jobs.history import CHANGES, generation, states, with_generation
from isometry.jobs.upkeep import Writer, counts_of, held_documents
from isometry.space import Space
from isometry.space_files import Current


def rollback(space: str | Path, to: int | None = None, *, dry_run: bool = False) -> dict[str, Any]:
    """Makes an earlier state of a Space current again: its documents, passages, vectors and model.

    It becomes a new state, so nothing is lost: one more `rollback` returns to what was current
    before. Nothing is encoded. Whoever searches meanwhile goes on with the state that they opened.
    (`migrate(back=True)` returns to a model instead, and takes along what was added since.)

    Args:
        space: The folder of the Space.
        to: The number that `history` gives the state; the one before the last change of the
            content when not given.
        dry_run: Only say what would be done.

    Returns:
        Figures: `to`, `by` (what wrote that state), `documents` (in it), `added`, `changed`,
        `removed` (against the current state), `model`, `dim`, `state` (the new one's number, None
        in a dry run), `dry_run`, `seconds`.

    Raises:
        InputError: When there is no such state, its files are gone, another process writes, or the
            disk is full.
    """
    started = time.monotonic()
    opened = Space.open(space)
    if dry_run:
        figures = {**_figures(opened, _chosen(opened, to)), "state": None}
    else:
        if to is None:
            # What waits in the journal will be a state of its own before anything is chosen.
            with contextlib.suppress(InputError):
                to = _chosen(opened, None)["state"]["number"]
        with Writer(space, "rollback") as writer:
            figures = _return(writer, _chosen(writer.space, to))
    return {**figures, "dry_run": dry_run, "seconds": round(time.monotonic() - started, 1)}


def _chosen(space: Space, to: int | None) -> dict[str, Any]:
    """The state that is meant, whole."""
    current, *others = states(space.manifest)
    if to is None:
        to = _before_the_last_change([current, *others])
    if to == current["state"]["number"]:
        raise InputError(f"State {to} is the current one.", "Name an earlier one: --to N")
    for state in others:
        if state["state"]["number"] == to:
            _check(space, state)
            return state
    if 0 <= to < current["state"]["number"]:
        raise InputError(
            f"State {to} of {space.folder} is gone: compact removed it.",
            "isometry space history lists what there is.",
        )
    raise InputError(
        f"{space.folder} has no state {to}.", "isometry space history lists what there is."
    )


def _before_the_last_change(kept: list[dict[str, Any]]) -> int:
    """The number of the state before the current one, past those that only joined pieces."""
    for state, before in itertools.pairwise(kept):
        if state["state"].get("by") == "compact":
            continue
        number = before["state"]["number"]
        if number != state["state"]["number"] - 1:
            raise InputError(
                "The state before the last change is gone: compact removed it.",
                f"State {number} is the last one before it that is left: --to {number}",
            )
        return number
    raise InputError(
        "There is no earlier state to go back to.", "Nothing was written yet, or it was compacted."
    )


def _check(space: Space, state: Mapping[str, Any]) -> None:
    """Refuses a state whose files somebody took away."""
    from isometry.search.lancedb import ChunkIndex

    was = Current.of({"current": state})
    try:
        missing = next(
            (name for name in (was.model, was.documents) if not (space.folder / name).exists()), ""
        )
        if not missing:
            ChunkIndex.open(space.folder / was.index, was.index_version)
    except InputError:
        missing = was.index
    if missing:
        raise InputError(
            f"State {state['state']['number']} cannot be returned to: files of {missing} are gone.",
            "isometry space history lists what there is.",
        )


def _figures(space: Space, state: Mapping[str, Any]) -> dict[str, Any]:
    was = Current.of({"current": state})
    before = held_documents(space)
    after = held_documents(space, space.folder / was.documents)
    return {
        "to": state["state"]["number"],
        "by": state["state"]["by"],
        "documents": after.num_rows,
        **counts_of(before, after),
        "model": state["encoder"]["base"],
        "dim": state["encoder"]["dim"],
    }


def _return(writer: Writer, state: dict[str, Any]) -> dict[str, Any]:
    from isometry.search.updates import restore_version

    space = writer.space
    figures = _figures(space, state)
    was = Current.of({"current": state})
    # Only what is current is ever written into, so the highest version is the latest of its table.
    versions = [
        each["index_version"] for each in states(space.manifest) if each["index"] == was.index
    ]
    version = restore_version(space.folder / was.index, max(versions), was.index_version)
    manifest = with_generation(space.manifest, state)
    current = Current(was.model, was.index, version, was.documents)
    if state["encoder"]["fingerprint"] != space.manifest["encoder"]["fingerprint"]:
        # As after a migration: `migrate --back` returns to the other model.
        manifest["former"] = generation(space.manifest)
    if "additions" in manifest:
        counts = {name: figures[name] for name in CHANGES}
        entry = {"time": utc(), "state": writer.next_state, "rollback": figures["to"], **counts}
        manifest["additions"] = [*manifest["additions"], entry]
    writer.commit(
        {**manifest, "current": asdict(current)},
        by=f"rollback --to {figures['to']}",
        counts=figures,
    )
    return {**figures, "state": writer.space.manifest["state"]["number"]}
