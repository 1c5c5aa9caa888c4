"""Bodies of requests: strict JSON, and nothing that costs much before it is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from isometry.serving.errors import invalid

# One that is never closed ends with the text, so that no quote is looked at twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
# A smaller body is parsed sooner than another thread could begin.
_AT_ONCE = 64 * 2**10


def parse(body: bytes, depth: int) -> Any:
    """The value of a JSON text.

    Args:
        body: The text.
        depth: How many lists and objects may stand within each other.

    Raises:
        ApiError: For what is no JSON: other encodings than UTF-8, NaN, infinity, halves of
            surrogate pairs, nesting beyond the depth.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"The body is no UTF-8 (byte {error.start}).", None, "invalid_utf8") from None
    if nesting(body, depth) > depth:
        raise invalid(f"The body nests more than {depth} levels.", None, "json_too_deep")
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        # The parser names what it found and where, and repeats nothing of the text.
        raise invalid(f"The body is no JSON: {error}.", None, "invalid_json") from None


async def parse_aside(body: bytes, depth: int) -> Any:
    """As `parse`, in another thread where it takes long."""
    if len(body) <= _AT_ONCE:
        return parse(body, depth)
    return await asyncio.to_thread(parse, body, depth)


def nesting(body: bytes, enough: int = 0) -> int:
    """How many lists and objects stand within each other, as long as there are many brackets.

    Args:
        body: A JSON text.
        enough: With no more brackets than this, they are only counted.
    """
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= enough:
        return brackets
    letters = np.frombuffer(_STRING.sub(b"", body), dtype=np.uint8)
    opened = (letters == ord("[")) | (letters == ord("{"))
    closed = (letters == ord("]")) | (letters == ord("}"))
    steps = opened.astype(np.int32) - closed
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


class StrictRequest(Request):
    """A request whose JSON is parsed by `parse`."""

    async def json(self) -> Any:
        """The value of the body."""
        depth = self.app.state.settings.limits.json_depth
        return await parse_aside(await self.body(), depth)


class StrictRoute(APIRoute):
    """A route that takes strict JSON only."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, given a `StrictRequest`."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
