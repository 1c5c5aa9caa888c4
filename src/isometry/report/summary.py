"""What the terminal shows when a fit is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry.report import figures
from isometry.report.figures import METRICS, MODES, PROBES, SYSTEMS, additions_of, look_up, points

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_summary(
    manifest: Mapping[str, Any], *, space: Path, model: Path, report: Path
) -> RenderableType:
    """The verdict, the five systems, smaller sizes, differences, what was kept, where things are.

    Args:
        manifest: What stands in `space.json`; parts that are `null` or missing are left out.
        space: The folder of the Space.
        model: The folder of the model.
        report: The report's file.

    Returns:
        Something that rich prints; words from documents are never read as markup.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    kept = look_up(manifest, "figures.verdict.kept")
    headline = figures.safe_line(look_up(manifest, "figures.verdict.headline") or "Done.")
    parts: list[RenderableType] = [Text(headline, style="bold" if kept == "base" else "bold green")]
    reasons = (look_up(manifest, "figures.verdict.reasons") or []) if kept == "base" else []
    lines = [figures.safe_line(reason) for reason in reasons]
    # The headline may give the one reason there is.
    parts += [Text(f"  {line}") for line in lines if line.rstrip(".") not in headline]
    parts += [Text(figures.safe_line(line), style="yellow") for line in _since_the_fit(manifest)]
    rows = look_up(manifest, "figures.test.rows") or []
    if rows:
        parts.append(Padding(_systems(rows), (1, 0)))
    sizes = look_up(manifest, "figures.sizes") or []
    if sizes:
        parts.append(Padding(_sizes(sizes), (0, 0, 1, 0)))
    lines = [
        f"{METRICS.get(row['metric'], row['metric'])}, {MODES.get(row['mode'], row['mode'])}:"
        f" {figures.change(row)}"
        for row in look_up(manifest, "figures.test.differences") or []
        if row.get("metric") == "ndcg@10" and row.get("difference") is not None
    ]
    if lines:
        ends = ", with 95 % intervals" if any("[" in line for line in lines) else ""
        parts.append(Text(f"Tuned minus base in points{ends}", style="bold"))
        parts += [Text(f"  {line}") for line in lines]
        parts.append(Padding(Text(figures.certainty(manifest)), (0, 2)))
    parts.append(Padding(Text(figures.query_kind(manifest), style="dim"), (0, 2)))
    probes = [
        f"{PROBES.get(name, figures.safe_line(name))} {figures.decimal(row.get('base'))}"
        f" → {figures.decimal(row.get('kept'))}"
        for name, row in (look_up(manifest, "figures.retention") or {}).items()
        if row
    ]
    if probes:
        parts.append(Text.assemble(("Kept of what the base knew  ", "bold"), "; ".join(probes)))
    parts.append(Text())
    for name, path in (("Report", report), ("Model", model), ("Space", space)):
        place = figures.safe_line(path)
        parts.append(Text.assemble((f"{name:<8}", "bold"), place, overflow="fold"))
    return Group(*parts)


def _since_the_fit(manifest: Mapping[str, Any]) -> list[str]:
    """What came after the figures: another model, documents."""
    lines: list[str] = []
    if migrated := manifest.get("migrated"):
        lines.append(
            f"The figures are of the former model, {migrated['from']['base']}; since"
            f" {migrated['time'][:10]} {migrated['to']['base']} is used, which nobody measured"
            " here."
        )
    additions = additions_of(manifest)
    if additions:
        counts = ", ".join(
            f"{sum(entry[what] for entry in additions):,} {what}"
            for what in ("added", "changed", "removed")
        )
        lines.append(
            f"Documents since the fit: {counts} (the last time {additions[-1]['time'][:10]}, from"
            f" {additions[-1]['source']})."
        )
    return lines


def _systems(rows: list[Mapping[str, Any]]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    best = figures.best_rows(rows)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="Test split, points (• best)")
    table.title_justify = "left"
    table.add_column("System")
    for name in METRICS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(rows):
        cells = [
            Text(f"• {points(row.get(metric))}", style="bold")
            if place in best[metric]
            else Text(points(row.get(metric)))
            for metric in METRICS
        ]
        table.add_row(SYSTEMS.get(row["system"], figures.safe_line(row["system"])), *cells)
    return table


def _sizes(rows: list[Mapping[str, Any]]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title="Smaller models by isometry cut, nDCG@10 in points"
    )
    table.title_justify = "left"
    for place, name in enumerate(figures.SIZE_HEAD):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*figures.size_cells(row))
    return table
