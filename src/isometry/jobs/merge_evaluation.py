"""A merge beside what it was made from, on held-out queries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.evaluation.retrieval import score_rankings
from isometry.jobs import ranking
from isometry.jobs.merge_tasks import Task
from isometry.jobs.preparation import FEWEST_QUERIES, Prepared


def held_out(work: Workspace, task: Task, seed: int) -> Prepared:
    """The documents and the queries that a fit with this seed would hold out as its test.

    Raises:
        InputError: When there are too few.
    """
    data = task.prepared(work, seed)
    queries = len(data.questions["test"].queries)
    if queries < FEWEST_QUERIES:
        raise InputError(
            f"Too little text in {task.source.name}: it gives {queries} held-out queries, and at"
            f" least {FEWEST_QUERIES} are needed.",
            "Give more documents, or leave --evaluate out.",
        )
    return data


def scores_of(model: str, data: Prepared, cache: Path) -> ranking.PerQuery:
    """What a model reaches on each query, ranking all documents by its vectors.

    Nothing is decided on these queries.

    Raises:
        InputError: When the model cannot be loaded as an encoder.
    """
    from isometry.encoders.cached import CachedEncoder
    from isometry.jobs.loading import load_sound

    say(f"Evaluating {model}")
    encoder = load_sound(model)
    documents = [document.id for document in data.documents]
    ranked = ranking.collection(documents, ranking.passages_of(encoder, documents, data.views))
    asked = data.questions["test"]
    found = ranking.dense_rankings(CachedEncoder(encoder, cache, "float32"), ranked, asked.queries)
    return score_rankings(found.order, asked.relevance)


def compare(scores: Mapping[str, ranking.PerQuery], data: Prepared) -> list[dict[str, Any]]:
    """A row for each model; differences are to the first."""
    first, groups = next(iter(scores.values())), data.parts_of(data.questions["test"])
    return [
        ranking.row_against(model, "dense", own, first, groups) for model, own in scores.items()
    ]
