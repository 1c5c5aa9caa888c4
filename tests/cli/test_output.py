"""What commands print where nobody looks: in a pipe, a file or a log."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from isometry.cli.output import print_rich
from isometry.cli.spaces import _marked, _reasons
from isometry.search.explanation import Contribution

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


@pytest.mark.parametrize("command", [["models"], ["models", "--json"], ["encode", "--help"]])
def test_output_that_cannot_be_written_is_said(command: list[str]) -> None:
    program = [sys.executable, "-m", "isometry", *command]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "isometry: Cannot write: No space left on device.\n"
    # What is closed is not looked at by anybody.
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *program], capture_output=True, text=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, "")


def test_results_in_a_file_take_no_more_room_than_they_have_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Group

    monkeypatch.delenv("COLUMNS", raising=False)
    parts = [Contribution("dense", "keys", 0.25), Contribution("lexical", "rotate", 0.5)]
    blocks = [
        block
        for _ in range(300)
        for block in (*_reasons(parts), _marked("\n".join(["rotate the keys"] * 6), "rotate"))
    ]
    tracemalloc.start()
    print_rich(Group(*blocks))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Filled up to the width of no terminal, they took 240 MB.
    assert peak < 50e6
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "   dense +0.2500 = keys +0.250",
        "   lexical +0.5000 = rotate +0.500",
        "   rotate the keys",
    ]
    assert len(lines) == 300 * 8
