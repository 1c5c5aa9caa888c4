"""Which pairs are trained on together, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from isometry.core.progress import track
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.documents import passage
from isometry.corpora.pairs.structure import Pair
from isometry.encoders.cached import CachedEncoder
from isometry.jobs.ranking import Collection
from isometry.learners.two_towers import PairRow
from isometry.training.negatives import unlabelled_answers
from isometry.training.topic_batches import topic_batches


def make_batches(
    pairs: Sequence[Pair],
    ranked: Collection,
    clusters: Int[np.ndarray, " documents"],
    teacher: CachedEncoder,
    *,
    size: int,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """Batches of documents that are alike, and what in them the teacher takes for an answer.

    Args:
        pairs: Query and answer.
        ranked: The documents and their passages.
        clusters: Documents of one cluster answer each other's queries.
        teacher: Says which documents are alike, and which answer; the base.
        size: Pairs a step.
        steps: How many steps.
        seed: Of their order.

    Returns:
        Plain values for JSON: `rows`, those that are seen; `order`, their numbers for each step;
        `facts` for the report.
    """
    number = {document: row for row, document in enumerate(ranked.documents)}
    answers = np.array([number[pair.document] for pair in pairs])
    # A document's first passage stands for it: training cuts documents there or before.
    trained, row_of = np.unique(answers, return_inverse=True)
    first = ranked.first_passages(trained)
    vectors = teacher.encode(first, title="Encoding what is trained on")[row_of]
    keys = [
        (int(clusters[row]), normalize(pair.query))
        for pair, row in zip(pairs, answers, strict=True)
    ]
    drawn: list[list[int]] = []
    with track("Making batches", steps, "batches") as task:
        for batch in topic_batches(vectors, keys, size, steps, seed):
            drawn.append(batch)
            task.advance()
    seen = sorted({row for batch in drawn for row in batch})
    place = {row: position for position, row in enumerate(seen)}
    order = [[place[row] for row in batch] for batch in drawn]

    own = answers[seen]
    queries = [pairs[row].query for row in seen]
    asked = teacher.encode(queries, "query", title="Encoding queries")
    alike = unlabelled_answers(order, asked, vectors[seen])
    rows = [
        [
            pairs[row].query,
            passage(pairs[row].header, pairs[row].body),
            int(clusters[answers[row]]),
            sorted({int(clusters[own[other]]) for other in alike[position]}),
        ]
        for position, row in enumerate(seen)
    ]
    candidates = sum(len(batch) * (len(batch) - 1) for batch in order)
    # As often as they meet, as the candidates are counted; all of a cluster is left out with one.
    hidden = [frozenset(answers) for *_, answers in rows]
    masked = sum(
        rows[other][2] in hidden[row]
        for batch in order
        for row in batch
        for other in batch
        if other != row
    )
    return {
        "rows": rows,
        "order": order,
        "facts": {
            "pairs": len(seen),
            "candidates": candidates,
            "unlabelled_answers": masked,
            "share": round(masked / max(1, candidates), 4),
        },
    }


def read_rows(batches: dict[str, Any]) -> list[PairRow]:
    """The rows of `make_batches` as they are trained on."""
    return [
        PairRow(query, document, key, answers=frozenset(answers))
        for query, document, key, answers in batches["rows"]
    ]
