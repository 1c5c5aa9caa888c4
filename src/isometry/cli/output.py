"""What the commands share: options of the same meaning, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, for scripts.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
Limit = Annotated[int | None, typer.Option(help="Read only the first so many documents.")]

_TABLES = "Tables"
TextColumn = Annotated[
    str | None, typer.Option(help="The column with the text.", rich_help_panel=_TABLES)
]
TitleColumn = Annotated[
    str | None, typer.Option(help="The column with the title.", rich_help_panel=_TABLES)
]
IdColumn = Annotated[
    str | None, typer.Option(help="The column with the id.", rich_help_panel=_TABLES)
]


@contextmanager
def progress(quiet: bool) -> Generator[None]:
    """Shows progress on standard error inside the block, unless quiet."""
    from isometry.core.progress import progress_shown

    with progress_shown(not quiet):
        yield


def print_json(value: Any) -> None:
    """Prints one JSON object."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write("\n")


def print_rich(*renderables: Any) -> None:
    """Prints for people, on standard output; lines are wrapped only where a person looks."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    # In a pipe or a log a line stays one line, so that a path can be found and copied.
    lines = all(isinstance(shown, str | Text) for shown in renderables)
    console.print(*renderables, soft_wrap=lines and not console.is_terminal)
