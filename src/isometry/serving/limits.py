"""What every request must pass before it is looked at, as plain ASGI."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isometry.serving.errors import ApiError, busy
from isometry.serving.settings import Settings, is_loopback

# What tells whether a process lives may be asked by anybody, and must be answered under load.
OPEN = frozenset({"/healthz", "/readyz"})
# The page holds nothing: what it shows it asks for, with a token where one is needed.
PAGE = frozenset({"/", "/page.css", "/page.js"})
# A name or an address, and a port.
_HOST = re.compile(r"(\[[^][]*\]|[^][:]*)(?::\d*)?")
# Bodies that wait for their end, all together, in units of the largest.
_BODIES = 32
# A client that sends somewhat too much hears why, if it is let finish.
_OVERRUN = 4


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Guard:
    """Bounds on who asks, how much arrives, and how long an answer takes.

    The body is read here, whole, so that no route sees an unfinished one. A client that goes away
    cancels its request.

    Args:
        app: What answers.
        settings: The bounds.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._limits = settings.limits
        self._token = settings.token.encode()
        self._answering = 0
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets it be answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._buffered + size > _BODIES * self._limits.body_bytes:
                raise busy("Too many bodies are arriving.", 1, "too_many_bodies")
            held += size
            self._buffered += size

        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            if scope["path"] not in OPEN | PAGE:
                self._check_token(headers)
            body = await self._body(headers, receive, hold)
            await self._bounded(scope, body, receive, send)
        except ApiError as error:
            await error.response()(scope, receive, send)
        finally:
            self._buffered -= held

    def _check_host(self, headers: Headers) -> None:
        """Refuses what a page elsewhere sent to this machine by a name of its own (rebinding)."""
        hosts = headers.getlist("host")
        if len(hosts) > 1:
            raise ApiError(400, "Send one Host header.", code="several_hosts")
        if not self._settings.on_loopback:
            return
        named = _HOST.fullmatch("".join(hosts))
        if named is None or not is_loopback(named[1]):
            raise ApiError(
                403, "A server on loopback answers to localhost only.", code="host_not_allowed"
            )

    def _check_token(self, headers: Headers) -> None:
        if not self._token:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._token)
        if scheme.lower() != "bearer" or not same:
            raise ApiError(
                401,
                "Send the server's token as Authorization: Bearer TOKEN.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, headers: Headers, receive: Receive, hold: Callable[[int], None]) -> bytes:
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            raise ApiError(
                415, "Send the body as it is, without Content-Encoding.", code="content_encoding"
            )
        most = self._limits.body_bytes
        said = headers.get("content-length", "0")
        # Python refuses to read numbers of thousands of digits.
        if said.isdecimal() and (len(said) > 20 or int(said) > _OVERRUN * most):
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await _read(receive, most, hold)
        except TimeoutError:
            raise ApiError(
                408,
                f"The body took longer than {self._limits.body_seconds:g} s to arrive.",
                code="body_timeout",
                headers={"Connection": "close"},
            ) from None

    async def _bounded(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Lets the request be answered, as long as somebody waits and there is time."""
        if scope["path"] in OPEN:
            await self._app(scope, _replay(body), send)
            return
        if self._answering >= self._limits.concurrent:
            raise busy("Too many requests are under way.", 1, "too_many_requests")
        started = False
        clock = asyncio.get_running_loop().time
        end = clock() + self._limits.request_seconds

        async def noticed(message: Message) -> None:
            nonlocal started, end
            started = True
            end = clock() + self._limits.request_seconds
            await send(message)

        self._answering += 1
        answer = asyncio.ensure_future(self._app(scope, _replay(body), noticed))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            while not answer.done() and not gone.done() and (left := end - clock()) > 0:
                await asyncio.wait(
                    {answer, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
            if answer.done():
                await answer
                return
            answer.cancel()
            await asyncio.wait({answer})
            if gone.done():
                raise ClientGoneError
            if not started:
                raise ApiError(
                    504,
                    f"There was no answer within {self._limits.request_seconds:g} s.",
                    code="deadline",
                )
        finally:
            self._answering -= 1
            answer.cancel()
            gone.cancel()


def _replay(body: bytes) -> Receive:
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            # Who asks again wants to know whether the client is gone; then it is cancelled.
            await asyncio.Event().wait()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive, most: int, hold: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        more = message.get("more_body", False)
        if size > _OVERRUN * most:
            break
        if size <= most:
            hold(len(part))
            parts.append(part)
        else:
            parts.clear()
    if size > most:
        raise _too_large(most)
    return b"".join(parts)


def _too_large(most: int) -> ApiError:
    return ApiError(
        413,
        f"The body is larger than {most:,} bytes; send several requests.",
        code="body_too_large",
        headers={"Connection": "close"},
    )
