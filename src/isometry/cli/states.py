"""The commands `isometry space`: the states of a Space, and back to an earlier one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isometry.cli.output import Json, Quiet, print_json, print_rich, progress
from isometry.cli.spaces import SpaceFolder

_SHORT = 8

app = typer.Typer(
    name="space",
    help="See what was written into a Space, and go back to an earlier state of it.",
    no_args_is_help=True,
)

_Number = Annotated[
    int | None,
    typer.Option(
        "--to",
        min=0,
        help="The state's number in the history.  \\[default: the one before the last change]",
    ),
]


@app.command("history")
def history(space: SpaceFolder, as_json: Json = False) -> None:
    """List the states that a Space still has, and what wrote each.

    What was superseded stays for an hour at least, until something is compacted; of what a server
    with --write wrote, the last eight states.

    Example:
      isometry space history docs-space
    """
    from isometry.jobs.history import history as job

    found = job(space)
    if as_json:
        print_json(found)
        return
    from rich.table import Table
    from rich.text import Text

    from isometry.report.figures import safe_line

    table = Table(box=None, pad_edge=False)
    for name in ("state", "written (UTC)", "documents", "changes", "model", "kept until"):
        table.add_column(name, no_wrap=True, justify="right" if name == "documents" else "left")
    table.add_column("by", overflow="fold")
    for state in found["states"]:
        kept = "current" if state["current"] else _minute(state["kept_until"]) or "--drop-old"
        changes = " ".join(
            f"{sign}{_shown(state[what])}"
            for sign, what in (("+", "added"), ("~", "changed"), ("-", "removed"))
            if state[what] is not None
        )
        shown = [_shown(state["number"]), _minute(state["time"]), _shown(state["documents"])]
        shown += [changes or "-", state["model"][:_SHORT], kept, state["by"] or "-"]
        # Text, since a name of a source may look like markup.
        table.add_row(*map(Text, map(safe_line, shown)), style="bold" if state["current"] else None)
    print_rich(table)


def _minute(time: str | None) -> str:
    """A time in UTC, to the minute."""
    return time[:16].replace("T", " ") if time else ""


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


@app.command("rollback")
def rollback(
    space: SpaceFolder,
    to: _Number = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make an earlier state of a Space current again, as a new one that can be undone likewise.

    Documents, passages, vectors and model are those of that state. Searching goes on meanwhile.

    Examples:
      isometry space rollback docs-space

      isometry space rollback docs-space --to 3 --dry-run
    """
    from isometry.jobs.rollback import rollback as job

    with progress(quiet):
        figures = job(space, to, dry_run=dry_run)
    if as_json:
        print_json({"space": str(space), **figures})
        return
    from isometry.report.figures import safe_line

    counts = ", ".join(f"{figures[what]:,} {what}" for what in ("added", "changed", "removed"))
    print_rich(
        f"{space} {'would be' if dry_run else 'is'} as state {figures['to']} was: documents"
        f" {counts}; {figures['documents']:,} in all, model {safe_line(figures['model'])}."
        + ("" if dry_run else f" This is state {figures['state']}.")
    )
