"""Tables for the terminal: a plan before it runs, models side by side, and a distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isometry.encoders.sizes import size_names
from isometry.evaluation.retrieval import METRICS
from isometry.report import figures

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
    if plan["nested"]:
        lines.append(f"Smaller sizes that are trained too: {size_names(plan['nested'])}")
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
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("mode")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    table.add_column("nDCG@10 difference", justify="right")
    for row in sorted(rows, key=lambda row: ("dense", "lexical", "hybrid").index(row["mode"])):
        table.add_row(
            Text(str(row["model"])),
            row["mode"],
            *(f"{100 * row[metric]:.1f}" for metric in METRICS),
            figures.change(row),
        )
    return table


def comparison_size(rows: Sequence[Mapping[str, Any]], documents: int, kind: str = "") -> str:
    """A line on what a comparison stands on.

    Args:
        rows: What `isometry.evaluate` returns under "rows".
        documents: How many were ranked.
        kind: "artificial" where the queries were made from documents.
    """
    made = " made from held-out documents" if kind == "artificial" else ""
    line = f"{rows[0]['queries']:,} queries{made}, {documents:,} documents"
    alone = ", all of pages that belong together, which says nothing of others"
    return f"{line}{alone if rows[0]['groups'] == 1 else ''}."


def render_distillation(record: Mapping[str, Any]) -> RenderableType:
    """Quality against size and speed: teacher, student, and the student before it learnt.

    Args:
        record: What `jobs.distill.distill` returns.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("", "layers", "dim", "parameters", "speed", "nDCG@10", "against the teacher"):
        table.add_column(name, justify="left" if name == "" else "right")
    test, speed = record["test"], record["speed"]
    quality: dict[str, float] = {}
    changes: dict[str, str] = {}
    if test is not None:
        quality = {row["system"]: 100 * row["ndcg@10"] for row in test["rows"]}
        changes = {
            row["what"]: figures.change(row)
            for row in test["differences"]
            if row["metric"] == "ndcg@10"
        }
    for name in ("teacher", "student", "untrained"):
        size = record["teacher" if name == "teacher" else "student"]
        factor = 1.0 if name == "teacher" else speed["times_as_fast"]
        table.add_row(
            "student, untrained" if name == "untrained" else name,
            str(size["layers"]) if size["layers"] else "table",
            str(size["dim"]),
            f"{size['parameters'] / 1e6:,.1f} M",
            f"x {factor:,.1f}",
            f"{quality[name]:.1f}" if quality else "",
            changes.get(f"{name} - teacher", ""),
        )
    lines = [
        f"{speed['teacher_texts_a_cpu_second']:,.1f} and"
        f" {speed['student_texts_a_cpu_second']:,.1f} texts a CPU second, on texts of"
        f" {speed['mean_tokens']:.0f} tokens; training kept {record['alpha']:.0%} of its way.",
    ]
    if test is None:
        lines.append("Too few queries can be made from these texts to say how good the student is.")
    else:
        lines.append(
            f"{test['queries']:,} queries made from held-out documents,"
            f" {test['documents']:,} of {record['data']['documents']:,} documents; training gained"
            f" {changes['student - untrained']} points"
            + (
                ", all of pages that belong together, which says nothing of others."
                if test.get("groups") == 1
                else "."
            )
        )
    return Group(table, Text(), *(Text(line) for line in lines))
