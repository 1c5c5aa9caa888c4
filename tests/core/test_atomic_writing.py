from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from isometry.core.errors import InputError
from isometry.core.workspace import Workspace
from isometry.core.writing import (
    atomic_file,
    atomic_folder,
    clear_disk_errors,
    out_folder,
    replace_folder,
    write_text,
)

Usage = namedtuple("Usage", "total used free")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names(path.parent) == ["file.txt"]


def test_a_file_stays_as_it_was_when_its_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    for name in ("one", "other"):
        with atomic_folder(path) as temporary:
            (temporary / "inner").mkdir()
            write_text(temporary / "inner" / name, name)
            (temporary / "inner" / name).chmod(0o600)
    assert stat.S_IMODE((path / "inner" / "other").stat().st_mode) == 0o644
    assert [file.name for file in path.rglob("*")] == ["inner", "other"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert names(path.parent) == ["folder"]


def test_a_folder_stays_as_it_was_when_its_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as temporary:
        (temporary / "new").write_text("new")
        raise ZeroDivisionError
    assert names(path) == ["old"] and names(tmp_path) == ["folder"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = tmp_path / "folder", Path.replace
    with atomic_folder(path) as temporary:
        (temporary / "old").write_text("old")

    def interrupted(source: Path, target: Path) -> Path:
        if target == path and not source.name.endswith(".old"):
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_folder(path) as temporary:
        (temporary / "new").write_text("new")
    assert names(path) == ["old"] and names(tmp_path) == ["folder"]


def test_what_was_there_comes_back_when_nothing_can_take_its_place(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("years of work")
    with pytest.raises(FileNotFoundError):
        replace_folder(path, tmp_path / "nothing")
    assert names(path) == ["old"] and names(tmp_path) == ["folder"]
    (tmp_path / "new").mkdir()
    replace_folder(path, tmp_path / "new")
    assert names(path) == [] and names(tmp_path) == ["folder"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "elsewhere" / "folder", tmp_path / "link"
    path.mkdir(parents=True)
    (path / "old").write_text("old")
    link.symlink_to(path)
    with atomic_folder(link) as temporary:
        (temporary / "new").write_text("new")
    assert link.is_symlink() and names(path) == ["new"]
    assert names(tmp_path) == ["elsewhere", "link"] and names(path.parent) == ["folder"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o007])
def test_who_may_read_what_is_written_is_the_users_to_say(tmp_path: Path, umask: int) -> None:
    script = f"""
import os
os.umask({umask})
from pathlib import Path
from isometry.core.writing import atomic_folder, write_json
write_json(Path("value.json"), 1)
with atomic_folder(Path("folder")) as folder:
    (folder / "file").write_text("text")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    modes["file"] = stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode)
    whole, part = 0o777 & ~umask, 0o666 & ~umask
    assert modes == {"value.json": part, "folder": whole, "file": part}


# Replaces something again and again, killed at another system call that Python reports each
# time, until it is not reached any more. Prints what then stood at the place.
CRASHES = """
import json, os, signal, sys
from pathlib import Path
from isometry.core.writing import atomic_file, atomic_folder

kind, root = sys.argv[1], Path(sys.argv[2])

def write(path, text):
    if kind == "file":
        with atomic_file(path) as temporary:
            temporary.write_text(text)
    else:
        with atomic_folder(path) as temporary:
            for number in range(3):
                (temporary / str(number)).write_text(text)

def look(path):
    if not path.exists():
        return None
    files = [path] if path.is_file() else sorted(path.iterdir())
    return [file.read_text() for file in files]

seen, killed, call = [], True, 0
while killed:
    path = root / str(call) / "place"
    write(path, "old" * 1000)
    child = os.fork()
    if child == 0:
        left = call
        def hook(event, arguments):
            global left
            if event.split(".")[0] in ("os", "open", "shutil") and event != "os.kill":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        write(path, "new" * 1000)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen.append(look(path))
    call += 1
print(json.dumps(seen))
"""


@pytest.mark.parametrize(("kind", "parts"), [("file", 1), ("folder", 3)])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
    tmp_path: Path, kind: str, parts: int
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CRASHES, kind, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    seen = json.loads(run.stdout)
    old, new = [["old" * 1000] * parts, ["new" * 1000] * parts]
    assert seen[0] == old and seen[-1] == new and len(seen) > 5
    # A folder cannot be swapped in one step: at one moment there is none, never a part of one.
    assert all(state in (old, new) for state in seen if state is not None)
    assert seen.count(None) <= (kind == "folder")


# Keeps replacing a file and a folder until it is killed.
REPLACES = """
import sys
from itertools import count
from pathlib import Path
from isometry.core.writing import atomic_folder, write_text

root = Path(sys.argv[1])
for number in count():
    write_text(root / "file", str(number) * 50_000)
    with atomic_folder(root / "folder") as temporary:
        for name in range(20):
            (temporary / str(name)).write_text(str(number) * 500)
    print(number, flush=True)
"""


@pytest.mark.parametrize("rounds", [1, 2, 5, 9])
def test_a_writer_that_is_killed_leaves_nothing_half_written(tmp_path: Path, rounds: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", REPLACES, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        for _ in range(rounds):
            child.stdout.readline()
        child.kill()
    assert child.returncode == -signal.SIGKILL
    written = (tmp_path / "file").read_text()
    number = int(written[: len(written) // 50_000])
    assert number >= rounds - 1 and written == str(number) * 50_000
    if (tmp_path / "folder").exists():
        contents = {file.name: file.read_text() for file in (tmp_path / "folder").iterdir()}
        assert set(contents) == {str(name) for name in range(20)}
        assert set(contents.values()) <= {str(number) * 500, str(number - 1) * 500}
        assert len(set(contents.values())) == 1


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with monkeypatch.context() as patch, pytest.raises(InputError, match="No room left") as caught:
        patch.setattr(os, call, full)
        if call == "replace":
            patch.setattr(Path, call, full)
        write_text(path, "new")
    assert str(path) in caught.value.message and "\n" not in str(caught.value)
    assert "again" in caught.value.hint
    assert path.read_text() == "old" and names(tmp_path) == ["file.txt"]


def numpy_says(path: Path) -> None:
    raise OSError("100000 requested and 51168 written")


def torch_says(path: Path) -> None:
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


@pytest.mark.parametrize("write", [numpy_says, torch_says])
def test_a_library_that_tells_no_error_number_is_believed_on_a_full_disk_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    place = tmp_path / "not yet" / "made"
    with pytest.raises((OSError, RuntimeError)), clear_disk_errors(place):
        write(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 30, 1 << 30, 4096))
    with pytest.raises(InputError, match="No room left"), clear_disk_errors(place):
        write(place)


def test_a_full_disk_that_safetensors_reports_is_understood(tmp_path: Path) -> None:
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(InputError, match="No room left"), atomic_folder(tmp_path / "model"):
        raise SafetensorError(said)
    with pytest.raises(SafetensorError), atomic_folder(tmp_path / "model"):
        raise SafetensorError("Error while deserializing header: header too large")


def test_an_error_of_another_kind_passes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1 << 30, 1 << 30, 0))
    for error in (InputError("already clear"), FileNotFoundError(2, "x"), ValueError("x")):
        with pytest.raises(type(error)) as caught, clear_disk_errors(tmp_path):
            raise error
        assert caught.value is error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_place_that_may_not_be_written_is_named(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(InputError, match=f"Cannot write to .*{os.strerror(number)}"),
        clear_disk_errors(tmp_path / "x"),
    ):
        raise OSError(number, os.strerror(number))


def test_a_file_where_a_folder_should_be_and_a_folder_where_a_file_should_be(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="Cannot write to"):
        write_text(tmp_path / "file" / "inside", "new")
    with pytest.raises(InputError, match="Cannot write to"), atomic_folder(tmp_path / "file"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="Cannot write to"):
        write_text(tmp_path / "folder", "new")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


def test_where_there_can_be_no_new_file_that_is_said_and_another_missing_one_is_not_blamed(
    tmp_path: Path,
) -> None:
    proc = Path("/proc")
    for make in (atomic_file, atomic_folder):
        with pytest.raises(InputError, match="Cannot write to /proc/x"), make(proc / "x"):
            pass
        with pytest.raises(FileNotFoundError), make(tmp_path / "x"):
            (tmp_path / "source").read_text()
    with pytest.raises(InputError, match="Cannot write to /proc/x"), Workspace(proc / "x", "one"):
        pass


def test_what_numpy_writes_into_an_atomic_file_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.arange(10))
    np.testing.assert_array_equal(np.load(path), np.arange(10))


def test_a_folder_to_write_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert out_folder("docs-space") == Path("docs-space")
    assert out_folder(".").name == "here" and out_folder("..").name == tmp_path.name
