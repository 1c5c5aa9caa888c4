"""`GET /`: the page to search and see; it holds nothing itself, and asks this server for all."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
}


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _file(request, "page.html")


@router.get("/page.css")
async def style(request: Request) -> Response:
    """How it looks."""
    return _file(request, "page.css")


@router.get("/page.js")
async def script(request: Request) -> Response:
    """What it does."""
    return _file(request, "page.js")


@cache
def _read(name: str) -> tuple[bytes, str]:
    """A file of the page, and the tag of its content."""
    content = files("isometry.serving").joinpath("page", name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _file(request: Request, name: str) -> Response:
    content, tag = _read(name)
    # Asked for again each time, so that page and server are of one version; mostly answered by 304.
    headers = {"etag": tag, "cache-control": "no-cache", "content-security-policy": _POLICY}
    known = request.headers.get("if-none-match", "")
    if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_TYPES[name], headers=headers)
