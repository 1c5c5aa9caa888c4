"""Several processes share a system's trainings: each is done once, and the record is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from forking import forking

from isometry.core.progress import progress_shown
from isometry.core.workspace import Workspace
from isometry.systems import workers
from isometry.systems.catalogue import Entry, find
from isometry.systems.reproduce import reproduce
from isometry.systems.runner import Runner
from isometry.systems.system import Arm, Scale

WHEN = {"created", "seconds", "cpu_seconds", "fresh"}


def _go(folder: Path, **options: Any) -> dict[str, Any]:
    (entry,) = find("reccon")
    record = reproduce(
        entry, scale="miniature", results=folder / "results", work=folder / "work", **options
    )
    return {key: value for key, value in record.items() if key not in WHEN}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _go(tmp_path_factory.mktemp("alone"))


def _killable(folder: Path) -> None:
    _go(folder, jobs=2)


def test_what_one_is_at_another_leaves_and_all_is_done_once(
    make_entry: Callable[..., Entry], tmp_path: Path
) -> None:
    scale = Scale(model="none", steps={"s": 1}, seeds=3, rates=(1.0, 12.0, 0.1))
    made: Counter[tuple[str, float, int]] = Counter()

    def arm(name: str) -> Arm[Any, Any, Any, int]:
        def make(run: Any) -> int:
            run.steps["s"] = 1
            made[name, run.rate, run.seed] += 1
            run.once(f"shared-{run.seed}", lambda _: made.update([("shared", 0.0, run.seed)]))
            time.sleep(0.05)
            return int(run.rate)

        return Arm("", make, ("s",))

    arms = {"long": arm("long"), "all": arm("all")}
    system = make_entry(arms=arms, scales={"small": scale}).load()
    data = system.data(scale)
    with Workspace(tmp_path / "both", "a") as steps:
        runners = [Runner(system, scale, data, steps, list(arms)) for _ in range(3)]
        threads = [Thread(target=runner.share) for runner in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shared = {name: runners[0].run(name) for name in arms}
    # At the best rate the first seed's is taken up twice: for validation and, trained, for test.
    best = shared["all"]["rate"]
    again = {("long", best, 0), ("all", best, 0)}
    assert {key: count for key, count in made.items() if count > 1} == dict.fromkeys(again, 2)
    assert not list((tmp_path / "both").glob("training-*"))
    with Workspace(tmp_path / "one", "a") as steps:
        alone = Runner(system, scale, data, steps, list(arms))
        assert {name: alone.run(name) for name in arms} == shared


def test_two_processes_make_the_record_of_one(
    alone: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress_shown(True):
        shared = _go(tmp_path, jobs=2)
    where = shared["machine"]
    assert (where["processes"], alone["machine"]["processes"]) == (2, 1)
    # Of each process, while they worked.
    assert where["threads"] == max(1, alone["machine"]["threads"] // 2)
    assert {**shared, "machine": alone["machine"]} == alone
    done = Counter(
        line.split(": ", 1)[1]
        for line in capfd.readouterr().err.splitlines()
        if " of about " in line
    )
    (entry,) = find("reccon")
    different = {arm.make for arm in entry.load().arms.values()}
    assert set(done.values()) == {1} and len(done) == len(different)
    assert not list((tmp_path / "work").rglob("*.json"))


def test_helpers_end_with_a_killed_owner_and_the_next_run_goes_on(
    alone: dict[str, Any], tmp_path: Path
) -> None:
    process = forking().Process(target=_killable, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 120
    while not list((tmp_path / "work").rglob("*-seed-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    helpers = _children(process.pid)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert helpers
    while any(map(_lives, helpers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_lives, helpers))
    assert _go(tmp_path) == alone


def test_ctrl_c_reaches_the_owner_alone(tmp_path: Path) -> None:
    command = ["reproduce", "reccon", "--scale", "miniature", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "isometry", *command, "--results", str(tmp_path / "results")],
        cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True,
        # Whoever runs these tests in the background ignores it, and so would all below.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(_children(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    # The resource tracker is one, and the helper, which has all imports still before it. Their
    # owner may be starting it yet: then it hears of this afterwards.
    assert len(_children(process.pid)) == 2
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and "Stopped." in said and "Traceback" not in said


def test_a_process_that_finds_other_code_does_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (entry,) = find("reccon")
    with progress_shown(True):
        workers._help(  # pyright: ignore[reportPrivateUsage]
            entry, "other code", Scale(model="none", steps={}), [], tmp_path, "a", 1, True
        )
    assert "A process of reccon stopped: its code was edited." in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def _children(process: int | None) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
