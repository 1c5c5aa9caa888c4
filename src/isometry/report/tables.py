"""Tables for the terminal: a plan before it runs, and models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isometry.evaluation.retrieval import METRICS

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_plan(plan: Mapping[str, Any], data: Mapping[str, Any]) -> RenderableType:
    """What a dry run found: the data, the steps, and the time of each phase.

    Args:
        plan: The plan's JSON.
        data: The figures about the documents.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    pairs = data["pairs"]
    lines = [
        f"{data['documents']:,} documents in {data['files']:,} files"
        f" ({data['skipped_count']:,} skipped)",
        f"{pairs['train']:,} training pairs ({pairs['task']}), {pairs['validation']:,} validation"
        f" and {pairs['test']:,} test queries: {pairs['why']}",
        f"{plan['steps']:,} steps of {plan['batch']} pairs = {plan['epochs']:g} epochs, in"
        f" {plan['precision']}; passages of {plan['passage_tokens']} tokens,"
        f" {plan['layers'] - plan['frozen_layers']} of {plan['layers']} layers trained",
    ]
    if plan["pool"] < data["documents"]:
        lines.append(
            f"Validation and test rank a sample of {plan['pool']:,} documents: more minutes rank"
            " more."
        )
    table = Table("phase", box=None, pad_edge=False)
    table.add_column("estimate", justify="right")
    estimate = plan["estimate_seconds"]
    for phase, seconds in estimate.items():
        table.add_row(phase, f"{seconds:,.0f} s")
    table.add_row("together", f"{sum(estimate.values()) / 60:,.1f} min", style="bold")
    return Group(*(Text(line) for line in lines), Text(), table)


def render_comparison(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Models side by side, in points, one block a mode.

    Args:
        rows: What `isometry.evaluate` returns under "rows".
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("mode")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    table.add_column("nDCG@10 difference", justify="right")
    for row in sorted(rows, key=lambda row: ("dense", "lexical", "hybrid").index(row["mode"])):
        change = (100 * row[name] for name in ("difference", "low", "high"))
        table.add_row(
            str(row["model"]),
            row["mode"],
            *(f"{100 * row[metric]:.1f}" for metric in METRICS),
            "{:+.1f} [{:+.1f}, {:+.1f}]".format(*change),
        )
    return table
