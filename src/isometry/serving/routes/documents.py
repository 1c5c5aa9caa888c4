"""`GET /documents/{id}`: a whole document of a Space, and the documents nearest to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.convertors import PathConvertor, register_url_convertor

from isometry.serving.documents import nearest, shown
from isometry.serving.errors import ApiError, invalid
from isometry.serving.model import Model
from isometry.serving.routes.shapes import TheLimits, TheModels, json_answer


class _IdConvertor(PathConvertor):
    """Any id: the framework's own ends at a line break, which a table's ids may have."""

    regex = "(?s:.*)"


register_url_convertor("id", _IdConvertor())
router = APIRouter(tags=["documents"])

_NEIGHBOURS = "/neighbours"
_T = TypeVar("_T")

SpaceName = Annotated[
    str | None,
    Query(description="A name out of /v1/models; may be left away where there is one Space."),
]


class DocumentAnswer(BaseModel):
    """A document as the Space holds it."""

    object: Literal["document"] = "document"
    space: str = Field(examples=["docs-space"])
    id: str = Field(examples=["guide/keys.md#rotate-the-keys"])
    title: str = Field(description="The heading path.")
    text: str = Field(description="All of it; passages are places in this text.")
    metadata: dict[str, Any] = Field(
        description="What is known besides: context, group, kind, links, order, source."
    )


class Neighbour(BaseModel):
    """A document that is near, with its nearest passage."""

    document: str = Field(examples=["guide/keys.md#make-a-key"])
    score: float = Field(description="The cosine, from -1 to 1.")
    title: str
    text: str
    start: int
    end: int


class NeighboursAnswer(BaseModel):
    """The nearest documents, nearest first; never the document itself."""

    object: Literal["list"] = "list"
    space: str = Field(examples=["docs-space"])
    document: str
    results: list[Neighbour]


# The longer path first: an id may hold slashes.
@router.get("/documents/{document:id}/neighbours", response_model=NeighboursAnswer)
async def neighbours(
    document: str,
    request: Request,
    models: TheModels,
    limits: TheLimits,
    space: SpaceName = None,
    k: Annotated[int, Query(description="How many documents at most.")] = 10,
) -> Response:
    """The documents with the passage nearest to the mean of this document's passages."""
    if not request.scope["raw_path"].partition(b"?")[0].endswith(_NEIGHBOURS.encode()):
        # The slash was written as %2F, and so belongs to the id.
        return await one_document(document + _NEIGHBOURS, models, space)
    if not 1 <= k <= limits.results:
        raise invalid(f"k must be 1 to {limits.results:,}.", "k")
    name, found = await _from(models, space, lambda model: _near(model, document, k))
    return json_answer({"object": "list", "space": name, "document": document, "results": found})


@router.get("/documents/{document:id}", response_model=DocumentAnswer)
async def one_document(document: str, models: TheModels, space: SpaceName = None) -> Response:
    """A document's title, text and metadata; slashes of an id are best written as %2F."""
    name, found = await _from(models, space, lambda model: _whole(model, document))
    return json_answer({"object": "document", "space": name, **found})


async def _from(models: TheModels, name: str | None, read: Callable[[Model], _T]) -> tuple[str, _T]:
    """What is read out of a Space, in another thread, and the Space's name."""

    async def once() -> tuple[str, _T]:
        model = models.get(name, param="space", space=True)
        return model.source.name, await asyncio.to_thread(read, model)

    return await models.reading(once)


def _whole(model: Model, document: str) -> dict[str, Any]:
    if (found := model.document(document)) is None:
        raise _unknown(document)
    return shown(found)


def _near(model: Model, document: str, k: int) -> list[dict[str, Any]]:
    """One search by the mean of the passages' vectors, however long the document is."""
    assert model.space is not None
    index = model.space.index
    numbers = index.of_document(document)
    if not len(numbers):
        raise _unknown(document)
    return [
        {
            "document": hit.document,
            "score": hit.score,
            "title": hit.title,
            "text": hit.text,
            "start": hit.start,
            "end": hit.end,
        }
        for hit in index.fetch(nearest(index, document, index.vectors(numbers), k))
    ]


def _unknown(document: str) -> ApiError:
    # An id beyond any sense is not repeated.
    return ApiError(
        404, f"There is no document '{document[:100]}'.", param="id", code="document_not_found"
    )
