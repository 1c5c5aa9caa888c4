"""All systems with what was last measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.report.reproduction import gate_line, gates_held
from isometry.systems.catalogue import Entry, entries
from isometry.systems.records import read_record, record_path, results_folder, state


def describe_all(family: str | None = None, results: Path | None = None) -> list[dict[str, Any]]:
    """What `isometry systems` shows.

    Args:
        family: Only this one.
        results: The folder of the records.

    Raises:
        InputError: When there is no such family or folder.
    """
    folder = results_folder(results)
    if results is not None and not folder.is_dir():
        raise InputError(f"There is no folder of records at {results}.")
    return [describe(entry, folder) for entry in entries(family)]


def describe(entry: Entry, results: Path) -> dict[str, Any]:
    """One system; figures come from its record of the small scale, if there is one."""
    record: Mapping[str, Any] | None = None
    try:
        record = read_record(record_path(results, entry.slug, "small"))
        standing = state(entry, record)
    except InputError as error:
        standing = f"unreadable record ({error.message})"
    # Figures of other code are not this system's.
    shown = record if standing in ("passed", "failed") else None
    return {
        "slug": entry.slug,
        "family": entry.family,
        "title": entry.title,
        "arxiv": entry.arxiv,
        "claim": entry.claim,
        "parts": [{"name": part.name, "file": part.path} for part in entry.parts],
        "state": standing,
        "passed": None if shown is None else shown["passed"],
        "gates": None if shown is None else gates_held(shown),
        "headline": None if shown is None else gate_line(shown["gates"][0]),
        "measured": None if record is None else record["created"][:10],
    }
