"""`isometry systems` and `isometry reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isometry.cli.output import Json, Quiet, print_json, print_rich, progress
from isometry.core.errors import InputError
from isometry.core.progress import say

_Results = Annotated[
    Path | None,
    typer.Option(help="The folder of the records.  \\[default: results, of this checkout]"),
]


def systems(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    results: _Results = None,
    as_json: Json = False,
) -> None:
    """List the methods of papers that can be run here, with what was last measured.

    A result is stale when the code of the system, or of a part of it, has changed since.

    Example:

      isometry systems --family retrieval
    """
    from isometry.report.reproduction import render_systems
    from isometry.systems.listing import describe_all

    rows = describe_all(family, results)
    if as_json:
        print_json({"systems": rows})
        return
    print_rich(render_systems(rows))


def reproduce(
    name: Annotated[str, typer.Argument(help="A system, a family, or all.")],
    scale: Annotated[
        Literal["miniature", "small", "full"],
        typer.Option(
            help="miniature: seconds, to see it run, its figures mean nothing; small: real data and"
            " weights, minutes to four hours on two cores; full: larger models from a hub, for"
            " longer, on a GPU."
        ),
    ] = "small",
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How many seeds; other than the scale's own leave no record."
            "  \\[default: the scale's own]"
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this arm (again for more); nothing is compared then, and no record kept."
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="How many processes share the trainings and the processors, for less time in all;"
            " each has the data in memory."
        ),
    ] = 1,
    results: _Results = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a paper's method against its baseline, and say whether it helped.

    All arms get the same data, seeds and budget. What was computed with the same settings, data and
    code is read from its record. A killed run goes on with the same command in the same folder:
    unfinished work lies in .cache/systems. The exit code is 1 when a gate fails.

    Example:

      isometry reproduce retrieval-pretraining
    """
    from isometry.systems.catalogue import find

    found = find(name)
    from isometry.report.reproduction import render_record
    from isometry.systems.reproduce import check
    from isometry.systems.reproduce import reproduce as run

    failed = False
    records: list[dict[str, Any]] = []
    unable: dict[str, str] = {}
    for entry in found:
        # What is wrong with the last is said before the first has run for hours.
        check(entry, scale=scale, seeds=seeds, arms=arm or (), jobs=jobs, results=results)
    with progress(quiet):
        for entry in found:
            try:
                record = run(
                    entry, scale=scale, seeds=seeds, arms=arm or (), jobs=jobs, results=results
                )
            except InputError as error:
                if len(found) == 1:
                    raise
                # The others may take hours: one that lacks its data must not cost their figures.
                say(f"{entry.slug} cannot run: {error}")
                unable[entry.slug] = str(error)
                continue
            failed |= record["passed"] is False
            records.append(record)
            if not as_json:
                print_rich(render_record(record))
    if as_json:
        print_json({"records": records})
    if unable:
        reasons = " ".join(f"{slug}: {reason}" for slug, reason in unable.items())
        raise InputError(f"{len(unable)} of {len(found)} could not run.", reasons)
    if failed:
        raise typer.Exit(1)
