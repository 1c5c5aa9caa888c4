from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

from isometry.core import workspace
from isometry.core.errors import InputError
from isometry.core.workspace import Workspace
from isometry.core.writing import write_text

# Enters a workspace and does what its third argument says.
PROCESS = """
import os, signal, sys
from pathlib import Path
from isometry.core.errors import InputError
from isometry.core.workspace import Workspace

try:
    with Workspace(Path(sys.argv[1]), sys.argv[2]) as work:
        work.json("first", lambda: "made by the other")
        if sys.argv[3] == "die":
            work.folder("second", lambda folder: os.kill(os.getpid(), signal.SIGKILL))
except InputError as error:
    print(error)
"""


def other_process(path: Path, fingerprint: str, then: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROCESS, str(path), fingerprint, then],
        check=False,
        capture_output=True,
        text=True,
    )


def never(*_: Any) -> NoReturn:
    raise AssertionError("made twice")


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("content")


def test_every_kind_of_result_is_made_once(tmp_path: Path) -> None:
    value = {"numbers": (1, 2.5), "text": "naïve"}
    table = pa.table({"text": ["a", None, "b"], "vector": [[1.0], [2.0], []]})
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    with Workspace(tmp_path / "new" / "work", "what") as work:
        assert not work.resumed and not (work.path / "value.json").exists()
        # As it reads back, so that a first and a resumed run go on with the same.
        assert work.json("value", lambda: value) == {"numbers": [1, 2.5], "text": "naïve"}
        assert work.table("rows", lambda: table).equals(table)
        np.testing.assert_array_equal(work.array("vectors", lambda: array), array)
        folder = work.folder("model", fill)
        assert (folder / "deep" / "file").read_text() == "content"
        assert (work.path / "value.json").exists() and (work.path / "model").exists()
    with Workspace(tmp_path / "new" / "work", "what") as work:
        assert work.resumed
        assert work.json("value", never) == {"numbers": [1, 2.5], "text": "naïve"}
        assert work.table("rows", never).equals(table)
        again = work.array("vectors", never)
        assert again.dtype == np.float32
        np.testing.assert_array_equal(again, array)
        assert work.folder("model", never) == folder
    assert sorted(path.name for path in (tmp_path / "new" / "work").iterdir()) == [
        "lock",
        "model",
        "rows.parquet",
        "run.json",
        "value.json",
        "vectors.npy",
    ]


@pytest.mark.parametrize("kind", ["json", "table", "array", "folder"])
def test_a_step_that_fails_leaves_nothing_and_is_made_later(tmp_path: Path, kind: str) -> None:
    results: dict[str, Any] = {"json": 1, "table": pa.table({"a": [1]}), "array": np.ones(2)}

    def fail(*folder: Path) -> NoReturn:
        if folder:
            fill(folder[0])
        raise KeyboardInterrupt

    def succeed(*folder: Path) -> Any:
        return fill(folder[0]) if folder else results[kind]

    with Workspace(tmp_path, "what") as work:
        step = getattr(work, kind)
        with pytest.raises(KeyboardInterrupt):
            step("step", fail)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "run.json"]
        step("step", succeed)
        step("step", never)


def test_objects_are_not_pickled(tmp_path: Path) -> None:
    with Workspace(tmp_path, "what") as work, pytest.raises(ValueError):
        work.array("objects", lambda: np.array([object()]))
    assert not (tmp_path / "objects.npy").exists()


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with Workspace(tmp_path, "what"):
        refused = other_process(tmp_path, "what")
        assert refused.stdout.startswith(f"Another process is working in {tmp_path}.")
        assert not (tmp_path / "first.json").exists()
        with pytest.raises(InputError, match="Another process"), Workspace(tmp_path, "what"):
            pass
    assert other_process(tmp_path, "what").stdout == ""
    assert (tmp_path / "first.json").exists()


def test_a_killed_process_frees_the_folder_and_its_steps_are_kept(tmp_path: Path) -> None:
    assert other_process(tmp_path, "what", "die").returncode == -signal.SIGKILL
    with Workspace(tmp_path, "what") as work:
        assert work.resumed
        assert work.json("first", never) == "made by the other"
        assert not (work.path / "second").exists()
        assert (work.folder("second", fill) / "deep" / "file").exists()


def test_the_work_of_another_fingerprint_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Workspace(tmp_path, "one") as work:
        work.json("value", lambda: 1)
    with pytest.raises(InputError, match="another source or other settings") as caught:
        Workspace(tmp_path, "other").__enter__()
    assert "--" not in caught.value.hint
    with pytest.raises(InputError, match="discard it with --force"):
        Workspace(tmp_path, "other", of_command=True).__enter__()
    with Workspace(tmp_path, "one") as work:
        assert work.resumed and work.json("value", never) == 1


def test_only_unfinished_work_of_others_is_discarded(tmp_path: Path) -> None:
    with Workspace(tmp_path / "work", "one") as work:
        work.json("value", lambda: 1)
    (tmp_path / "mine").mkdir()
    for name in ("work", "mine", "nothing"):
        workspace.discard_other_work(tmp_path / name, "one")
    assert (tmp_path / "work" / "value.json").exists()
    for name in ("work", "mine"):
        workspace.discard_other_work(tmp_path / name, "other")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_a_process_works_in_is_not_discarded(tmp_path: Path) -> None:
    with Workspace(tmp_path / "work", "one") as work:
        work.json("value", lambda: 1)
        with pytest.raises(InputError, match="Another process is working in"):
            workspace.discard_other_work(tmp_path / "work", "other")
        workspace.discard_finished_work(tmp_path / "work", "one")
        assert work.json("value", never) == 1
    workspace.discard_finished_work(tmp_path / "work", "other")
    assert (tmp_path / "work" / "value.json").exists()
    workspace.discard_finished_work(tmp_path / "work", "one")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_folder_is_not_kept_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> NoReturn:
        raise InputError("No room left")

    refused = [Workspace(tmp_path, "what")]
    with monkeypatch.context() as patch, pytest.raises(InputError, match="No room"):
        patch.setattr(workspace, "write_json", full)
        refused[0].__enter__()
    write_text(tmp_path / "run.json", "{")
    refused.append(Workspace(tmp_path, "what"))
    with pytest.raises(InputError, match="Cannot read"):
        refused[1].__enter__()
    (tmp_path / "run.json").unlink()
    with Workspace(tmp_path, "what") as work:
        assert not work.resumed


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="Cannot write to"):
        Workspace(tmp_path / "file", "what").__enter__()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_result_can_be_discarded_and_is_made_again(tmp_path: Path) -> None:
    with Workspace(tmp_path, "what") as work:
        work.json("value", lambda: 1)
        work.folder("model", fill)
        for name in ("value.json", "model", "nothing"):
            work.discard(name)
            assert not (work.path / name).exists()
        assert work.json("value", lambda: 2) == 2


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "docs-space.partial"
    mine.mkdir()
    (mine / ".notes").write_text("mine")
    with pytest.raises(InputError, match="no unfinished work"):
        Workspace(mine, "what").__enter__()
    assert [path.name for path in mine.iterdir()] == [".notes"]


def test_what_cannot_be_used_goes_while_the_folder_is_still_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, free = tmp_path / "work", list[bool]()
    remove = workspace.shutil.rmtree

    def watched(*arguments: Any, **options: Any) -> None:
        other = workspace.FileLock(path / "lock", timeout=0)
        try:
            other.acquire()
            free.append(True)
        except workspace.Timeout:
            free.append(False)
        remove(*arguments, **options)

    monkeypatch.setattr(workspace.shutil, "rmtree", watched)
    with pytest.raises(InputError), Workspace(path, "what"):
        raise InputError("Nothing to read.")
    assert free == [False] and not path.exists()
