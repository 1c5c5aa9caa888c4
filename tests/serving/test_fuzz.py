"""Whatever is sent: an answer, no failure inside, and nothing of the inside in it.

`ISOMETRY_FUZZ` says how many bodies and how many other requests are tried.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import (
    DEADLINE,
    Answer,
    ask,
    check,
    check_error,
    mutated,
    posted,
    requests,
    strict,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from running import Running, answering, running
from starlette.testclient import TestClient

from isometry.serving.routes.embeddings import EmbeddingAnswer
from isometry.serving.routes.rerank import RankedText, RerankAnswer
from isometry.serving.routes.search import SearchAnswer
from isometry.serving.routes.writing import LineResult, StoredDocument
from isometry.serving.settings import Limits

MANY = int(os.environ.get("ISOMETRY_FUZZ", "300"))
Fuzzing = settings(
    max_examples=MANY,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
RANKED = TypeAdapter(RerankAnswer | list[RankedText])
# What must pass soon, so that nobody waits for it.
SHORT = Limits(body_bytes=20_000, body_seconds=0.3, header_bytes=4000)


@pytest.fixture(scope="module")
def space(tiny_space: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_space, tmp_path_factory.mktemp("fuzzed") / "docs"))


@pytest.fixture(scope="module")
def client(space: Path) -> Iterator[TestClient]:
    with answering(f"docs={space}", writable=True) as (one, _):
        yield one


@pytest.fixture(scope="module")
def wire(small_folder: Path) -> Iterator[Running]:
    with running(f"small={small_folder}", limits=SHORT) as one:
        yield one


@Fuzzing
@given(posted())
def test_bodies(client: TestClient, space: Path, sent: tuple[str, bytes, str, bytes]) -> None:
    method, target, kind, body = sent
    answer = ask(client, method, target, [(b"content-type", kind.encode())], body)
    check(answer, str(space))
    if answer.status < 300:
        check_content(target, answer)


def check_content(target: bytes, answer: Answer) -> None:
    """Fails where an answer is not what its route promises."""
    if target == b"/documents":
        for line in answer.body.splitlines():
            result = strict(line)
            LineResult.model_validate(result)
            if "error" in result:
                check_error(result["error"])
    elif target.startswith(b"/documents/"):
        StoredDocument.model_validate_json(answer.body)
    elif target.endswith(b"/rerank"):
        RANKED.validate_json(answer.body)
    elif target == b"/search":
        SearchAnswer.model_validate_json(answer.body)
    else:
        EmbeddingAnswer.model_validate_json(answer.body)


@Fuzzing
@given(requests())
def test_requests(
    client: TestClient, space: Path, sent: tuple[str, bytes, list[tuple[bytes, bytes]], bytes]
) -> None:
    check(ask(client, *sent), str(space))


def test_after_all_that_it_is_well(client: TestClient) -> None:
    answer = client.post("/search", json={"query": "push onto the heap"})
    assert answer.status_code == 200
    assert answer.json()["results"]
    assert 'status="500"' not in client.get("/metrics").text


def message(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", body])


BODY = b'{"input": "sort a list"}'
MESSAGES = [
    message(b"GET /healthz HTTP/1.1", b"Host: localhost"),
    message(b"GET /metrics?a=b HTTP/1.0", b"Host: localhost:80", b"Connection: keep-alive"),
    message(
        b"POST /v1/embeddings HTTP/1.1", b"Host: localhost", b"Content-Type: application/json",
        b"Content-Length: %d" % len(BODY), b"Connection: close", body=BODY,
    ),
    message(
        b"POST /rerank HTTP/1.1", b"Host: [::1]", b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        body=b"5\r\n{\"que\r\n3;a=b\r\nry\"\r\n0\r\nX-Trailer: a\r\n\r\n",
    ),
    message(
        b"POST /search HTTP/1.1", b"Host: localhost", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk",
        b"Connection: Upgrade, HTTP2-Settings", b"Content-Length: 2", body=b"{}",
    ),
    message(b"GET / HTTP/1.1", b"Host: localhost", b"Upgrade: websocket", b"Connection: Upgrade"),
    message(b"CONNECT localhost:443 HTTP/1.1", b"Host: localhost"),
    message(b"OPTIONS * HTTP/1.1", b"Host: localhost"),
    message(b"GET http://localhost/v1/models HTTP/1.1", b"Host: localhost"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    message(b"GET /documents/\xc3\xa9 HTTP/1.1", b"Host: localhost"),
]  # fmt: skip


# Ends what came before it, if that can be ended, and the connection.
LAST = message(b"GET /healthz HTTP/1.1", b"Host: localhost", b"Connection: close")


@settings(Fuzzing, max_examples=max(5, MANY // 50))
@given(st.lists(st.sampled_from(MESSAGES).flatmap(mutated), min_size=20, max_size=20))
def test_bytes(wire: Running, sent: list[bytes]) -> None:
    with contextlib.ExitStack() as stack:
        # All at once, so that those which are given up after a while are so together.
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", wire.port), DEADLINE))
            for _ in sent
        ]
        for connection, data in zip(connections, sent, strict=True):
            # Who is refused early may hear of it while still sending.
            with contextlib.suppress(ConnectionError):
                connection.sendall(data + LAST)
        for connection, data in zip(connections, sent, strict=True):
            for answer in heard(connection):
                assert answer.status < 500, data
                assert "x-request-id" in answer.headers, data
                if answer.status >= 400 and answer.body:
                    check(answer)


def heard(connection: socket.socket) -> list[Answer]:
    """What a server says until it closes."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            received += more
    answers: list[Answer] = []
    for each in re.split(rb"(?=HTTP/1\.1 \d{3} )", received)[1:]:
        head, _, body = each.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if not first.endswith("100 Continue"):
            answers.append(Answer(int(first.split()[1]), headers, body))
    return answers
