"""`POST /v1/embeddings`, as OpenAI's clients send it."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Response
from jaxtyping import Float
from pydantic import BaseModel, Discriminator, Field, Tag

from isometry.serving.errors import invalid
from isometry.serving.json_body import StrictRoute
from isometry.serving.model import shorten
from isometry.serving.routes.shapes import (
    FIRST_ERROR,
    STRICT,
    TheEmbedder,
    TheModels,
    Usage,
    json_answer,
)

router = APIRouter(route_class=StrictRoute, tags=["embeddings"])

# So many numbers are written faster than another thread could begin.
_AT_ONCE = 32 * 1024


def _kind(given: Any) -> str | None:
    """Which of its four shapes an input has, by its first part, so that one complaint is made."""
    if isinstance(given, str):
        return "<text>"
    if not isinstance(given, list):
        return None
    first = given[0] if given else ""
    return {int: "<ids>", bool: "<ids>", list: "<lists of ids>"}.get(type(first), "<texts>")


Input = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], FIRST_ERROR, Tag("<texts>")]
    | Annotated[list[int], FIRST_ERROR, Tag("<ids>")]
    | Annotated[list[Annotated[list[int], FIRST_ERROR]], FIRST_ERROR, Tag("<lists of ids>")],
    Discriminator(
        _kind,
        custom_error_type="input_type",
        custom_error_message="Input should be a text, texts, or the token ids of one or several",
    ),
]


class EmbeddingRequest(BaseModel):
    """Texts to encode."""

    model_config = STRICT | {
        "json_schema_extra": {
            "examples": [
                {"model": "docs-space", "input": "how do I rotate the keys", "input_type": "query"},
                {"model": "docs-space", "input": ["one text", "another"], "dimensions": 64},
            ]
        }
    }

    input: Input = Field(description="A text, texts, the token ids of a text, or those of several.")
    model: str | None = Field(
        None, description="A name out of /v1/models; may be left away where there is one only."
    )
    dimensions: int | None = Field(
        None, description="Cut vectors to this width, and give them length 1 again."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        "float", description="Lists of numbers, or float32 in little-endian order as base64."
    )
    user: str | None = Field(None, description="Ignored.")
    input_type: Literal["query", "document"] | None = Field(
        "document", description="Whose prompt of the model's own is put before a text."
    )
    truncate: bool | None = Field(
        False, description="Cut what the model cannot read; it is an error otherwise."
    )


class Embedding(BaseModel):
    """One text's vector."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(examples=[0])
    embedding: list[float] | str = Field(examples=[[0.6, 0.8]])


class EmbeddingAnswer(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str = Field(examples=["docs-space"])
    usage: Usage


@router.post("/v1/embeddings", response_model=EmbeddingAnswer)
async def embed(asked: EmbeddingRequest, models: TheModels, embedder: TheEmbedder) -> Response:
    """Unit vectors of texts."""
    model = models.get(asked.model)
    model.check_dimensions(asked.dimensions)
    inputs, places = _inputs(asked.input)
    vectors, tokens = await embedder.vectors(
        model,
        inputs,
        asked.input_type or "document",
        places,
        truncate=bool(asked.truncate),
    )
    vectors = shorten(vectors, asked.dimensions)

    def answer() -> Response:
        data = [
            {"object": "embedding", "index": index, "embedding": each}
            for index, each in enumerate(_written(vectors, asked.encoding_format == "base64"))
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_answer(
            {"object": "list", "data": data, "model": model.source.name, "usage": usage}
        )

    return answer() if vectors.size <= _AT_ONCE else await asyncio.to_thread(answer)


def _inputs(given: Any) -> tuple[list[str] | list[list[int]], list[str]]:
    """The texts or token ids, each of its own, and where each stands in the request."""
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        inputs, places = [given], ["input"]
    else:
        inputs, places = given, [f"input.{number}" for number in range(len(given))]
    if not inputs:
        raise invalid("input is empty.", "input", "empty_input")
    for each, place in zip(inputs, places, strict=True):
        if not each:
            raise invalid(f"{place} is empty.", place, "empty_input")
    return inputs, places


def _written(vectors: Float[np.ndarray, "texts dim"], as_base64: bool) -> list[Any]:
    if not as_base64:
        return vectors.tolist()
    little = np.ascontiguousarray(vectors, dtype="<f4")
    return [base64.b64encode(vector.tobytes()).decode("ascii") for vector in little]
