"""What requests and answers have in common, and how a route reaches the server's parts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from isometry.serving.embedding import Embedder
from isometry.serving.models import Models
from isometry.serving.settings import Limits

# Wrong types are errors; what is not known is ignored, for clients send more than is needed.
STRICT = ConfigDict(strict=True, extra="ignore")


class Usage(BaseModel):
    """Tokens, prompts and special tokens included."""

    prompt_tokens: int = Field(examples=[12])
    total_tokens: int = Field(examples=[12])


def _models(request: Request) -> Models:
    return request.app.state.models


def _embedder(request: Request) -> Embedder:
    return request.app.state.embedder


def _limits(request: Request) -> Limits:
    return request.app.state.settings.limits


TheModels = Annotated[Models, Depends(_models)]
TheEmbedder = Annotated[Embedder, Depends(_embedder)]
TheLimits = Annotated[Limits, Depends(_limits)]


def json_answer(value: Any) -> Response:
    """An answer that is JSON already."""
    return Response(to_json(value), media_type="application/json")
