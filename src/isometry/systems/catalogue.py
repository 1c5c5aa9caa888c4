"""Which systems there are: the files in the folders of the families."""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isometry.core.errors import InputError
from isometry.core.source_code import code_hash

if TYPE_CHECKING:
    from isometry.systems.system import AnySystem

PACKAGE = Path(__file__).resolve().parents[1]
_SYSTEMS = Path(__file__).resolve().parent
# No figure depends on what stands behind these. Where files of any format become documents, and how
# these are kept: what they say is in the hash of the data. How files are written, and how progress
# is shown.
_DOORS = tuple(
    PACKAGE / file
    for file in (
        "corpora/readers/source.py",
        "corpora/packaged/kept.py",
        "core/writing.py",
        "core/progress.py",
    )
)
# What every system stands on is no part of a method.
_NO_PARTS = ("core", "systems")


@dataclass(frozen=True)
class Part:
    """Something that a system is composed of.

    Attributes:
        name: The class or function.
        path: Its file, relative to the package.
    """

    name: str
    path: str


@dataclass(frozen=True)
class Entry:
    """A system's file. What can be read off its source needs no import, which may be slow.

    Attributes:
        slug: Its short name, as in `isometry reproduce`.
        family: The folder it stands in.
        path: Its file.
    """

    slug: str
    family: str
    path: Path

    @cached_property
    def _tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @cached_property
    def _fields(self) -> dict[str, str]:
        """The texts that the file gives to `System(...)`."""
        for node in self._tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                called = node.value.func
                if isinstance(called, ast.Name) and called.id == "System":
                    return {
                        keyword.arg: ast.literal_eval(keyword.value)
                        for keyword in node.value.keywords
                        if keyword.arg and isinstance(keyword.value, ast.Constant)
                    }
        return {}

    @property
    def title(self) -> str:
        """The method, and what it is for."""
        return self._fields["title"]

    @property
    def claim(self) -> str:
        """What must be seen for the method to have helped."""
        return self._fields["claim"]

    @property
    def arxiv(self) -> str:
        """The paper's number; may be empty."""
        return self._fields.get("arxiv", "")

    @property
    def differs(self) -> str:
        """What here differs from the paper."""
        return self._fields.get("differs", "")

    @property
    def about(self) -> str:
        """What people read about the method."""
        return ast.get_docstring(self._tree) or ""

    @cached_property
    def parts(self) -> list[Part]:
        """What the file imports from the folders of the parts, then what its studies do."""
        found: dict[Part, None] = {}
        trees = [self._tree]
        for tree in trees:
            for module, names in _imports(tree):
                if module.startswith("systems.") and module.endswith("_study"):
                    study = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
                    trees.append(ast.parse(study.read_text(encoding="utf-8")))
                elif module.split(".")[0] not in _NO_PARTS:
                    path = module.replace(".", "/")
                    path += "/__init__.py" if (PACKAGE / path).is_dir() else ".py"
                    found |= dict.fromkeys(Part(name, path) for name in names)
        return list(found)

    @cached_property
    def code_hash(self) -> str:
        """Of the file and of all that it stands on, without what it says to people.

        A run that left a record was refused nothing: what only refuses may change.
        """
        prose = ("title", "claim", "differs")
        return code_hash(self.path, PACKAGE, prose=prose, doors=_DOORS, refusals=False)

    def load(self) -> AnySystem:
        """The system itself.

        Raises:
            InputError: When it needs a package that is not installed.
        """
        try:
            module = importlib.import_module(f"isometry.systems.{self.family}.{self.path.stem}")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == __name__.partition(".")[0]:
                raise
            raise InputError(
                f"{self.slug} needs the package '{error.name}', which is not installed.",
                "Install the extra 'all': pip install -e '.[all]' in the clone.",
            ) from error
        return module.system


def _imports(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Modules of the package, without its name, and what is imported from each."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("isometry."):
            yield str(node.module).partition(".")[2], [alias.name for alias in node.names]


def families() -> list[str]:
    """The names of the families."""
    return sorted({path.parent.name for path in _SYSTEMS.glob("*/*.py")})


def entries(family: str | None = None) -> list[Entry]:
    """All systems, or those of a family, by family and slug.

    Raises:
        InputError: When there is no such family.
    """
    if family is not None and family not in families():
        raise InputError(f"There is no family '{family}'.", _nearest(family, families()))
    return [
        Entry(path.stem.replace("_", "-"), path.parent.name, path)
        for path in sorted(_SYSTEMS.glob(f"{family or '*'}/*.py"))
        if path.stem != "__init__"
    ]


def find(name: str) -> list[Entry]:
    """The systems that a user means: `all`, a family, or a slug.

    Raises:
        InputError: When there is none; it offers the nearest names.
    """
    if name == "all":
        return entries()
    if name in families():
        return entries(name)
    known = {entry.slug: entry for entry in entries()}
    if name not in known:
        raise InputError(f"There is no system '{name}'.", _nearest(name, [*known, *families()]))
    return [known[name]]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=3, cutoff=0.4)
    return f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(known)}."
