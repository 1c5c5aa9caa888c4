"""A PostgreSQL server of a test's own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "s3cret-w/rd"
QUOTED = "s3cret-w%2Frd"


def _program(name: str) -> str:
    """Of the newest server that has pgvector, or of the newest one."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: (_has_vector(folder), int(folder.parent.name)),
        reverse=True,
    )
    for folder in (*map(str, folders), None):
        if found := shutil.which(name, path=folder):
            return found
    pytest.fail(f"No {name}: install the Debian package 'postgresql' (no service is needed).")


def _has_vector(folder: Path) -> bool:
    share = Path("/usr/share/postgresql") / folder.parent.name
    return (share / "extension" / "vector.control").is_file()


@contextmanager
def running_server() -> Iterator[str]:
    """The address of its database without a user; the user "owner" may do everything."""
    # Not below pytest's folder, which another user may not enter; and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    initdb, control = _program("initdb"), _program("pg_ctl")

    def run(*command: str) -> None:
        subprocess.run(
            [*as_user, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120
        )

    data = f"{folder}/data"
    run(initdb, "-D", data, "-U", "owner", "-A", "scram-sha-256", f"--pwfile={folder}/password",
        "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
    options = f"-c listen_addresses= -c fsync=off -k {folder}"
    run(control, "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
    try:
        yield f"@/postgres?host={folder}"
    finally:
        run(control, "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
