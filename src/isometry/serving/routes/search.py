"""`POST /search`: a Space's documents for a query."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, JsonValue

from isometry.corpora.readers.reading import as_read
from isometry.search.filters import Filter, FilterError
from isometry.search.hybrid import Mode, Result
from isometry.serving.errors import invalid
from isometry.serving.json_body import StrictRoute
from isometry.serving.routes.shapes import STRICT, TheEmbedder, TheLimits, TheModels, json_answer
from isometry.serving.searching import Searcher

router = APIRouter(route_class=StrictRoute, tags=["search"])


class SearchRequest(BaseModel):
    """A query to a Space."""

    model_config = STRICT | {
        "json_schema_extra": {
            "examples": [
                {"space": "docs-space", "query": "how do I rotate the keys", "k": 3},
                {"query": "rotate keys", "mode": "lexical"},
                {"query": "rotate keys", "filter": {"source": {"prefix": "guide/"}}},
            ]
        }
    }

    query: str = Field(
        description="Any text but an empty one; what the model cannot read of it is cut."
    )
    space: str | None = Field(
        None, description="A name out of /v1/models; may be left away where there is one Space."
    )
    mode: Mode = Field("hybrid", description="By vectors, by words, or by both, fused.")
    k: int = Field(10, description="How many documents at most, from 1 to the server's limit.")
    dimensions: int | None = Field(
        None, description="Compare only so many of the vectors' first dimensions."
    )
    filter: dict[str, JsonValue] | None = Field(
        None,
        description="Which documents may be found: for each column (id, title, which is the last"
        " heading alone, context, the headings above it, group, order, kind, source) a value, a"
        " list of values, or operators (in, not, prefix, gte, gt, lte, lt). All must hold.",
    )


class FoundDocument(BaseModel):
    """A document with its best passage."""

    document: str = Field(examples=["guide/keys.md#rotate-the-keys"])
    score: float = Field(description="Higher is better; comparable within one search only.")
    title: str = Field(description="The heading path.")
    text: str = Field(description="The passage that matched best.")
    start: int = Field(description="Where the passage begins in the document, in characters.")
    end: int
    dense_rank: int | None = Field(description="By vectors, from 1; null beyond the candidates.")
    lexical_rank: int | None = Field(description="By words.")


class SearchAnswer(BaseModel):
    """The best documents, best first."""

    object: Literal["list"] = "list"
    space: str = Field(examples=["docs-space"])
    mode: Mode
    results: list[FoundDocument]


@router.post("/search", response_model=SearchAnswer)
async def search(
    asked: SearchRequest,
    request: Request,
    models: TheModels,
    embedder: TheEmbedder,
    limits: TheLimits,
) -> Response:
    """The best documents of a Space, as `isometry search` finds them."""
    if not asked.query.strip():
        raise invalid("query is empty.", "query", "empty_input")
    if len(asked.query) > limits.query_characters:
        raise invalid(
            f"query has {len(asked.query):,} characters; {limits.query_characters:,} are allowed.",
            "query",
            "query_too_long",
        )
    if not 1 <= asked.k <= limits.results:
        raise invalid(f"k must be 1 to {limits.results:,}.", "k")
    chosen = _filter(asked.filter)
    name, results = await models.reading(lambda: _search(asked, request, models, embedder, chosen))
    return json_answer(
        {
            "object": "list",
            "space": name,
            "mode": asked.mode,
            "results": [asdict(result) for result in results],
        }
    )


def _filter(given: dict[str, JsonValue] | None) -> Filter | None:
    if not given:
        return None
    try:
        return Filter.parse(given)
    except FilterError as error:
        raise invalid(error.message, f"filter.{error.place}", f"filter_{error.kind}") from None


async def _search(
    asked: SearchRequest,
    request: Request,
    models: TheModels,
    embedder: TheEmbedder,
    chosen: Filter | None,
) -> tuple[str, list[Result]]:
    model = models.get(asked.space, param="space", space=True)
    model.check_dimensions(asked.dimensions)
    vector = None
    # As `Space.search` has it.
    query = as_read(asked.query)
    if asked.mode != "lexical":
        vectors, _ = await embedder.vectors(model, [query], "query", ["query"], truncate=True)
        vector = vectors[0]
    searcher: Searcher = request.app.state.searcher

    def found() -> list[Result]:
        space = model.space
        assert space is not None
        return searcher.search(space, query, vector, asked.k, asked.mode, asked.dimensions, chosen)

    threads = None if asked.dimensions is None else searcher.threads
    return model.source.name, await asyncio.get_running_loop().run_in_executor(threads, found)
