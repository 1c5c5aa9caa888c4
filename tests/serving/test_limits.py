"""What arrives over a socket that no HTTP library would send."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Running, answering, held, running, sample, until
from starlette.testclient import TestClient

from isometry.serving.limits import Guard
from isometry.serving.settings import Limits, Settings

TOKEN = "a-token-of-some-length"
# What must pass soon in these tests, so that nobody waits for it.
SHORT = Limits(body_bytes=20_000, body_seconds=0.3, header_bytes=4000, connections=5)


@pytest.fixture(scope="module")
def short(small_folder: Path) -> Iterator[Running]:
    with running(f"small={small_folder}", limits=SHORT) as one:
        yield one


def say(server: Running, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """Sends bytes as they are, and reads until the server closes; (0, {}) without an answer."""
    received = b""
    # A server that closes while more is being sent resets the connection.
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        for part in parts:
            connection.sendall(part)
        while more := connection.recv(65536):
            received += more
    if not received:
        return 0, {}
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def post(*headers: str, path: str = "/v1/embeddings") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             "Connection: close", *headers]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_body_that_never_ends_is_given_up(short: Running) -> None:
    status, answer = say(short, post("Content-Length: 100"), b'{"input"')
    assert (status, answer["error"]["code"]) == (408, "body_timeout")
    chunked = post("Transfer-Encoding: chunked")
    assert say(short, chunked, b'5\r\n{"inp\r\n')[0] == 408


def test_a_body_that_goes_on_after_its_answer_is_given_up(short: Running) -> None:
    """Who is refused before his body came must not hold the connection with the rest of it."""
    head = post("Content-Length: 100").replace(b"close", b"keep-alive")
    head = head.replace(b"localhost", b"elsewhere.example")
    with socket.create_connection(("127.0.0.1", short.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 403")
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                connection.sendall(b" ")
                time.sleep(0.05)
            assert connection.recv(65536) == b""


def test_headers_that_never_end_are_given_up(short: Running) -> None:
    assert say(short) == (0, {})
    assert say(short, b"POST /v1/embeddings HT") == (0, {})
    assert say(short, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ") == (0, {})


def test_headers_of_any_size_are_not_kept(short: Running) -> None:
    huge = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 300_000
    assert say(short, huge)[0] in (0, 431)
    status, answer = say(short, b"GET /" + b"a" * 8000)
    assert (status, answer["error"]["type"]) == (431, "invalid_request_error")


def test_what_is_no_http_gets_an_error_object(short: Running) -> None:
    status, answer = say(short, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


def test_who_is_refused_early_gets_an_id_and_headers_too(short: Running) -> None:
    for data in (b"\x16\x03\x01", b"GET /" + b"a" * 8000):
        with socket.create_connection(("127.0.0.1", short.port)) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionError):
                while more := connection.recv(65536):
                    received += more
        head = received.partition(b"\r\n\r\n")[0].lower()
        assert re.search(rb"\r\nx-request-id: [0-9a-f]{16}(\r\n|$)", head)
        assert b"\r\nx-content-type-options: nosniff" in head


@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
@pytest.mark.parametrize("whole", [True, False])
def test_who_offers_another_protocol_is_answered_in_this_one(
    short: Running, offer: bytes, whole: bool
) -> None:
    """As Java's client does with every request: its body is read, and the next request too."""
    body = b'{"input": "a", "dimensions": 2}'
    head = post(
        f"Upgrade: {offer.decode()}",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        f"Content-Length: {len(body)}",
    ).replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings")
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", short.port)) as connection:
        if whole:
            connection.sendall(head + body + last)
        else:
            connection.sendall(head)
            connection.sendall(body)
            connection.sendall(last)
        received = b""
        while more := connection.recv(65536):
            received += more
    first, second = re.split(rb"(?=HTTP/1\.1 \d)", received)[1:]
    answer = json.loads(first.partition(b"\r\n\r\n")[2])
    assert len(answer["data"][0]["embedding"]) == 2
    assert json.loads(second.partition(b"\r\n\r\n")[2]) == {"status": "ok"}


def test_many_offers_at_once_are_each_answered(short: Running) -> None:
    offer = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", short.port)) as connection:
        connection.sendall(offer * 500 + last)
        received = b""
        while more := connection.recv(65536):
            received += more
    assert received.count(b"HTTP/1.1 200") == 501


def test_this_is_no_proxy(short: Running) -> None:
    for target in ("localhost:443", "/healthz"):
        status, answer = say(
            short, f"CONNECT {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


def test_a_length_of_any_number_of_digits_is_too_large(guarded: tuple[TestClient, Any]) -> None:
    client, _ = guarded
    for length in ("9" * 12, "9" * 5000):
        answer = client.get("/healthz", headers={"content-length": length})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_too_many_connections_are_closed(short: Running) -> None:
    until(lambda: not short.server.server_state.connections)
    held_open = [socket.create_connection(("127.0.0.1", short.port)) for _ in range(5)]
    try:
        until(lambda: len(short.server.server_state.connections) == 5)
        assert say(short, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == (0, {})
    finally:
        for each in held_open:
            each.close()


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("size", [20_001, 60_000, 10**6])
def test_a_body_that_is_too_large_is_told_so(short: Running, size: int, declared: bool) -> None:
    until(lambda: not short.server.server_state.connections)
    if declared:
        parts = [post(f"Content-Length: {size}"), b"a" * min(size, 70_000)]
    else:
        chunk = b"2710\r\n" + b"a" * 10_000 + b"\r\n"
        parts = [
            post("Transfer-Encoding: chunked"),
            chunk * min(1 + size // 10_000, 9),
            b"0\r\n\r\n",
        ]
    status, answer = say(short, *parts)
    assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert "20,000" in answer["error"]["message"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity", "x"])
def test_packed_bodies_are_not_unpacked(short: Running, coding: str) -> None:
    bomb = gzip.compress(b'{"input": "' + b"a" * 10**6 + b'"}')
    head = post(f"Content-Encoding: {coding}", f"Content-Length: {len(bomb)}")
    status, answer = say(short, head, bomb)
    assert (status, answer["error"]["code"]) == (415, "content_encoding")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("localhost:8000", True), ("127.0.0.1:8000", True),
        ("[::1]:8000", True), ("LOCALHOST", True), ("127.0.0.1", True),
        ("evil.example", False), ("localhost.evil.example", False), ("192.168.0.7", False),
        ("evil.example:127", False), ("[::2]", False), ("", False), ("a]b", False),
        ("[::1].evil.example", False), ("[::1]:80.evil.example", False), ("[::1]]", False),
        ("localhost:80.evil.example", False), ("localhost:", True), ("[::1]", True),
    ],
)  # fmt: skip
def test_a_name_of_elsewhere_is_not_this_machine(
    guarded: tuple[TestClient, Any], host: str, allowed: bool
) -> None:
    client, _ = guarded
    for path in ("/healthz", "/v1/models"):
        headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
        answer = client.get(path, headers=headers)
        assert answer.status_code == (200 if allowed else 403), (path, answer.text)


def test_who_names_two_hosts_is_refused(short: Running) -> None:
    for more in ("evil.example", "localhost"):
        status, answer = say(short, post(f"Host: {more}", "Content-Length: 2"), b"{}")
        assert (status, answer["error"]["code"]) == (400, "several_hosts")


@pytest.fixture(scope="module")
def guarded(small_folder: Path) -> Iterator[tuple[TestClient, Any]]:
    """Needs a token, and lets one request in at a time."""
    limits = Limits(request_seconds=30, concurrent=1)
    with answering(f"small={small_folder}", token=TOKEN, limits=limits) as both:
        yield both


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     "Bearer \xe9\xe9"],
)  # fmt: skip
def test_without_the_token_nothing_is_told(guarded: tuple[TestClient, Any], given: str) -> None:
    client, _ = guarded
    headers = {"authorization": given.encode("latin-1")} if given else {}
    for method, path in (("POST", "/v1/embeddings"), ("GET", "/metrics"), ("GET", "/openapi.json"),
                         ("GET", "/v1/models"), ("GET", "/nope")):  # fmt: skip
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "authentication_error"
    # Whoever watches over processes has no token.
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert client.get("/v1/models", headers={"authorization": f"bearer {TOKEN}"}).is_success


def test_one_too_many_at_once_is_asked_to_come_again(guarded: tuple[TestClient, Any]) -> None:
    client, state = guarded
    client.headers["authorization"] = f"Bearer {TOKEN}"
    answers: list[Any] = []

    def ask() -> None:
        answers.append(client.post("/v1/embeddings", json={"input": "a"}))

    with held(state.models):
        first = threading.Thread(target=ask)
        first.start()
        engine = state.models.loaded[0].engine
        until(lambda: engine.waiting_tokens > 0)
        refused = client.post("/v1/embeddings", json={"input": "b"})
        assert client.get("/readyz").status_code == 200
    first.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert answers[0].status_code == 200


def test_what_takes_too_long_ends_and_leaves_the_queue(small_folder: Path) -> None:
    with answering(f"small={small_folder}", limits=Limits(request_seconds=0.05)) as (client, state):
        engine = state.models.loaded[0].engine
        with held(state.models):
            answer = client.post("/v1/embeddings", json={"input": "a"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline")
            assert engine.waiting_tokens == 0
        assert sample(client, "isometry_requests_total", status="504") == 1


def test_an_answer_in_parts_has_its_time_for_each() -> None:
    sent: list[bytes] = []

    async def drips(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b", b"c", b"d"):
            await asyncio.sleep(0.4)
            await send({"type": "http.response.body", "body": part, "more_body": True})
        # And then nothing, for ever.
        await asyncio.Event().wait()

    async def client() -> None:
        waiting = asyncio.Event()
        arrived = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            if (message := next(arrived, None)) is not None:
                return message
            return await waiting.wait()

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        scope = {"type": "http", "path": "/documents", "headers": [(b"host", b"localhost")]}
        await Guard(drips, Settings(limits=Limits(request_seconds=1)))(scope, receive, send)

    asyncio.run(asyncio.wait_for(client(), 60))
    assert b"".join(sent) == b"abcd"


def test_a_client_that_goes_away_leaves_the_queue(short: Running) -> None:
    until(lambda: not short.server.server_state.connections)
    app: Any = short.server.config.app
    models = app._app._app.state.models
    engine = models.loaded[0].engine
    body = b'{"input": "nobody waits for this"}'
    with held(models):
        with socket.create_connection(("127.0.0.1", short.port)) as connection:
            connection.sendall(post(f"Content-Length: {len(body)}") + body)
            until(lambda: engine.waiting_tokens > 0)
        until(lambda: engine.waiting_tokens == 0)
