"""A merge beside what it was made from, on held-out queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.evaluation.retrieval import score_rankings
from isometry.jobs import ranking
from isometry.jobs.merge_tasks import Task
from isometry.jobs.preparation import FEWEST_QUERIES, Prepared


class Comparison:
    """Parents on one task, before there is a merge.

    Args:
        task: What is asked.
        parents: What they are called.
        work: Where the task is prepared and vectors are kept.
        seed: Of the fits that made the parents.

    Raises:
        InputError: As `held_out` and `scores_of` do.
    """

    def __init__(self, task: Task, parents: Sequence[str], work: Workspace, seed: int) -> None:
        self._task = task
        self._cache = work.path / "vectors"
        self._data = held_out(work, task, seed)
        self._parents = {
            name: scores_of(name, self._data, self._cache) for name in dict.fromkeys(parents)
        }

    def with_merge(self, merge: str) -> dict[str, Any]:
        """The task's name and size, and rows whose differences are to the merge."""
        scores = {merge: scores_of(merge, self._data, self._cache), **self._parents}
        return {
            "source": self._task.source.name,
            "documents": len(self._data.documents),
            "skipped": self._data.facts["skipped_count"],
            "kind": "given" if self._data.given else "artificial",
            "rows": compare(scores, self._data),
        }


def held_out(work: Workspace, task: Task, seed: int) -> Prepared:
    """The documents and the queries that a fit with this seed would hold out as its test.

    Raises:
        InputError: When there are too few.
    """
    data = task.prepared(work, seed)
    queries = len(data.questions["test"].queries)
    if queries < FEWEST_QUERIES and task.judged is not None:
        raise InputError(
            f"Too few judged queries in {task.source.name}: {queries} of them are held out, which"
            f" no fit with seed {seed} trains on, and at least {FEWEST_QUERIES} are needed.",
            "Compare the merge with its parents by isometry evaluate --beir, which asks them all.",
        )
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
        InputError: When the model cannot be loaded as an encoder, or a prompt leaves it no room.
    """
    from isometry.encoders.cached import CachedEncoder
    from isometry.jobs.loading import check_prompts, load_sound

    say(f"Evaluating {model}")
    encoder = load_sound(model)
    check_prompts(encoder)
    documents = [document.id for document in data.documents]
    ranked = ranking.collection(documents, ranking.passages_of(encoder, documents, data.views))
    asked = data.questions["test"]
    cached = CachedEncoder(encoder, cache, "float32")
    found = ranking.found_by_vectors(cached, ranked, asked.queries, ranking.DEPTH + 1)
    itself = ranking.asked_documents(asked.queries, asked.relevance, data.views)
    return score_rankings(ranking.without(found, itself).order, asked.relevance)


def compare(scores: Mapping[str, ranking.PerQuery], data: Prepared) -> list[dict[str, Any]]:
    """A row for each model; differences are to the first."""
    first, groups = next(iter(scores.values())), data.parts_of(data.questions["test"])
    return [
        ranking.row_against(model, "dense", own, first, groups) for model, own in scores.items()
    ]
