"""The program itself: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from running import sample, until

from isometry.cli.main import main
from isometry.serving import start as starting


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Runs the program, and gives its one line of complaint back."""
    code = main(["serve", *map(str, arguments)])
    captured = capsys.readouterr()
    assert code == 2, captured
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_what_cannot_be_served_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], small_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("ISOMETRY_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = complaint(capsys, small_folder, "--port", port)
        assert f"127.0.0.1:{port}" in line
        assert "in use" in line
    assert "no-such" in complaint(capsys, tmp_path / "no-such")
    assert "neither modules.json" in complaint(capsys, tmp_path)
    assert "--token-file" in complaint(capsys, small_folder, "--host", "0.0.0.0")
    missing = complaint(capsys, small_folder, "--token-file", tmp_path / "no-token")
    assert "no-token" in missing
    assert "that has a base" in complaint(capsys, small_folder, "--beside-base")
    (tmp_path / "space.json").write_text('{"format": 99}')
    assert "format 99" in complaint(capsys, tmp_path)
    monkeypatch.setattr(starting, "find_spec", lambda name: None)
    assert "[serve]" in complaint(capsys, small_folder)


def test_a_model_that_does_not_load_ends_it_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert main(["serve", str(folder), "--port", "0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "has no weights" in line]) == 1
    assert "Traceback" not in str(lines)


def active(address: str, headers: dict[str, str]) -> float:
    with httpx2.Client(base_url=address, headers=headers, timeout=120) as client:
        return sample(client, "isometry_requests_active")


def refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_says_how_to_call_it_and_finishes_what_it_accepted(
    small_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "isometry", "serve", f"small={small_folder}", "--port", "0"]
    environment = {**os.environ, "ISOMETRY_TOKEN": "a-token-of-some-length"}
    headers = {"authorization": "Bearer a-token-of-some-length"}
    # A pipe that nobody reads fills up.
    log = tmp_path / "log"
    with log.open("w") as file, subprocess.Popen(
        [*command, "--log-requests"], stdout=subprocess.PIPE, stderr=file, text=True,
        env=environment,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            first, second = process.stdout.readline(), process.stdout.readline()
            address = first.split("OPENAI_BASE_URL=")[1].partition("/v1)")[0]
            assert second.startswith(
                f"curl {address}/v1/embeddings -H 'Authorization: Bearer TOKEN'"
            )
            until(
                lambda: httpx2.get(f"{address}/readyz", timeout=120).status_code == 200, pause=0.3
            )
            body = json.dumps({"input": ["a text that was accepted"] * 3}).encode()
            host, port = address.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(
                    b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n"
                    b"Authorization: Bearer a-token-of-some-length\r\n\r\n" % len(body)
                )
                connection.sendall(body[:10])
                # The one that asks is the other.
                until(lambda: active(address, headers) == 2)
                process.send_signal(signal.SIGINT)
                until(lambda: refused(host, int(port)))
                connection.sendall(body[10:])
                received = b""
                while more := connection.recv(65536):
                    received += more
            assert received.startswith(b"HTTP/1.1 200")
            answer = json.loads(received.partition(b"\r\n\r\n")[2])
            assert len(answer["data"]) == 3
            assert process.wait() == 0
        finally:
            # After a failure: what goes on running is waited for without end.
            process.kill()
    errors = log.read_text()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert any(line.get("route") == "/v1/embeddings" for line in lines)
    assert "a text that" not in errors
