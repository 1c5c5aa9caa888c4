"""Kills at random moments change nothing in the end."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from forking import forking

from isometry import InputError, Space

KILLS = int(os.environ.get("ISOMETRY_KILLS", "1"))


def _fit(docs: str, base: str, plan: str, out: str) -> None:
    import isometry

    isometry.fit(docs, base=base, plan=plan, out=out)


def _comparable(space: Space) -> dict[str, Any]:
    """The figures without what a clock measured."""
    figures = dict(space.manifest["figures"])
    for name in ("seconds", "resumed"):
        del figures[name]
    figures["training"] = {**figures["training"], "seconds": None}
    return figures


def _opens(folder: Path) -> bool:
    """Whether there is a Space; one that opens must be whole."""
    try:
        space = Space.open(folder)
    except InputError:
        return False
    space.verify()
    return True


def test_kills_at_random_moments(
    few_docs: Path, small_folder: Path, brief_plan: Path, tmp_path: Path
) -> None:
    context = forking()

    def start(out: Path) -> Any:
        arguments = tuple(str(path) for path in (few_docs, small_folder, brief_plan, out))
        process = context.Process(target=_fit, args=arguments)
        process.start()
        return process

    started = time.monotonic()
    process = start(tmp_path / "reference")
    process.join()
    assert process.exitcode == 0
    whole = time.monotonic() - started
    reference = Space.open(tmp_path / "reference")
    weights = (reference.model / "model.safetensors").read_bytes()

    generator = random.Random(0)
    kills = 0
    finished: list[Path] = []
    attempt = 0
    while kills < KILLS or not finished:
        out = tmp_path / f"killed-{attempt}"
        process = start(out)
        # Long enough to get somewhere, short enough to be hit in every phase.
        process.join(generator.uniform(0.05, 0.4) * whole if kills < KILLS else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            assert not _opens(out) or not (tmp_path / f"{out.name}.partial").exists()
            _opens(tmp_path / f"{out.name}.partial" / "space")
            continue
        assert process.exitcode == 0
        finished.append(out)
        attempt += 1

    for out in finished:
        space = Space.open(out)
        space.verify()
        assert (space.model / "model.safetensors").read_bytes() == weights
        assert _comparable(space) == _comparable(reference)
        assert not (tmp_path / f"{out.name}.partial").exists()
