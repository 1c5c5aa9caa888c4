"""An installed Python package, or the standard library -> its source files, without importing."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import sysconfig
from pathlib import Path

from isometry.core.errors import InputError
from isometry.corpora.readers.folders import walk

_SKIPPED_FOLDERS = frozenset({
    "test", "tests", "idlelib", "idle_test", "lib2to3", "site-packages", "dist-packages",
    "turtledemo", "ensurepip",
})  # fmt: skip


def package_files(package: str) -> tuple[Path, tuple[str, ...]]:
    """A folder, and the package's Python files below it; the folder is where imports begin.

    Args:
        package: A name as in `import`, with dots or not, or "stdlib".

    Raises:
        InputError: When it is not installed or has no Python source.
    """
    if package == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
        return root, _python_files(root, root)
    top, *below = package.split(".")
    place = _find(top)
    if place is None:
        raise InputError(f"The Python package '{package}' is not installed here.", _hint(top))
    root = place.parent
    for name in below:
        place = place / name if (place / name).is_dir() else place / f"{name}.py"
    if not place.exists():
        raise InputError(f"The Python package '{top}' has no module '{package}'.")
    files = _python_files(place, root)
    if not files:
        raise InputError(f"The Python package '{package}' has no Python source to read.")
    return root, files


def _python_files(place: Path, root: Path) -> tuple[str, ...]:
    if place.is_file():
        return (place.relative_to(root).as_posix(),)
    above = place.relative_to(root)
    files = walk(place, _SKIPPED_FOLDERS)
    return tuple((above / file).as_posix() for file in files if file.endswith(".py"))


def _find(name: str) -> Path | None:
    # The path finder first: it answers for `os` and others with a file, not with "frozen". The
    # others are asked for packages installed in editable mode. A name without dots imports nothing.
    try:
        spec = importlib.machinery.PathFinder.find_spec(name) or importlib.util.find_spec(name)
    except (ValueError, ImportError):
        return None
    if spec is None:
        return None
    for location in spec.submodule_search_locations or ():
        return Path(location)
    origin = Path(spec.origin or "")
    if origin.suffix == ".py":
        return origin
    raise InputError(f"The Python package '{name}' has no Python source to read.")


def _hint(name: str) -> str:
    for module, distributions in importlib.metadata.packages_distributions().items():
        if name in distributions and not module.startswith("_"):
            return f"It is imported by another name: try python:{module}."
    return f"Install it beside isometry: pip install {name}."
