"""Around every request: an id, headers, a line in the log, the metrics; no error leaves naked."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
import traceback
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isometry.core.clock import utc
from isometry.serving.errors import error_response
from isometry.serving.limits import ClientGoneError
from isometry.serving.metrics import Metrics

REQUEST_ID = "x-request-id"
_GIVEN_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# What nginx calls a client that went away.
_GONE = 499
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_log = logging.getLogger(__name__)


def new_id() -> str:
    """An id for a request that came without one."""
    return secrets.token_hex(8)


class Observer:
    """Names, counts and logs requests; what fails inside becomes an answer of status 500.

    Args:
        app: What answers.
        metrics: Where requests are counted.
        routes: The paths that there are: others share one label.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request be answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # RFC 9110, section 9.1; the server sends no body.
            scope = {**scope, "method": "GET"}
        given = Headers(scope=scope).get(REQUEST_ID, "")
        name = given if _GIVEN_ID.fullmatch(given) else new_id()
        start = time.perf_counter()
        status = 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = name
                for key, value in HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        self._metrics.started()
        try:
            await self._app(scope, receive, dressed)
        except ClientGoneError:
            status = _GONE
        except Exception as error:
            _log.error("failed", extra={"id": name, "error": _where(error)})
            if not status:
                await error_response(500)(scope, receive, dressed)
        finally:
            seconds = time.perf_counter() - start
            route = self._route(scope)
            self._metrics.answered(route, status or _GONE, seconds)
            _log.info(
                "request",
                extra={
                    "id": name,
                    "method": scope["method"] if scope["method"].isalpha() else "?",
                    "route": route,
                    "status": status or _GONE,
                    "ms": round(1000 * seconds, 2),
                },
            )

    def _route(self, scope: Scope) -> str:
        path = getattr(scope.get("route"), "path", scope["path"])
        return path if path in self._routes else "other"


def _where(error: Exception) -> str:
    """Kind and place of an error: its message may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {places}"


class JsonLines(logging.Formatter):
    """A JSON object a line: time, level, event, and what the event carries."""

    _OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {
        "message",
        "taskName",
    }

    def format(self, record: logging.LogRecord) -> str:
        """One record; an exception becomes its kind and place."""
        line: dict[str, Any] = {
            "time": utc(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in self._OWN}
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            line["error"] = _where(record.exc_info[1])
        line.pop("color_message", None)
        return json.dumps(line, default=str)


def log_to_stderr(*, requests: bool) -> None:
    """Lets the server's log go to standard error, as JSON lines.

    Args:
        requests: Whether every request is a line; errors are in any case.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("isometry.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    _log.setLevel(logging.INFO if requests else logging.ERROR)
