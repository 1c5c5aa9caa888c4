"""Writes `docs/commands.md`, every command with every option, out of the program itself.

    python scripts/write_commands.py [--check]

With `--check` nothing is written: it exits with 1 when the page is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import typer.main
from generated_page import write_or_check

from isometry.cli.main import app
from isometry.report.markdown import prose, table, words

PAGE = "docs/commands.md"
COMMAND = "python scripts/write_commands.py"

_HEAD = f"""# Every command

Written by `{COMMAND}` out of the program; do not edit it. `--help` behind a command says the same.
[Use the result](use-the-result.md#from-scripts) says what `--json` prints, and what exit codes
mean."""


def render() -> str:
    """The page as Markdown."""
    group: Any = typer.main.get_command(app)
    root = typer.Context(group, info_name="isometry", **group.context_settings)
    commands = list(_below(group, root))
    rows = [
        [f"[`{context.command_path}`](#{_anchor(context.command_path)})", prose(_summary(command))]
        for command, context in commands
    ]
    parts = [_HEAD, prose(group.help), table(["Command", ""], rows, align="left")]
    parts += _parameters(group, root)
    for command, context in commands:
        parts += _command(command, context)
    return "\n\n".join(parts) + "\n"


def _below(group: Any, context: typer.Context) -> Iterator[tuple[Any, typer.Context]]:
    """The commands of a group and of the groups in it, in the order of the help."""
    for name in group.list_commands(context):
        command = group.commands[name]
        own = typer.Context(command, info_name=name, parent=context)
        if hasattr(command, "commands"):
            yield from _below(command, own)
        else:
            yield command, own


def _command(command: Any, context: typer.Context) -> Iterator[str]:
    path = context.command_path
    about, _, examples = re.split(r"\n(Examples?):\n", command.help)
    yield f"## {path}"
    yield prose(about)
    yield _fenced("text", " ".join([path, *command.collect_usage_pieces(context)]))
    yield _fenced("bash", "\n".join(line.strip() for line in examples.split("\n\n")))
    yield from _parameters(command, context)


def _parameters(command: Any, context: typer.Context) -> Iterator[str]:
    """A table for each panel of the help; parameters that are in none come first."""

    def place(parameter: Any) -> tuple[Any, ...]:
        return *_panel(parameter, command), parameter.param_type_name  # arguments before options

    parameters = sorted(command.get_params(context), key=place)
    for (_, panel), members in groupby(parameters, key=lambda each: _panel(each, command)):
        rows = [_row(*parameter.get_help_record(context)) for parameter in members]
        yield table([panel or "Arguments and options", ""], rows, align="left")


def _panel(parameter: Any, command: Any) -> tuple[int, str]:
    """The place and the name of a parameter's panel: panels keep the order of their first one."""
    names = list(dict.fromkeys(getattr(each, "rich_help_panel", "") for each in command.params))
    name = getattr(parameter, "rich_help_panel", "") or ""
    return (names.index(name) + 1 if name else 0), name


def _row(names: str, about: str) -> list[str]:
    """A parameter out of its line in the help, where brackets are escaped from markup."""
    # A bar would end the cell; how it is escaped in code is not agreed upon.
    return [f"`{names}`".replace("|", ", "), words(about.replace("\\[", "["))]


def _summary(command: Any) -> str:
    return command.help.partition("\n")[0]


def _anchor(heading: str) -> str:
    return heading.replace(" ", "-")


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, COMMAND))
