"""Hard negatives: documents that look like answers and are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Mined:
    """Negatives of each query.

    Attributes:
        rows: Document numbers, hardest first; -1 where too few were left.
        considered: How many candidates were looked at before each query had its negatives.
        filtered: How many of these were taken for unlabelled answers.
    """

    rows: Int[np.ndarray, "queries k"]
    considered: int
    filtered: int

    @property
    def filter_rate(self) -> float:
        """The share of the considered candidates that the margin filtered."""
        return self.filtered / self.considered if self.considered else 0.0


def mine(
    candidates: Int[np.ndarray, "queries candidates"],
    scores: Float[np.ndarray, "queries candidates"],
    positive: Float[np.ndarray, " queries"],
    *,
    k: int,
    margin: float = 0.05,
) -> Mined:
    """Picks the hardest candidates that a teacher finds clearly worse than the positive.

    A candidate passes when its score is at most the positive's less the margin, taken as a share
    of the positive's score: the positive-aware filter with a percentage (Moreira et al. 2024,
    NV-Retriever, section 3.2). What scores higher is more likely an answer nobody labelled.

    Args:
        candidates: Document numbers, from any rankers; -1 is padding. A query's own positives
            must have been left out.
        scores: The teacher's similarity of query and candidate.
        positive: The teacher's similarity of query and positive.
        k: Negatives a query.
        margin: Between 0 and 1.
    """
    rows = np.full((len(candidates), k), -1, dtype=np.int64)
    considered = filtered = 0
    for query in range(len(candidates)):
        order = np.argsort(-scores[query], kind="stable")
        limit = positive[query] - margin * abs(positive[query])
        found = 0
        seen: set[int] = set()
        for column in order:
            document = int(candidates[query, column])
            if document < 0 or document in seen:
                continue
            seen.add(document)
            considered += 1
            if scores[query, column] > limit:
                filtered += 1
                continue
            rows[query, found] = document
            found += 1
            if found == k:
                break
    return Mined(rows, considered, filtered)


def unlabelled_answers(
    batches: Sequence[Sequence[int]],
    queries: Float[np.ndarray, "rows dim"],
    documents: Float[np.ndarray, "rows dim"],
) -> list[set[int]]:
    """For each row, which rows of its batches hold what a teacher finds a better answer to it.

    A document that is more similar to a query than its own is likelier an answer that nobody
    labelled than a hard negative (Morris and Rush 2024, "Contextual Document Embeddings", section
    4.1). With all batches planned ahead, a row is compared with those that it meets and no others.

    Args:
        batches: Row numbers.
        queries: The teacher's vector of each row's query.
        documents: The teacher's vector of each row's own document.
    """
    found: list[set[int]] = [set() for _ in range(len(queries))]
    for batch in batches:
        rows = np.asarray(batch)
        scores = queries[rows] @ documents[rows].T
        better = scores > np.diagonal(scores)[:, None]
        for row, others in zip(batch, better, strict=True):
            found[row].update(rows[others].tolist())
    return found
