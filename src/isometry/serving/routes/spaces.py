"""`GET /spaces/{name}/proof` and `/report`: what a Space's fit measured on held-out queries."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from isometry.report.proof import proof_figures
from isometry.serving.errors import ApiError
from isometry.serving.routes.shapes import TheModels
from isometry.space import Space

router = APIRouter(tags=["spaces"])

# The page has styles of its own and no script; it holds texts of documents, so that the browser is
# told to trust nothing in it.
_REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


class ProofRow(BaseModel):
    """A ranking on the held-out queries."""

    system: str = Field(examples=["tuned fused"])
    label: str = Field(examples=["Tuned, fused"])
    metrics: dict[str, float] = Field(examples=[{"ndcg@10": 0.762}])


class ProofDifference(BaseModel):
    """What tuning changed, with a 95 % interval over queries and over pages."""

    what: str = Field(examples=["tuned - base"])
    metric: str = Field(examples=["ndcg@10"])
    difference: float
    low: float | None = Field(description="None where all queries are of one group of pages.")
    high: float | None


class Proof(BaseModel):
    """The figures of a Space's fit."""

    space: str = Field(examples=["docs-space"])
    headline: str = Field(examples=["Better: +16.3 points of nDCG@10 on 248 held-out queries."])
    kept: str | None = Field(examples=["tuned"], description="Which model the Space has.")
    queries: int | None = Field(examples=[248])
    artificial: bool = Field(description="Whether the queries were made from the documents.")
    migrated: bool = Field(description="Whether the Space has another model since.")
    rows: list[ProofRow]
    differences: list[ProofDifference]
    report: bool = Field(description="Whether there is a page with all of it.")


@router.get("/spaces/{name}/proof")
async def proof(name: str, models: TheModels) -> Proof:
    """The verdict, and base and tuned model on the held-out test."""
    space = _space(models, name)
    if (figures := proof_figures(space.manifest)) is None:
        raise ApiError(404, "This Space has no figures.", param="name", code="no_figures")
    return Proof(space=name, report=space.report.is_file(), **figures)


@router.get(
    "/spaces/{name}/report",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}}},
)
async def report(name: str, models: TheModels) -> Response:
    """The page that the fit wrote: it holds texts of documents, and runs nothing."""
    space = _space(models, name)
    try:
        content = await asyncio.to_thread(space.report.read_bytes)
    except OSError:
        raise ApiError(404, "This Space has no report.", param="name", code="no_report") from None
    return Response(
        content,
        media_type="text/html",
        headers={"content-security-policy": _REPORT_POLICY, "cache-control": "no-cache"},
    )


def _space(models: TheModels, name: str) -> Space:
    space = models.get(name, param="space", space=True).space
    assert space is not None
    return space
