"""What uvicorn leaves open before a request is one: slow and huge headers, other protocols."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from isometry.serving.errors import error_response
from isometry.serving.observing import HEADERS, REQUEST_ID, new_id
from isometry.serving.settings import Limits


class _Parser(httptools.HttpRequestParser):
    """The parser, which remembers what follows the headers of who offers another protocol."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        super().__init__(protocol)
        self.rest = b""
        # As uvicorn's own.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes | bytearray | memoryview[int] | array[int]) -> None:
        """Reads what came."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self.rest = bytes(data[offered.args[0] :])
            raise


def bounded_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP/1.1 with bounds on headers and connections.

    A connection that has not sent its headers in time is closed, or a body that was answered
    already; one whose headers do not end is told so, and one too many is closed at once. Who offers
    another protocol, as Java's client does with each request, is answered in this one.
    """

    class Bounded(HttpToolsProtocol):
        _waiting: asyncio.TimerHandle | None = None
        _in_headers = True
        _in_body = False
        _seen = 0
        # The headers of who offers another protocol, without the offer.
        _again = b""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.parser = _Parser(self)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._headers_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            while self._again and not self.transport.is_closing():
                # The parser takes what follows for the other protocol: another one reads it.
                data, self._again = self._again + self.parser.rest, b""
                self.parser = _Parser(self)
                super().data_received(data)
            if self.transport.is_closing():
                return
            if not self._in_headers:
                self._expect_end()
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
            if self.parser.should_upgrade():
                self._again = self._without_offer()
                return
            self._in_headers, self._in_body = False, True
            self._seen = 0
            self._headers_came()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_body = False
            if not self._again:
                super().on_message_complete()

        def _without_offer(self) -> bytes:
            method = self.parser.get_method()
            if method == b"CONNECT":
                raise ValueError("this is no proxy")
            version = self.parser.get_http_version().encode()
            lines = [b" ".join((method, self.url, b"HTTP/" + version))]
            lines += [
                name + b": " + (value if name != b"connection" else _kept(value))
                for name, value in self.headers
                if name != b"upgrade"
            ]
            return b"\r\n".join([*lines, b"", b""])

        def _unsupported_upgrade_warning(self) -> None:
            """Leaves it unsaid: the request is answered."""

        def send_400_response(self, msg: str) -> None:
            del msg
            self._refuse(400, "This is no HTTP/1.1 request.")

        def _expect_headers(self) -> None:
            self._waiting = self.loop.call_later(limits.body_seconds, self._too_slow)

        def _expect_end(self) -> None:
            """Bounds how long what was answered already may go on, or stay without another.

            Uvicorn does that when it answers, and forgets it when more of the body comes.
            """
            if self.cycle is None or not self.cycle.response_complete or self.pipeline:
                return
            if self._in_body:
                if self._waiting is None:
                    self._expect_headers()
                return
            self._headers_came()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def _headers_came(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _too_slow(self) -> None:
            self._waiting = None
            if not self.transport.is_closing():
                self.transport.close()

        def _refuse(self, status: int, message: str) -> None:
            named = HEADERS | {REQUEST_ID: new_id()}
            answer: Any = error_response(status, message, headers=named)
            lines = [f"HTTP/1.1 {status} Refused".encode(), b"connection: close"]
            lines += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*lines, b"", answer.body]))
            self.transport.close()

    return Bounded


def _kept(options: bytes) -> bytes:
    """A connection's options without the offer of another protocol."""
    kept = [each.strip() for each in options.split(b",")]
    return b", ".join(each for each in kept if each.lower() not in (b"upgrade", b"http2-settings"))
