"""Which models there are, and how the server is."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from isometry.serving.errors import busy
from isometry.serving.metrics import CONTENT_TYPE
from isometry.serving.model import Model
from isometry.serving.routes.shapes import TheModels

router = APIRouter(tags=["status"])


class ModelEntry(BaseModel):
    """One model, in OpenAI's shape and with what OpenAI does not say."""

    id: str = Field(examples=["docs-space"])
    object: Literal["model"] = "model"
    created: int = Field(examples=[1764000000], description="When it was loaded.")
    owned_by: Literal["isometry"] = "isometry"
    kind: Literal["space", "encoder"] = Field(description="Only a Space can be searched.")
    dimensions: int = Field(examples=[384])
    nested_dimensions: list[int] | None = Field(
        examples=[[384, 192, 96]], description="Widths to cut to; null where any is allowed."
    )
    max_tokens: int | None = Field(examples=[256])
    precision: Literal["float32", "bfloat16"]
    fingerprint: str = Field(description="A hash of all that decides a vector.")
    passages: int | None = Field(examples=[5000], description="What a Space searches.")
    base_of: str | None = Field(
        description="The Space whose documents are searched here by the model its fit began with."
    )
    writable: bool = Field(description="Whether documents are taken; see PUT /documents/{id}.")


class ModelList(BaseModel):
    """The models that are ready."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class Health(BaseModel):
    """Whether all is well."""

    status: Literal["ok"] = "ok"


def _entry(model: Model) -> ModelEntry:
    return ModelEntry(
        id=model.source.name,
        created=model.created,
        kind="space" if model.opened else "encoder",
        dimensions=model.encoder.dim,
        nested_dimensions=None if model.dims is None else list(model.dims),
        max_tokens=model.encoder.max_tokens,
        precision=model.encoder.precision,
        fingerprint=model.fingerprint,
        passages=model.space.index.chunks if model.space else None,
        base_of=model.source.base_of,
        writable=model.store is not None,
    )


@router.get("/v1/models")
@router.get("/models")
async def list_models(models: TheModels) -> ModelList:
    """The models that are ready."""
    return ModelList(data=[_entry(model) for model in models.loaded])


@router.get("/v1/models/{name}")
async def one_model(name: str, models: TheModels) -> ModelEntry:
    """One model."""
    return _entry(models.get(name))


@router.get("/healthz")
async def healthz() -> Health:
    """The process lives."""
    return Health()


@router.get("/readyz")
async def readyz(models: TheModels) -> Health:
    """All models are loaded; 503 before."""
    if not models.ready:
        raise busy("Models are being loaded.", 1, "loading", status=503)
    return Health()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, models: TheModels) -> Any:
    """Counters for Prometheus."""
    for model in models.loaded:
        if model.store is not None:
            request.app.state.metrics.stored(
                model.source.name,
                waiting=model.store.waiting,
                failing=model.store.failure is not None,
                torn_bytes=model.store.recovered.torn_bytes,
            )
    return Response(request.app.state.metrics.text(), headers={"content-type": CONTENT_TYPE})
