from __future__ import annotations

from pathlib import Path

import pytest

from isometry.systems.run import Run
from isometry.systems.system import Scale


def run_of(shared: Path, seed: int) -> Run[Scale, list[str], None]:
    scale = Scale(model="none", steps={"contrast": 4})
    return Run(scale, [], None, seed=seed, rate=1.0, folder=shared / f"{seed}", shared=shared)


def test_what_is_made_once_is_shared_by_all_runs_and_never_half(tmp_path: Path) -> None:
    made: list[int] = []

    def make(folder: Path) -> None:
        (folder / "part").write_text("half")
        if not made:
            made.append(0)
            raise KeyboardInterrupt
        made.append(1)
        (folder / "part").write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path, 0).once("experts-1", make)
    first = run_of(tmp_path, 0).once("experts-1", make)
    assert run_of(tmp_path, 1).once("experts-1", make) == first and made == [0, 1]
    assert (first / "part").read_text() == "whole"
    run_of(tmp_path, 1).once("experts-2", make)
    assert made == [0, 1, 1]


def test_batches_are_those_of_the_seed_and_hold_no_key_twice(tmp_path: Path) -> None:
    keys = [(row % 7, f"query {row}") for row in range(21)]
    found = [run_of(tmp_path, seed).batches("contrast", keys, 5) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2] and list(map(len, found[0])) == [5] * 4
    for batch in found[0]:
        assert len({row % 7 for row in batch}) == 5
