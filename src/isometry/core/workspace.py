"""A folder in which long work goes on: every step leaves its result, so a killed run resumes."""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from isometry.core.errors import InputError
from isometry.core.files import read_json
from isometry.core.writing import atomic_file, atomic_folder, clear_disk_errors, write_json


def discard_other_work(path: Path, fingerprint: str) -> None:
    """Removes a workspace's folder, if what is unfinished there has another fingerprint.

    Raises:
        InputError: When a process is working in it.
    """
    run = path / "run.json"
    if run.is_file() and read_json(run).get("fingerprint") != fingerprint and not _removed(path):
        raise InputError(
            f"Another process is working in {path}.",
            "Wait for it to finish, or choose another --out.",
        )


def discard_finished_work(path: Path, fingerprint: str) -> None:
    """Removes a workspace's folder that was left behind by work which is finished elsewhere.

    Work with another fingerprint stays, and so does what a process is working in.
    """
    run = path / "run.json"
    if run.is_file() and read_json(run).get("fingerprint") == fingerprint:
        _removed(path)


def _removed(path: Path) -> bool:
    """Removes a workspace's folder, unless a process holds its lock."""
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        shutil.rmtree(path)
    finally:
        lock.release()
    return True


class Workspace(AbstractContextManager["Workspace"]):
    """One writer's folder of finished steps.

    Each of `json`, `table` and `folder` computes a step's result once, stores it whole, and from
    then on reads it back. Use it as a context manager: it holds a lock.

    Work that ends with an `InputError` before `worth_keeping` is set leaves no folder behind.

    Args:
        path: The folder; made when missing.
        fingerprint: Says what the work is. A folder that another fingerprint made is refused.
        of_command: Whether it is that of a command with --out and --force, which may be advised.

    Raises:
        InputError: On entering, when another process works there, the fingerprint differs, or the
            folder holds something else.
    """

    def __init__(self, path: Path, fingerprint: str, *, of_command: bool = False) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.of_command = of_command
        self.resumed = False
        self.worth_keeping = False
        self._lock = FileLock(path / "lock")

    def __enter__(self) -> Workspace:
        with clear_disk_errors(self.path):
            self._refuse_other_things()
            with clear_disk_errors(self.path, new=True):
                self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"Another process is working in {self.path}.",
                    f"Wait for it to finish{', or choose another --out' * self.of_command}.",
                ) from None
        try:
            self._claim(self.path / "run.json")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _refuse_other_things(self) -> None:
        """What a folder of somebody's holds is not ours to remove at the end."""
        if not self.path.is_dir() or (self.path / "run.json").exists():
            return
        # A process that is about to say what it works on has made these.
        names = {path.name for path in self.path.iterdir()} - {"lock", "run.json"}
        if any(not name.startswith(".run.json.") for name in names):
            raise InputError(
                f"{self.path} exists and is no unfinished work; it is left alone.",
                "Rename it" + (", or choose another --out." if self.of_command else "."),
            )

    def _claim(self, run: Path) -> None:
        if not run.exists():
            write_json(run, {"fingerprint": self.fingerprint, "process": os.getpid()})
            return
        self.resumed = True
        if read_json(run).get("fingerprint") != self.fingerprint:
            raise InputError(
                f"{self.path} holds unfinished work with another source or other settings.",
                "Repeat that command to finish it,"
                + (
                    " choose another --out, or discard it with --force."
                    if self.of_command
                    else " or remove that folder."
                ),
            )
        for leftover in sorted(self.path.rglob(".*"), reverse=True):
            # What a killed process was writing: files that appear whole begin under such names.
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, InputError) and not self.resumed and not self.worth_keeping:
            # Input that cannot be used leaves nothing behind.
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()

    def json(self, name: str, make: Callable[[], Any]) -> Any:
        """A JSON value, made once; always returned as it reads back from disk."""
        path = self.path / f"{name}.json"
        if not path.exists():
            write_json(path, make())
        return json.loads(path.read_text(encoding="utf-8"))

    def table(self, name: str, make: Callable[[], pa.Table]) -> pa.Table:
        """An Arrow table, made once, kept as Parquet and memory-mapped when read back."""
        path = self.path / f"{name}.parquet"
        if not path.exists():
            with atomic_file(path) as temporary:
                pq.write_table(make(), temporary)
        return pq.read_table(path, memory_map=True)

    def array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """A NumPy array, made once."""
        path = self.path / f"{name}.npy"
        if not path.exists():
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, make(), allow_pickle=False)
        return np.load(path, allow_pickle=False)

    def folder(self, name: str, make: Callable[[Path], None]) -> Path:
        """A folder, made once: `make` fills the one that it is given."""
        path = self.path / name
        if not path.exists():
            with atomic_folder(path) as temporary:
                make(temporary)
        return path

    def discard(self, name: str) -> None:
        """Removes a file or folder of this workspace, if it is there."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
