"""`isometry space history`: the states that a Space still has, and what wrote each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from isometry.core.clock import utc
from isometry.space import Space
from isometry.space_files import Current

# How long a state that was superseded stays for those who opened it before, and for going back.
KEEP_HOURS = 1.0
# What belongs to a state besides its files.
PARTS = ("encoder", "search", "migrated")
# How many documents a command changed, and how.
CHANGES = ("added", "changed", "removed")

_SHORT = 12
_NOTED = ("time", "by", *CHANGES)


def history(space: str | Path) -> dict[str, Any]:
    """The states that a Space still has, the latest first.

    A state that was superseded stays for `KEEP_HOURS` at least, or as long as `compact` is told;
    the one before the last migration stays until `compact(drop_old=True)`.

    Args:
        space: The folder of the Space.

    Returns:
        `space`, `current` (its number), and `states`, each with `number`, `current`, `time` (when
        it was written, UTC), `by` (the command: `fit`, `add docs/` ...), `added`, `changed` and
        `removed` (documents, by that command), `documents` (in all), `model` (the start of the
        encoder's fingerprint), `superseded` (when), `kept_until` (None where no time ends it). What
        was not noted is None.

    Raises:
        InputError: When the folder is no Space.
    """
    opened = Space.open(space)
    found = states(opened.manifest)
    return {
        "space": str(opened.folder),
        "current": found[0]["state"]["number"],
        "states": [_described(opened.folder, state) for state in found],
    }


def _rows(file: Path) -> int | None:
    """How many documents a file has; None where it is missing or damaged, as `verify` tells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(file).num_rows
    except (pa.ArrowInvalid, OSError):
        return None


def _described(folder: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    file = folder / state["documents"]
    until = state.get("until")
    return {
        "number": state["state"]["number"],
        "current": "until" not in state,
        **{name: state["state"].get(name) for name in _NOTED},
        "documents": _rows(file),
        "model": state["encoder"]["fingerprint"][:_SHORT],
        "superseded": until,
        "kept_until": _later(until) if until and "former" not in state else None,
    }


def _later(time: str) -> str:
    until = datetime.fromisoformat(time) + timedelta(hours=KEEP_HOURS)
    return utc(until.timestamp())


def generation(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What must be kept of a Space's present state to return to it.

    Args:
        manifest: With numbers, as `numbered` gives it.
    """
    parts = {name: manifest[name] for name in (*PARTS, "state") if name in manifest}
    return {**asdict(Current.of(manifest)), **parts}


def with_generation(manifest: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest whose model is that of an earlier state; its files are the caller's."""
    kept = {name: value for name, value in manifest.items() if name not in PARTS}
    return {**kept, **{name: earlier[name] for name in PARTS if name in earlier}}


def states(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `generation` keeps of the current state, then of all others, the latest first.

    Superseded ones have `until`, the one before the last migration is marked as `former`.
    """
    known = numbered(manifest)
    kept = {entry["state"]["number"]: entry for entry in known.get("superseded", [])}
    former = known.get("former", {})
    if "state" in former:
        number = former["state"]["number"]
        kept[number] = {**former, "until": None, **kept.get(number, {}), "former": True}
    # What cannot be searched without its model's settings is no state to return to.
    others = [kept[number] for number in sorted(kept, reverse=True) if "encoder" in kept[number]]
    return [generation(known), *others]


def numbered(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest in which each state has a number; older versions of Isometry gave none.

    They are numbered backwards from the writes that there were: `fit` makes state 0.
    """
    if "state" in manifest:
        return dict(manifest)
    entries = manifest.get("superseded", [])
    writes = int(manifest.get("writes", 0))
    first = writes - len(entries)
    # A state came when the one before it went; the first one is of `fit`, if none was removed.
    times = [None if first else manifest.get("created"), *(entry["until"] for entry in entries)]
    notes: list[dict[str, Any]] = [
        {"number": number, "time": time, "by": None if number else "fit"}
        for number, time in enumerate(times, first)
    ]
    return {
        **manifest,
        "superseded": [
            {**entry, **_parts_of(manifest, entry["model"]), "state": note}
            for entry, note in zip(entries, notes[:-1], strict=True)
        ],
        "state": notes[-1],
    }


def _parts_of(manifest: Mapping[str, Any], model: str) -> dict[str, Any]:
    """What an older manifest says of a state's model: it is the current one or the former."""
    current = {**manifest, "model": Current.of(manifest).model}
    for one in (current, manifest.get("former", {})):
        if one.get("model") == model:
            return {name: one[name] for name in PARTS if name in one}
    return {}
