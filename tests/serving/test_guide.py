"""What `docs/serving.md` shows is run, against a real server of a Space called as it is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Running, running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "serving.md"


def blocks(language: str) -> list[str]:
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def server(tiny_space: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    space = shutil.copytree(tiny_space, tmp_path_factory.mktemp("guide") / "docs-space")
    with running(str(space), writable=True) as one:
        yield one


def test_python(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    # One after the other, as somebody would who reads the page.
    names: dict[str, object] = {}
    found = blocks("python")
    for block in found:
        exec(block.replace("http://127.0.0.1:8000", server.address), names)
    assert len(found) == 3
    vectors, ranked = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"64 \d+", vectors)
    assert re.fullmatch(r"[01] -?\d\.\d+", ranked)


def test_curl(server: Running, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.fail("Requests are tested with curl: install it.")
    (tmp_path / "documents.ndjson").write_text('{"id": "a", "text": "Keys are rotated."}\n')
    lines = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl ")
    ]
    assert len(lines) == 6
    for line in lines:
        command = line.replace("localhost:8000", server.address).replace("curl ", "curl -sSf ", 1)
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.startswith(("{", "[")), line
