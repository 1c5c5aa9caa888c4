"""`POST /v1/rerank`, in Cohere's and Jina's shape and in that of text-embeddings-inference."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from isometry.serving.errors import invalid
from isometry.serving.json_body import StrictRoute
from isometry.serving.routes.shapes import FIRST_ERROR, STRICT, TheEmbedder, TheModels, json_answer

router = APIRouter(route_class=StrictRoute, tags=["rerank"])


class TextDocument(BaseModel):
    """A document as an object; further fields are ignored."""

    model_config = STRICT
    text: str


class RerankRequest(BaseModel):
    """Documents to sort by a query: `documents` (Cohere, Jina) or `texts` (TEI)."""

    model_config = STRICT | {
        "json_schema_extra": {
            "examples": [
                {
                    "model": "docs-space",
                    "query": "how do I rotate the keys",
                    "documents": ["Keys are rotated every month.", "The cafeteria is closed."],
                    "top_n": 1,
                },
                {"query": "how do I rotate the keys", "texts": ["Keys are rotated every month."]},
            ]
        }
    }

    query: str
    documents: Annotated[list[str | TextDocument], FIRST_ERROR] | None = Field(
        None, description="Cohere's and Jina's."
    )
    texts: Annotated[list[str], FIRST_ERROR] | None = Field(None, description="TEI's.")
    model: str | None = Field(
        None, description="A name out of /v1/models; may be left away where there is one only."
    )
    top_n: int | None = Field(None, description="How many to give back; all where not given.")
    return_documents: bool | None = Field(False, description="With their texts.")
    return_text: bool | None = Field(False, description="TEI's word for return_documents.")
    raw_scores: bool | None = Field(None, description="TEI's; ignored: scores are cosines.")
    truncate: bool | None = Field(
        None,
        description="Cut what the model cannot read; it is an error otherwise. Where not given,"
        " `documents` are cut, and `texts` are not.",
    )


class RankedDocument(BaseModel):
    """Cohere's and Jina's entry."""

    index: int = Field(examples=[0])
    relevance_score: float = Field(examples=[0.83], description="The cosine, from -1 to 1.")
    document: TextDocument | None = None


class RerankUsage(BaseModel):
    """Tokens of the query and of all documents."""

    total_tokens: int = Field(examples=[42])


class RerankAnswer(BaseModel):
    """The documents, best first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: RerankUsage


class RankedText(BaseModel):
    """TEI's entry."""

    index: int = Field(examples=[0])
    score: float = Field(examples=[0.83], description="The cosine, from -1 to 1.")
    text: str | None = None


@router.post("/v1/rerank", response_model=RerankAnswer | list[RankedText])
@router.post("/v2/rerank", response_model=RerankAnswer | list[RankedText])
@router.post("/rerank", response_model=RerankAnswer | list[RankedText])
async def rerank(asked: RerankRequest, models: TheModels, embedder: TheEmbedder) -> Response:
    """Documents by the cosine of their vectors with the query's, equal ones in their order."""
    model = models.get(asked.model)
    texts, param = _texts(asked)
    if not asked.query:
        raise invalid("query is empty.", "query", "empty_input")
    if asked.top_n is not None and asked.top_n < 1:
        raise invalid("top_n must be at least 1.", "top_n")
    places = [f"{param}.{number}" for number in range(len(texts))]
    # Cohere's and Jina's clients expect it; TEI's say when they want it.
    truncate = param == "documents" if asked.truncate is None else asked.truncate
    query, query_tokens = await embedder.vectors(
        model, [asked.query], "query", ["query"], truncate=truncate
    )
    vectors, tokens = await embedder.vectors(model, texts, "document", places, truncate=truncate)
    # Not a matrix product: equal documents get equal scores wherever they stand.
    scores = np.vecdot(vectors, query[0])
    order = np.argsort(-scores, kind="stable")[: asked.top_n]
    ranked = [(int(row), float(scores[row])) for row in order]
    if param == "texts":
        return json_answer([_text(*each, texts if asked.return_text else None) for each in ranked])
    shown = texts if asked.return_documents else None
    return json_answer(
        {
            "id": secrets.token_hex(8),
            "model": model.source.name,
            "results": [_document(*each, shown) for each in ranked],
            "usage": {"total_tokens": query_tokens + tokens},
        }
    )


def _texts(asked: RerankRequest) -> tuple[list[str], str]:
    """The texts, and the name under which they came."""
    if (asked.documents is None) == (asked.texts is None):
        raise invalid("Give either documents or texts.", "documents", "missing")
    if asked.texts is not None:
        texts, param = asked.texts, "texts"
    else:
        texts = [each if isinstance(each, str) else each.text for each in asked.documents or ()]
        param = "documents"
    if not texts:
        raise invalid(f"{param} is empty.", param, "empty_input")
    if "" in texts:
        place = f"{param}.{texts.index('')}"
        raise invalid(f"{place} is empty.", place, "empty_input")
    return texts, param


def _document(index: int, score: float, texts: list[str] | None) -> dict[str, Any]:
    shown = {} if texts is None else {"document": {"text": texts[index]}}
    return {"index": index, "relevance_score": score, **shown}


def _text(index: int, score: float, texts: list[str] | None) -> dict[str, Any]:
    return {"index": index, "score": score, **({} if texts is None else {"text": texts[index]})}
