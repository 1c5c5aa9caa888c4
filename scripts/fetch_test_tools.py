"""Fetches what the tests need beyond Python packages: Chromium, PostgreSQL, pgvector.

Does nothing where they are there. As root on Debian it installs the packages, without starting a
service; elsewhere it says what to install, and the tests that need it fail with the same words.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")


def has_chromium() -> bool:
    return shutil.which("chromium") is not None


def has_curl() -> bool:
    return shutil.which("curl") is not None


def has_postgresql() -> bool:
    """Debian keeps the server's own programs off the PATH."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return any(shutil.which("initdb", path=str(path)) for path in folders) or (
        shutil.which("initdb") is not None
    )


def has_pgvector() -> bool:
    """Some server's folder of extensions has it; the tests start that server."""
    return any(Path("/usr/share/postgresql").glob("*/extension/vector.control"))


@contextmanager
def no_services() -> Iterator[None]:
    """Debian asks this script before it starts the service of a new package; 101 is a no."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


TOOLS = (
    (has_chromium, "chromium", "the tests of the report"),
    (has_curl, "curl", "the tests of the guide to serving"),
    (has_postgresql, "postgresql", "the tests of databases"),
    (has_pgvector, "postgresql-17-pgvector", "the tests of Spaces in a database"),
)


def main() -> None:
    missing = [package for is_there, package, _ in TOOLS if not is_there()]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        with no_services():
            subprocess.run(
                ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
                check=False,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
    for is_there, package, users in TOOLS:
        if not is_there():
            print(f"Missing: {users} need what Debian's package '{package}' brings.")


main()
