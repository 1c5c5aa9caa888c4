"""A server on loopback that speaks as much of OpenAI's protocol as a writer of queries needs."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the server answers to one request; `trickle` never comes to an end."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    trickle: bool = False


def completion(content: Any) -> Reply:
    """A chat completion with this text."""
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": content},
    }
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return Reply(body=json.dumps(body).encode())


def failure(status: int, **headers: str) -> Reply:
    """An error, after which one may come back at once."""
    return Reply(status, b'{"error": {"message": "no"}}', {"retry-after-ms": "1"} | headers)


class QueryServer(ThreadingHTTPServer):
    """Answers each prompt by `reply`, and notes every request."""

    daemon_threads = True

    def __init__(self, reply: Callable[[str], Reply], models: Reply | list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.models = models
        self.prompts: list[str] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: QueryServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._note()
        models = self.server.models
        if isinstance(models, Reply):
            self._send(models)
        elif self.path == "/v1/models":
            listed = [
                {"id": name, "object": "model", "created": 0, "owned_by": "me"} for name in models
            ]
            self._send(Reply(body=json.dumps({"object": "list", "data": listed}).encode()))
        else:
            self._send(Reply(404))

    def do_POST(self) -> None:
        self._note()
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = asked["messages"][-1]["content"]
        self.server.prompts.append(prompt)
        self._send(self.server.reply(prompt))

    def _note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers))

    def _send(self, reply: Reply) -> None:
        headers = {"content-type": "application/json"} | reply.headers
        length = 10**6 if reply.trickle else len(reply.body)
        with contextlib.suppress(OSError):
            self.send_response(reply.status)
            for name, value in {**headers, "content-length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            while reply.trickle and not self.server.released.wait(0.02):
                self.wfile.write(b" ")


@contextlib.contextmanager
def serving(
    reply: Callable[[str], Reply], models: Reply | list[str] | None = None
) -> Iterator[QueryServer]:
    """Runs a server in a thread."""
    with QueryServer(reply, ["writer"] if models is None else models) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
