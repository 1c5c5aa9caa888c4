"""Writes the demo's figures into `README.md` and draws `docs/demo.svg`, out of a Space.

    python scripts/update_readme.py SPACE

Nothing in the README between the two markers is written by hand: everything that stands there
comes from the Space's manifest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.core.writing import write_text
from isometry.report import figures
from isometry.report.figures import METRICS, MODES, PROBES, SYSTEMS, look_up, points
from isometry.report.markdown import table
from isometry.report.page import draw_plots
from isometry.report.picture_file import picture_file
from isometry.space import Space

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "demo.svg"
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


def main() -> int:
    """Updates both files, or says in one line why not."""
    parser = argparse.ArgumentParser(description="Write the demo's figures into README.md.")
    parser.add_argument("space", type=Path, help="The folder that `make demo` made.")
    arguments = parser.parse_args()
    try:
        manifest = Space.open(arguments.space).manifest
        readme = replace(README.read_text(encoding="utf-8"), render(manifest))
    except InputError as error:
        print(f"update_readme: {error}", file=sys.stderr)
        return 2
    if picture := draw(manifest):
        write_text(PICTURE, picture)
    else:
        PICTURE.unlink(missing_ok=True)
    write_text(README, readme)
    return 0


def replace(readme: str, content: str) -> str:
    """The README with new content between the markers.

    Raises:
        InputError: When the markers do not stand there once, in order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise InputError(f"The README needs {BEGIN} and {END} once, in this order.")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def render(manifest: Mapping[str, Any]) -> str:
    """What stands between the markers.

    Raises:
        InputError: When nothing was proven in this Space.
    """
    if not look_up(manifest, "figures.test.rows"):
        raise InputError("Nothing was tested in this Space, so it has no figures to show.")
    verdict = look_up(manifest, "figures.verdict")
    parts = [f"**{verdict['headline']}**"]
    if verdict["kept"] == "base":
        parts += verdict["reasons"]
    parts += [_data(manifest), _systems(manifest), figures.query_kind(manifest)]
    if look_up(manifest, "figures.test.differences"):
        parts += [_differences(manifest), figures.certainty(manifest)]
        parts.append("![Tuned minus base: differences with their intervals](docs/demo.svg)")
    parts += [_retention(manifest), _time(manifest), _origin(manifest)]
    return "\n\n".join(part for part in parts if part)


def draw(manifest: Mapping[str, Any]) -> str:
    """The report's plot of the differences as a file of its own; empty where there are none."""
    return picture_file(str(draw_plots(manifest)["differences"]))


def _systems(manifest: Mapping[str, Any]) -> str:
    rows = look_up(manifest, "figures.test.rows")
    best = figures.best_rows(rows)
    return table(
        ["Test split, points", *METRICS.values()],
        [
            [
                SYSTEMS[row["system"]],
                *(
                    f"**{points(row[metric])}**" if place in best[metric] else points(row[metric])
                    for metric in METRICS
                ),
            ]
            for place, row in enumerate(rows)
        ],
    )


def _differences(manifest: Mapping[str, Any]) -> str:
    rows = look_up(manifest, "figures.test.differences")
    found = {(row["mode"], row["metric"]): row for row in rows}
    return table(
        ["Tuned − base, points [95 % interval]", *METRICS.values()],
        [
            [name.capitalize(), *(_interval(found[mode, metric]) for metric in METRICS)]
            for mode, name in MODES.items()
        ],
    )


def _interval(row: Mapping[str, Any]) -> str:
    value, low, high = (points(row[key], sign=True) for key in ("difference", "low", "high"))
    return f"{value} [{low}, {high}]"


def _retention(manifest: Mapping[str, Any]) -> str:
    probes = [
        f"{name.lower()} {figures.decimal(row['base'])} → {figures.decimal(row['kept'])}"
        f" ({row['use']})"
        for key, name in PROBES.items()
        if (row := look_up(manifest, f"figures.retention.{key}"))
    ]
    return f"What the base knew, in points of two probes out of WordNet: {'; '.join(probes)}."


def _data(manifest: Mapping[str, Any]) -> str:
    data = look_up(manifest, "figures.data")
    pairs = data["pairs"]
    return (
        f"Source: `{look_up(manifest, 'source.name')}`, {data['documents']:,} documents out of"
        f" {data['files']:,} files. Task: {pairs['task'].replace('_', ' ')}, because"
        f" {pairs['why'].rstrip('.')}. {pairs['train']:,} training pairs,"
        f" {pairs['validation']:,} validation queries, and {pairs['test']:,} test queries that"
        f" rank all {look_up(manifest, 'figures.test.documents'):,} documents."
    )


def _time(manifest: Mapping[str, Any]) -> str:
    seconds, machine = look_up(manifest, "figures.seconds"), look_up(manifest, "machine")
    minutes = look_up(manifest, "settings.minutes")
    return (
        f"Training took {seconds['training']:,.0f} of the {sum(seconds.values()):,.0f} seconds of"
        f" the whole fit, on {machine['cores']} processor cores and {machine['memory_gib']:,.0f}"
        f" GiB of memory (`--minutes {minutes:g}`), the final index included."
    )


def _origin(manifest: Mapping[str, Any]) -> str:
    day = str(look_up(manifest, "created")).partition("T")[0]
    return (
        f"Made on {day} by Isometry {look_up(manifest, 'isometry')} from"
        f" `{look_up(manifest, 'encoder.base')}`, and written here by"
        " `python scripts/update_readme.py` out of the Space's `space.json`. Another machine plans,"
        " and so finds, somewhat other figures."
    )


if __name__ == "__main__":
    sys.exit(main())
