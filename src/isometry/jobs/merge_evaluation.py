"""A merge beside what it was made from, on queries out of documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.corpora.readers import Source
from isometry.jobs.preparation import FEWEST_QUERIES, Prepared, prepare


def held_out(work: Workspace, source: Source, seed: int) -> Prepared:
    """The documents and the queries that a fit with this seed would hold out as its test.

    Raises:
        InputError: When there are too few.
    """
    data = prepare(work, source, seed=seed)
    queries = len(data.questions["test"].queries)
    if queries < FEWEST_QUERIES:
        raise InputError(
            f"Too little text in {source.name}: it gives {queries} held-out queries, and at least"
            f" {FEWEST_QUERIES} are needed.",
            "Give more documents, or leave --evaluate out.",
        )
    return data


def compare(models: Sequence[str], data: Prepared, cache: Path) -> list[dict[str, Any]]:
    """Ranks all documents by each model's vectors; differences are to the first.

    Nothing is decided on these queries.
    """
    from isometry.encoders.cached import CachedEncoder
    from isometry.encoders.encoder import load_encoder
    from isometry.evaluation.retrieval import score_rankings
    from isometry.jobs import ranking

    asked = data.questions["test"]
    documents = [document.id for document in data.documents]
    rows: list[dict[str, Any]] = []
    first: ranking.PerQuery = {}
    for model in models:
        say(f"Evaluating {model}")
        encoder = load_encoder(model)
        chunks = ranking.passages_of(encoder, documents, data.views)
        ranked = ranking.collection(documents, chunks)
        found = ranking.dense_rankings(
            CachedEncoder(encoder, cache, "float32"), ranked, asked.queries
        )
        scores = score_rankings(found.order, asked.relevance)
        first = first or scores
        rows.append(ranking.row_against(model, "dense", scores, first))
    return rows
