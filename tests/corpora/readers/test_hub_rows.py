from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers import open_source

NOTES = [(name, inspect.getdoc(getattr(textwrap, name)) or "") for name in textwrap.__all__]
COMMITS = ("a" * 40, "b" * 40)
READ = """
import json, sys
from isometry.core.errors import InputError
from isometry.corpora.readers import ReadingReport, open_source
try:
    source = open_source(sys.argv[1])
    found = [[item.id, item.text] for item in source.documents(ReadingReport())]
    print(json.dumps([source.name, source.fingerprint(), found]))
except InputError as error:
    print(json.dumps([error.message, error.hint]))
"""


def parquet(rows: list[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"id": [name for name, _ in rows], "said": [text for _, text in rows]})
    pq.write_table(table, buffer)
    return buffer.getvalue()


class Hub(ThreadingHTTPServer):
    """What of the hub's interface a streamed data set asks for, for "us/notes"."""

    commit = COMMITS[0]

    def __init__(self) -> None:
        self.files = {
            "train.parquet": parquet(NOTES),
            "test.parquet": parquet(NOTES[:2]),
        }
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        paths = [path for path in self.server.files if path in unquote(asked)]
        self.answer(200, [self.entry(path) for path in paths])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        files, commit = self.server.files, self.server.commit
        if "/tree/" in path:
            _, _, inside = path.partition(f"/tree/{commit}")
            inside = inside.strip("/")
            self.answer(200, [self.entry(name) for name in files if name.startswith(inside)])
        elif path.startswith(("/api/datasets/us/notes/revision/", "/api/datasets/us/notes")):
            siblings = [{"rfilename": name} for name in files]
            self.answer(200, {"id": "us/notes", "sha": commit, "siblings": siblings})
        elif f"/datasets/us/notes/resolve/{commit}/" in path and path.endswith(".parquet"):
            data = files[path.partition(f"{commit}/")[2]]
            wanted = self.headers.get("Range", "").removeprefix("bytes=").split("-")
            if len(wanted) == 2:
                self.answer(206, data[int(wanted[0]) : int(wanted[1]) + 1], len(data))
            else:
                self.answer(200, data)
        else:
            missing = "EntryNotFound" if "/datasets/us/notes/" in path else "RepoNotFound"
            self.answer(404, {"error": missing}, error=missing)

    def entry(self, path: str) -> dict[str, Any]:
        size = len(self.server.files[path])
        return {"type": "file", "path": path, "size": size, "oid": "c" * 40}

    def answer(self, status: int, body: Any, total: int = 0, error: str = "") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", self.server.commit)
        self.send_header("ETag", '"c"')
        if error:
            self.send_header("X-Error-Code", error)
        if total:
            self.send_header("Content-Range", f"bytes 0-{len(data) - 1}/{total}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def read(spec: str, endpoint: str, home: Path) -> list[Any]:
    """In a process of its own: the hub's client takes its address when it is imported."""
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    made = subprocess.run(
        [sys.executable, "-c", READ, spec], env=env, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_a_data_set_is_streamed_at_one_commit(hub: Hub, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{hub.server_port}"
    name, first, found = read("hf:us/notes", address, tmp_path)
    assert name == "hf:us/notes"
    assert [tuple(item) for item in found] == NOTES
    assert not list(tmp_path.rglob("*.arrow"))  # nothing is kept
    assert not list(tmp_path.rglob("*.parquet"))
    resolved = [path for path in hub.asked if "/resolve/" in path]
    assert resolved
    assert all(COMMITS[0] in path for path in resolved)
    hub.commit = COMMITS[1]
    _, second, test = read("hf:us/notes#/test", address, tmp_path)
    assert [tuple(item) for item in test] == NOTES[:2]
    assert read("hf:us/notes", address, tmp_path)[1] not in (first, second)
    message, hint = read("hf:us/other", address, tmp_path)
    assert message == "There is no data set hf:us/other, or it is not public."
    message, hint = read("hf:us/notes#/dev", address, tmp_path)
    assert message.startswith("Cannot read hf:us/notes#/dev: ")
    assert "#CONFIG/SPLIT" in hint


def test_without_a_network_it_is_one_clear_line(tmp_path: Path) -> None:
    message, hint = read("hf:us/notes", "http://127.0.0.1:1", tmp_path)
    assert message == "Cannot read hf:us/notes: the Hugging Face hub cannot be reached."
    assert "save_to_disk" in hint


@pytest.mark.parametrize("spec", ["hf:", "hf:a/b/c", "hf: #x"])
def test_what_is_no_id_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="is no data set"):
        open_source(spec)
