"""What uvicorn leaves open before a request is one: slow, huge and too many headers."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from isometry.serving.errors import error_response
from isometry.serving.settings import Limits


def bounded_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP/1.1 with bounds on headers and connections.

    A connection that has not sent its headers in time is closed, one whose headers do not end is
    told so, and one too many is closed at once.
    """

    class Bounded(HttpToolsProtocol):
        _waiting: asyncio.TimerHandle | None = None
        _in_headers = True
        _seen = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._headers_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self._in_headers or self.transport.is_closing():
                return
            self._seen += len(data)
            if self._seen > limits.header_bytes:
                self._refuse(431, "The headers are too large.")
            elif self._waiting is None:
                self._expect_headers()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_headers = True

        def on_headers_complete(self) -> None:
            self._in_headers = False
            self._seen = 0
            self._headers_came()
            super().on_headers_complete()

        def send_400_response(self, msg: str) -> None:
            del msg
            self._refuse(400, "This is no HTTP/1.1 request.")

        def _expect_headers(self) -> None:
            self._waiting = self.loop.call_later(limits.body_seconds, self._too_slow)

        def _headers_came(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _too_slow(self) -> None:
            self._waiting = None
            if not self.transport.is_closing():
                self.transport.close()

        def _refuse(self, status: int, message: str) -> None:
            answer: Any = error_response(status, message)
            lines = [f"HTTP/1.1 {status} Refused".encode(), b"connection: close"]
            lines += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"", answer.body]))
            self.transport.close()

    return Bounded
