from __future__ import annotations

from typing import Any

import pytest
import typer.main

from isometry.cli.main import app, main

COMMANDS = sorted(command.name or "" for command in app.registered_commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_every_default_and_shows_how(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Square brackets are markup, which disappears, unless they are escaped."""
    monkeypatch.setenv("COLUMNS", "400")
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    group: Any = typer.main.get_command(app)
    for parameter in group.commands[name].params:
        written = getattr(parameter, "help", None) or ""
        assert written.count("\\[") == written.count("["), written
        assert written.replace("\\[", "[").partition("  ")[0] in shown
    assert f"isometry {name}" in shown.partition("Example")[2]
