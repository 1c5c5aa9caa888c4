"""What code a module stands on, and a hash of what that code does."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

# A file and a name at its top level; without a name all of it.
_Place: TypeAlias = tuple[Path, str | None]


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


def code_hash(
    path: Path,
    package: Path,
    *,
    prose: Collection[str] = (),
    doors: Collection[Path] = (),
    refusals: bool = True,
) -> str:
    """A hash of a file and of all that it uses of its package, directly or not.

    Of a file that is imported only those statements of its top level count that bind a name which
    is used, and those that run whatever is used. So a function more in a shared file makes no
    result stale. Where it cannot be told what is used of a file, all of it counts. Comments,
    docstrings, layout and what only type checkers read do not count.

    Args:
        path: A Python file.
        package: The folder of the package, whose name imports begin with.
        prose: Arguments of calls in the file itself that are words for people, by their names.
        doors: Files that nothing is used through: what comes out of them is told otherwise.
        refusals: Whether what can only end a run with an error counts: an `if` that does nothing
            but raise, what turns one error into another, and assertions.
    """
    used: dict[Path, set[int]] = {}
    left: list[_Place] = [(path, None)]
    seen: set[_Place] = set()
    while left:
        place = left.pop()
        if place in seen or place[0] in doors:
            continue
        seen.add(place)
        file, name = place
        statements = _statements(file, package, refusals)
        rows = used.setdefault(file, set())
        wanted = {
            row
            for row, statement in enumerate(statements)
            if name is None or not statement.binds or name in statement.binds
        }
        if name and not any(name in statements[row].binds for row in wanted):
            wanted = set(range(len(statements)))
        for row in sorted(wanted - rows):
            rows.add(row)
            left += statements[row].uses
    digest = hashlib.sha256()
    for file in sorted(used):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode())
        for row in sorted(used[file]):
            statement = _statements(file, package, refusals)[row]
            own = file == path and prose
            meaning = _without(statement.node, prose) if own else statement.meaning
            digest.update(f"{meaning}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Statement:
    """A statement of a file's top level.

    Attributes:
        node: Its syntax, as far as it counts; of an import, of one of its names.
        meaning: What of its syntax counts.
        binds: The names that it gives a value; none for what runs whatever is used of the file.
        uses: Where what it needs of the package stands.
    """

    node: ast.stmt
    meaning: str
    binds: frozenset[str]
    uses: frozenset[_Place]


@cache
def _statements(path: Path, package: Path, refusals: bool = True) -> list[_Statement]:
    # A tree of its own, which this may change: to read it anew is ten times as fast as a copy.
    tree = _read(path)
    if not refusals:
        tree = _WithoutRefusals().visit(tree)
    nodes = [part for node in tree.body for part in _separated(node)]
    for node in nodes:
        _drop_docstrings(node)
    own = {name for node in nodes for name in _bound(node)}
    return [
        _Statement(
            node,
            ast.dump(ast.Module([node], [])),
            frozenset(_bound(node)),
            frozenset(_uses(node, own, path, package)),
        )
        for node in nodes
    ]


class _WithoutRefusals(ast.NodeTransformer):
    """Leaves out what a run that came to its end did not need.

    The tests of such an `if` are taken for questions, which change nothing; one that gives a name
    a value does, and counts.
    """

    def visit_If(self, node: ast.If) -> ast.AST | None:
        self.generic_visit(node)
        names = any(isinstance(part, ast.NamedExpr) for part in ast.walk(node.test))
        return node if names or node.orelse or not _only_raises(node.body) else None

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        turned = all(_only_raises(handler.body) for handler in node.handlers)
        return node.body if turned and not (node.orelse or node.finalbody) else node

    def visit_Assert(self, node: ast.Assert) -> None:
        pass


def _only_raises(body: list[ast.stmt]) -> bool:
    return all(isinstance(statement, ast.Raise) for statement in body)


def _separated(node: ast.stmt) -> Iterator[ast.stmt]:
    """A statement, an import as one of each name; nothing for words and for type checkers."""
    if isinstance(node, ast.Import):
        yield from (ast.Import([alias]) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        yield from node.orelse
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        yield node


def _bound(node: ast.stmt) -> set[str]:
    """The names that a definition, an assignment or an import gives a value."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        (alias,) = node.names
        return {alias.asname or alias.name.split(".")[0]} - {"*"}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if all(isinstance(target, ast.Name | ast.Tuple) for target in targets):
            return {
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
    return set()


def _uses(node: ast.stmt, own: Collection[str], path: Path, package: Path) -> Iterator[_Place]:
    """What a statement needs: names of its file, and what it imports, wherever in it.

    Args:
        node: The statement.
        own: The names of the file's top level.
        path: The file.
        package: The folder of the package.
    """
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in own:
            yield path, part.id
        elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
            for alias in part.names:
                whole = _file_in(f"{part.module}.{alias.name}", package)
                module = _file_in(part.module, package)
                if whole:
                    yield whole, None
                elif module:
                    yield module, None if alias.name == "*" else alias.name
        elif isinstance(part, ast.Import):
            for alias in part.names:
                module = _file_in(alias.name, package)
                if module:
                    yield module, None


def _imported_names(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        # What is imported may be a module or something in one.
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return
    yield from (name for name in names if name.split(".")[0] == package)


def _file_in(name: str, package: Path) -> Path | None:
    """The file of a module, if it is one of the package."""
    return _file_of(name, package) if name.split(".")[0] == package.name else None


def _file_of(name: str, package: Path) -> Path | None:
    place = package.joinpath(*name.split(".")[1:])
    if place.with_suffix(".py").is_file():
        return place.with_suffix(".py")
    inside = place / "__init__.py"
    return inside if inside.is_file() else None


@cache
def _parsed(path: Path) -> ast.Module:
    return _read(path)


def _read(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _drop_docstrings(statement: ast.stmt) -> None:
    for node in ast.walk(statement):
        if (
            isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]


def _without(statement: ast.stmt, prose: Collection[str]) -> str:
    """The syntax of a statement without the arguments of these names."""
    tree = ast.Module([copy.deepcopy(statement)], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [word for word in node.keywords if word.arg not in prose]
    return ast.dump(tree)
