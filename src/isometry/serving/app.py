"""The application: routes, what guards them, and what goes on in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp

import isometry
from isometry.core.errors import InputError
from isometry.serving.embedding import Embedder
from isometry.serving.errors import (
    ErrorBody,
    error_response,
    http_error_response,
    validation_error,
)
from isometry.serving.limits import Guard
from isometry.serving.metrics import Metrics
from isometry.serving.models import Models
from isometry.serving.observing import Observer
from isometry.serving.routes import (
    documents,
    embeddings,
    page,
    rerank,
    search,
    spaces,
    status,
    writing,
)
from isometry.serving.searching import Searcher
from isometry.serving.settings import Settings
from isometry.serving.sources import Source

_log = logging.getLogger(__name__)

_ABOUT = (
    "Embeddings, reranking and search by Spaces and encoders. Every error has OpenAI's error object"
    " as its body; every answer has the header X-Request-Id."
)


def create_app(
    sources: list[Source],
    settings: Settings,
    on_failure: Callable[[InputError], None] = lambda _: None,
) -> ASGIApp:
    """The whole application, with its models loading as soon as it is started.

    Args:
        sources: What it answers for.
        settings: Who may call it, and its limits.
        on_failure: Called when a model cannot be loaded at the start.
    """
    metrics = Metrics()
    models = Models(sources, settings, metrics)
    embedder = Embedder(settings.limits, metrics)
    searcher = Searcher()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        background = asyncio.create_task(_keep(models, settings, on_failure))
        try:
            yield
        finally:
            background.cancel()
            models.close()
            embedder.close()
            searcher.close()

    app = _Described(
        title="Isometry",
        version=isometry.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={
            "4XX": {"model": ErrorBody, "description": "The request cannot be answered as it is."},
            "5XX": {"model": ErrorBody, "description": "The server cannot answer it, or not now."},
        },
        exception_handlers=_HANDLERS,
    )
    app.state.settings = settings
    app.state.models = models
    app.state.embedder = embedder
    app.state.metrics = metrics
    app.state.searcher = searcher
    known: list[APIRoute] = []
    for routes in (embeddings, rerank, search, documents, writing, spaces, status, page):
        app.include_router(routes.router)
        known += [route for route in routes.router.routes if isinstance(route, APIRoute)]
    app.state.known = known
    paths = frozenset({"/openapi.json"} | {route.path for route in known})
    return Observer(Guard(app, settings), metrics, paths)


class _Described(FastAPI):
    """The framework's application, whose description has what stands in lines of a body too."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        about = super().openapi()
        about["components"]["schemas"] |= writing.LINES
        return about


async def _keep(
    models: Models, settings: Settings, on_failure: Callable[[InputError], None]
) -> None:
    """Loads the models, and from then on looks now and then whether a Space was changed."""
    try:
        await models.load()
    except InputError as error:
        on_failure(error)
        return
    # Whatever a damaged file makes a library raise: a server that waits for ever tells nobody.
    except Exception as error:
        _log.exception("models cannot be loaded")
        on_failure(InputError(f"The models cannot be loaded: {type(error).__name__}: {error}"))
        return
    while True:
        await asyncio.sleep(settings.limits.refresh_seconds)
        await models.refresh()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return validation_error(error.errors()).response()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        # The framework names the methods of one route only, but an address may have several.
        methods = {
            method
            for route in request.app.state.known
            if route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods
        }
        error.headers = {"Allow": ", ".join(sorted(methods))} if methods else error.headers
    return http_error_response(error)


async def _failed(_: Request, error: Exception) -> Response:
    del error
    return error_response(500)


_HANDLERS: dict[Any, Any] = {
    RequestValidationError: _invalid,
    HTTPException: _refused,
    Exception: _failed,
}
