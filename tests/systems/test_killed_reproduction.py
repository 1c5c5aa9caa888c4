"""A reproduction that is killed at random moments ends with the same record."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

from forking import forking

from isometry.systems.catalogue import find
from isometry.systems.records import read_record, record_path
from isometry.systems.reproduce import reproduce

KILLS = int(os.environ.get("ISOMETRY_KILLS", "1"))
# The rest of a record is when, where and how long.
FIGURES = ("slug", "scale", "settings", "identity", "baseline", "method", "gates", "passed")


def _reproduce(folder: str) -> None:
    (entry,) = find("reccon")
    reproduce(
        entry, scale="miniature", results=Path(folder) / "results", work=Path(folder) / "work"
    )


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    arms = {
        name: [
            {key: run[key] for key in ("seed", "steps", "rows", "figures")} for run in arm["runs"]
        ]
        for name, arm in record["arms"].items()
    }
    return {name: record[name] for name in FIGURES} | {"arms": arms}


def test_kills_at_random_moments(tmp_path: Path) -> None:
    context = forking()

    def start(folder: Path) -> Any:
        process = context.Process(target=_reproduce, args=(str(folder),))
        process.start()
        return process

    started = time.monotonic()
    process = start(tmp_path / "whole")
    process.join()
    assert process.exitcode == 0
    whole = time.monotonic() - started

    generator, killed, kills = random.Random(0), tmp_path / "killed", 0
    path = record_path(killed / "results", "reccon", "miniature")
    while not path.exists():
        process = start(killed)
        process.join(generator.uniform(0.3, 0.6) * whole if kills < KILLS else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            continue
        assert process.exitcode == 0
        if not kills:
            # The first run was slower, for whatever else went on: again, with an earlier kill.
            shutil.rmtree(killed)
            whole /= 2
    expected = read_record(record_path(tmp_path / "whole" / "results", "reccon", "miniature"))
    found = read_record(path)
    assert expected is not None and found is not None
    assert _comparable(found) == _comparable(expected)
