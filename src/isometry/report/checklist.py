"""A survey as a list: what a toolkit must do, the part that does it, its test, and a figure."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isometry.report.reproduction import number

if TYPE_CHECKING:
    from rich.console import RenderableType

State = Literal["pass", "absent", "not measured"]
_STYLES: Mapping[str, str] = {"pass": "green", "absent": "red", "not measured": "yellow"}


@dataclass(frozen=True)
class Capability:
    """One thing that a survey asks for.

    Attributes:
        code: The survey's number of it; several rows may share one.
        what: The capability, in a phrase.
        part: The part that has it, as `folder/file.py::Name` below the package; empty where it is
            absent.
        test: The test that shows it, as `folder/test_file.py::test_name` below the tests.
        figure: The arm and the metric of the survey's system that measure it; None where a test is
            all that there is to show.
        note: What else is to know, in a phrase.
    """

    code: str
    what: str
    part: str = ""
    test: str = ""
    figure: tuple[str, str] | None = None
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """A capability with what was found of it.

    Attributes:
        capability: What was asked for.
        state: See `status`.
        value: The figure, the mean over seeds and items; None where there is none.
    """

    capability: Capability
    state: State
    value: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self.capability), "state": self.state, "value": self.value}


def status(
    capability: Capability,
    package: Path,
    tests: Path | None,
    record: Mapping[str, Any] | None = None,
) -> State:
    """Whether a capability is there and was shown.

    It is `absent` without a part. It is `not measured` where the part is there and its test is not,
    or the record lacks its figure. Otherwise it is a `pass`.

    Args:
        capability: What is asked for.
        package: The folder of the package.
        tests: The folder of the tests; None where they are not at hand, as in an installed package:
            then they are taken for granted.
        record: What `reproduce` left of the survey's system, if it is of this code.
    """
    if not exists(package, capability.part):
        return "absent"
    if tests is not None and not exists(tests, capability.test):
        return "not measured"
    if capability.figure is not None and figure_of(capability, record) is None:
        return "not measured"
    return "pass"


def check(
    rows: Sequence[Capability],
    package: Path,
    tests: Path | None,
    record: Mapping[str, Any] | None = None,
) -> list[Checked]:
    """All capabilities in their order; see `status`."""
    return [
        Checked(row, status(row, package, tests, record), figure_of(row, record)) for row in rows
    ]


def exists(folder: Path, place: str) -> bool:
    """Whether `file.py::name` stands below a folder: the file, and in it the name on top level."""
    name, _, inside = place.partition("::")
    path = folder / name
    return path.is_file() and inside in _names(path) | {""}


def figure_of(capability: Capability, record: Mapping[str, Any] | None) -> float | None:
    """The figure of a capability in a record, the mean over seeds and items; None without one."""
    if capability.figure is None or record is None:
        return None
    arm, metric = capability.figure
    runs = record["arms"].get(arm, {"runs": ()})["runs"]
    if not runs or any(metric not in run["figures"] for run in runs):
        return None
    return float(np.mean([np.mean(run["figures"][metric]) for run in runs]))


@cache
def _names(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def render_checklist(title: str, rows: Sequence[Checked]) -> RenderableType:
    """The list for the terminal, with how many rows are in each state.

    Args:
        title: Whose list it is.
        rows: What `check` gives.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("capability", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("part", overflow="fold")
    table.add_column("figure", overflow="fold")
    for row in rows:
        asked = row.capability
        what = f"{asked.what} ({asked.note})" if asked.note else asked.what
        figure = "" if asked.figure is None else f"{asked.figure[1]} of {asked.figure[0]}"
        if row.value is not None:
            figure += f": {number(row.value)}"
        table.add_row(
            asked.code, Text(what), Text(row.state, style=_STYLES[row.state]),
            Text(asked.part.partition("::")[0]), Text(figure),
        )  # fmt: skip
    counts = {state: sum(row.state == state for row in rows) for state in _STYLES}
    total = ", ".join(f"{count} {state}" for state, count in counts.items())
    return Group(Text(title, style="bold"), table, Text(), Text(total))
