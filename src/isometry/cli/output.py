"""What the commands share: options of the same meaning, and how they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Annotated, Any

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, for scripts.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
Limit = Annotated[int | None, typer.Option(help="Read only the first so many documents.")]

MODEL_PANEL = "Model"
QUERY_PROMPT_HELP = "Put before queries, instead of what the model's configuration says."
DOCUMENT_PROMPT_HELP = "Put before documents, likewise."
QueryPrompt = Annotated[
    str | None, typer.Option(help=QUERY_PROMPT_HELP, rich_help_panel=MODEL_PANEL)
]
DocumentPrompt = Annotated[
    str | None, typer.Option(help=DOCUMENT_PROMPT_HELP, rich_help_panel=MODEL_PANEL)
]

# Of what was skipped.
_SHOWN = 3
# Where nobody looks: more than any line has.
_NO_WIDTH = 100_000

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

    if quiet:
        # Of every try to reach the hub its library tells on standard error.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    with progress_shown(not quiet):
        yield


def print_json(value: Any) -> None:
    """Prints one JSON object, all of it or nothing."""
    plain = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=plain, indent=2, default=str)
    # What is not UTF-8 in names of files can be told, not printed.
    _write(text.encode("utf-8", "replace").decode() + "\n")


def print_rich(*renderables: Any) -> None:
    """Prints for people, on standard output; lines are wrapped only where a person looks."""
    from rich.console import Console
    from rich.text import Text

    looks = Console().is_terminal
    # What stands in brackets is a part of a name, and no markup.
    written = StringIO()
    console = Console(
        file=written, force_terminal=looks, highlight=False, markup=False, emoji=False
    )
    # In a pipe or a log a line stays one line, so that a path can be found and copied.
    if not looks and "COLUMNS" not in os.environ:
        console.width = _NO_WIDTH
    lines = all(isinstance(shown, str | Text) for shown in renderables)
    console.print(*renderables, soft_wrap=lines and not looks)
    shown = written.getvalue()
    # Tables and what is indented are filled up to the width.
    _write(shown if looks else "\n".join(line.rstrip(" ") for line in shown.split("\n")))


def print_skipped(figures: Mapping[str, Any]) -> None:
    """Says of a few files and rows that were skipped where they stand and why."""
    from isometry.report.figures import safe_line

    found = figures["skipped_first"][:_SHOWN]
    lines = [safe_line(f"  {one['path']}: {one['reason']}") for one in found]
    if more := figures["skipped"] - len(found):
        lines.append(f"  and {more:,} more" + (" (--json lists some)" if lines else ""))
    if lines:
        print_rich("\n".join(lines))


def _write(text: str) -> None:
    """Writes to standard output; where its reader went away (`| head`), that is no failure.

    What its encoding lacks is escaped.
    """
    encoding = sys.stdout.encoding or "utf-8"
    if "\u2212".encode(encoding, "ignore") == b"":
        # The minus sign of typesetters has a plain form.
        text = text.replace("\u2212", "-")
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Nor is it one when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
