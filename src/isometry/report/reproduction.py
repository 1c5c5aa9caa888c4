"""Tables about systems for the terminal: what there is, and what a reproduction found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import RenderableType


def number(value: float, *, sign: bool = False) -> str:
    """A figure with three decimals, a large one with four digits, or a small one with one."""
    value += 0.0  # which has no sign
    if 0 < abs(value) < 0.0005:
        return f"{value:+.1g}" if sign else f"{value:.1g}"
    if abs(value) < 100:
        return f"{value:+.3f}" if sign else f"{value:.3f}"
    return f"{value:+.4g}" if sign else f"{value:.4g}"


def gate_line(gate: Mapping[str, Any]) -> str:
    """A gate in words: what it asks for, and what was found."""
    least = "at most" if gate["lower_is_better"] and gate["versus"] is None else "at least"
    if gate["versus"] is None:
        asked = f"{gate['arm']} {least} {number(gate['at_least'])}"
        return f"{gate['metric']}: {asked}; it is {number(gate['figure'])}"
    figures = f"{number(gate['figure'])} against {number(gate['other'])}"
    change = f"{number(gate['gain'], sign=True)} [{number(gate['low'], sign=True)}"
    change += f", {number(gate['high'], sign=True)}]"
    wants = "gains at least" if gate["at_least"] >= 0 else "loses at most"
    asked = f"{gate['arm']} {wants} {number(abs(gate['at_least']))} on {gate['versus']}"
    return f"{gate['metric']}: {asked}; {figures}, {change}"


def outcome(gate: Mapping[str, Any]) -> str:
    """Whether a gate holds, in a word."""
    word = "holds" if gate["passed"] else "fails"
    return f"{word}, decides nothing" if gate["report_only"] else word


def arm_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The metrics, and for every arm its name and the mean over seeds and items of each.

    Where seeds differ, their standard deviation stands behind the mean; a dash stands for what is
    not measured of an arm.
    """
    arms = record["arms"].values()
    metrics = list(dict.fromkeys(name for arm in arms for name in arm["runs"][0]["figures"]))
    rows: list[list[str]] = []
    for name, arm in record["arms"].items():
        cells: list[str] = []
        for metric in metrics:
            if metric not in arm["runs"][0]["figures"]:
                cells.append("–")
                continue
            seeds = [float(np.mean(run["figures"][metric])) for run in arm["runs"]]
            # Between equal figures, too, there is rounding.
            spread = float(np.std(seeds, ddof=1)) if np.ptp(seeds) > 1e-9 else 0.0
            behind = f" ±{number(spread)}" if spread else ""
            cells.append(number(float(np.mean(seeds))) + behind)
        rows.append([name, *cells])
    return metrics, rows


def render_record(record: Mapping[str, Any]) -> RenderableType:
    """The arms with their figures, then each gate.

    Args:
        record: What `reproduce` returns.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    metrics, rows = arm_rows(record)
    roles = {record["baseline"]: " (baseline)", record["method"]: " (method)"}
    table = [["arm", *metrics], *([row[0] + roles.get(row[0], ""), *row[1:]] for row in rows)]
    if len(metrics) > len(rows):
        table = [list(column) for column in zip(*table, strict=True)]
        table[0][0] = "figure"
    arms = Table(table[0][0], box=None, pad_edge=False)
    for name in table[0][1:]:
        arms.add_column(name, justify="right")
    for row in table[1:]:
        arms.add_row(*row)
    seeds = len(next(iter(record["arms"].values()))["runs"])
    origin = "computed now" if record["fresh"] else f"from the record of {record['created']}"
    parts: list[RenderableType] = [
        Text(record["title"], style="bold"),
        Text(f"scale {record['scale']}, {seeds} seeds, {origin}", style="dim"),
        Text(),
        arms,
        Text(),
    ]
    for gate in record["gates"]:
        style = "dim" if gate["report_only"] else "green" if gate["passed"] else "bold red"
        parts.append(Text(f"{outcome(gate)}: {gate_line(gate)}", style=style))
        if gate["reported"]:
            parts.append(Text(f"  the paper: {gate['reported']}", style="dim"))
    if record["passed"] is None:
        parts.append(Text("Without all arms nothing is compared, and no record is left."))
    return Group(*parts)


def gates_held(record: Mapping[str, Any]) -> str:
    """How many of the gates that decide hold, such as "3 of 4 gates hold"."""
    deciding = [gate["passed"] for gate in record["gates"] if not gate["report_only"]]
    return f"{sum(deciding)} of {len(deciding)} gates hold"


def render_systems(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """All systems, family by family: what came of each, and what it claims.

    Args:
        rows: `slug`, `family`, `claim`, `parts`, `state`, `gates`, `headline` and `measured` of
            each.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    styles = {"passed": "green", "failed": "red", "stale": "yellow"}
    wide = max((len(row["slug"]) for row in rows), default=0)
    lines: list[RenderableType] = []
    family = None
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            lines.append(Text(family, style="bold"))
        result = row["state"]
        if row["headline"] is not None:
            result += f", {row['gates']}; {row['headline']}"
        lines.append(
            Text.assemble(
                f"  {row['slug']:{wide}}  {len(row['parts']):3} parts  ",
                (result, styles.get(row["state"], "dim")),
                f" ({row['measured']})" if row["measured"] else "",
            )
        )
        lines.append(Padding(Text(row["claim"], style="dim"), (0, 0, 1, 4)))
    return Group(*lines)
