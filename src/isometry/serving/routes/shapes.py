"""What requests and answers have in common, and how a route reaches the server's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema
from pydantic_core import to_json

from isometry.serving.embedding import Embedder
from isometry.serving.models import Models
from isometry.serving.settings import Limits

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

# Wrong types are errors; what is not known is ignored, for clients send more than is needed.
STRICT = ConfigDict(strict=True, extra="ignore")
# Of a list: to collect what is wrong with each of a million parts would take minutes. Pydantic's
# own `FailFast` cannot stand in a union.
FIRST_ERROR = GetPydanticSchema(
    lambda source, handler: cast("CoreSchema", {**handler(source), "fail_fast": True})
)


class Usage(BaseModel):
    """Tokens, prompts and special tokens included."""

    prompt_tokens: int = Field(examples=[12])
    total_tokens: int = Field(examples=[12])


# The framework calls a plain function in another thread, which takes longer than all else here.
async def _models(request: Request) -> Models:
    return request.app.state.models


async def _embedder(request: Request) -> Embedder:
    return request.app.state.embedder


async def _limits(request: Request) -> Limits:
    return request.app.state.settings.limits


TheModels = Annotated[Models, Depends(_models)]
TheEmbedder = Annotated[Embedder, Depends(_embedder)]
TheLimits = Annotated[Limits, Depends(_limits)]


def json_answer(value: Any) -> Response:
    """An answer that is JSON already."""
    return Response(to_json(value), media_type="application/json")
