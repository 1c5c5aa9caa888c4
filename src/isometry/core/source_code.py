"""What code a module stands on, and a hash of what that code does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def imported_modules(path: Path, package: Path) -> list[Path]:
    """The files of the package that a file imports itself, wherever in it, without repetition.

    Args:
        path: A Python file.
        package: The folder of the package, whose name imports begin with.
    """
    found: dict[Path, None] = {}
    for node in ast.walk(_parsed(path)):
        for name in _imported_names(node, package.name):
            file = _file_of(name, package)
            if file is not None:
                found[file] = None
    return list(found)


def code_hash(path: Path, package: Path) -> str:
    """A hash of a file and of all that it imports from its package, directly or not.

    Comments, docstrings and layout do not count, so that better words make no result stale.
    """
    seen: set[Path] = set()
    left = [path]
    while left:
        file = left.pop()
        if file not in seen:
            seen.add(file)
            left += imported_modules(file, package)
    digest = hashlib.sha256()
    for file in sorted(seen):
        digest.update(f"{file.relative_to(package).as_posix()}\n{_meaning(file)}\n".encode())
    return digest.hexdigest()


def _imported_names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        # What is imported may be a module or something in one.
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    yield from (name for name in names if name.split(".")[0] == package)


def _file_of(name: str, package: Path) -> Path | None:
    place = package.joinpath(*name.split(".")[1:])
    if place.with_suffix(".py").is_file():
        return place.with_suffix(".py")
    inside = place / "__init__.py"
    return inside if inside.is_file() else None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _meaning(path: Path) -> str:
    """The syntax of a file without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
