from __future__ import annotations

from typing import Any

import pytest
import typer.main

from isometry.cli.main import app, main

COMMANDS = sorted(
    [command.name or "" for command in app.registered_commands]
    + [
        f"{group.typer_instance.info.name} {command.name}"
        for group in app.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
    ]
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_every_default_and_shows_how(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Square brackets are markup, which disappears, unless they are escaped."""
    monkeypatch.setenv("COLUMNS", "400")
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    command: Any = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]
    for parameter in command.params:
        written = getattr(parameter, "help", None) or ""
        assert written.count("\\[") == written.count("["), written
        assert written.replace("\\[", "[").partition("  ")[0] in shown
    assert f"isometry {name}" in shown.partition("Example")[2]
