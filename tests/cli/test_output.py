"""What commands print where nobody looks: in a pipe, a file or a log."""

from __future__ import annotations

import pytest

from isometry.cli.output import print_rich

LONG = "handbook/operations/security/key-management/rotation-of-signing-keys.md#how-to-rotate-them"


def test_a_line_stays_one_line_whatever_it_stands_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("document", "score", box=None, pad_edge=False)
    table.add_row(LONG, f"{LONG} again")
    print_rich(
        Group(Text(f"1. {LONG}  0.5"), Padding(Text("a passage\u2028of it"), (1, 0, 0, 3)), table)
    )
    lines = capsys.readouterr().out.split("\n")
    assert lines[:3] == [f"1. {LONG}  0.5", "", "   a passage\u2028of it"]
    assert lines[4] == f"{LONG}  {LONG} again"
    assert all(line == line.rstrip(" ") for line in lines) and lines[-1] == ""
    # Who says how wide it is to be is heard.
    monkeypatch.setenv("COLUMNS", "40")
    print_rich(table)
    assert max(map(len, capsys.readouterr().out.split("\n"))) <= 40
