"""`isometry checklist`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.output import Json, print_json, print_rich


def checklist(
    name: Annotated[str, typer.Argument(help="A system whose paper is a survey.")],
    results: Annotated[
        Path | None,
        typer.Option(help="The folder of the records.  \\[default: that of this checkout]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what a survey asks of a toolkit: what is here and shown, not measured, or absent.

    A part passes when it has a test and, where the survey's system measures it, a figure that was
    measured with this code.

    Example:

      isometry checklist dense-retrieval
    """
    from isometry.report.checklist import render_checklist
    from isometry.systems.checklists import checked

    title, rows = checked(name, results)
    if as_json:
        print_json({"title": title, "checklist": [row.to_json() for row in rows]})
        return
    print_rich(render_checklist(title, rows))
