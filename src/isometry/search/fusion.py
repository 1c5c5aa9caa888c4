"""One ranking out of several: by standard scores or by ranks, and how much each counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# How much vectors count where nothing is known: what does well on documents with human queries
# (docs/ablations.md).
USUAL_WEIGHT = 0.7


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], weights: Sequence[float] | None = None, k: int = 60
) -> list[tuple[str, float]]:
    """Fuses rankings: a document scores the sum of `weight / (k + rank)`, ranks counted from 1.

    Only ranks count, so scores on different scales (BM25, inner products) need no calibration.

    Args:
        rankings: Document ids, best first, none twice in one ranking.
        weights: One per ranking; 1 each when `None`. A ranking of weight 0 is left out.
        k: Flattens the difference between the first ranks; the paper's value is 60.

    Returns:
        Every document of every ranking with its score, best first, ties by id.

    Raises:
        ValueError: When there are not as many weights as rankings.

    Reference:
        Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual
        Rank Learning Methods", SIGIR 2009; the weights are an extension.

    Example:
        >>> reciprocal_rank_fusion([["a", "b"], ["b", "c", "a"]])[0]
        ('b', 0.03252247488101534)
    """
    scores: dict[str, float] = {}
    if weights is None:
        weights = [1.0] * len(rankings)
    for ranking, weight in zip(rankings, weights, strict=True):
        if weight == 0:
            continue
        for rank, document in enumerate(ranking, start=1):
            scores[document] = scores.get(document, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def standard_score_fusion(
    dense: Sequence[tuple[str, float]],
    lexical: Sequence[tuple[str, float]],
    dense_weight: float,
    depth: int,
) -> list[tuple[str, float]]:
    """Fuses vectors and words: a weighted sum of standard scores, each over its own candidates.

    Scores say how much better the first is than the second, which ranks forget: where words find
    nothing that stands out, they hardly count. A document that one side did not find takes that
    side's lowest score. Words that find fewer documents than were asked for give all others 0, so
    that a single hit stands out.

    Args:
        dense: Document ids with inner products, best first.
        lexical: Document ids with BM25 scores, best first.
        dense_weight: How much vectors count, from 0 to 1; words count the rest. A side of weight 0
            is left out.
        depth: How many candidates each side was asked for.

    Returns:
        Every document of both with its score, best first, ties by id.

    Reference:
        Zero mean and unit variance: Montague and Aslam, "Relevance Score Normalization for
        Metasearch", CIKM 2001. That sums of scores beat ranks: Bruch, Gai and Ingber, "An Analysis
        of Fusion Functions for Hybrid Retrieval", TOIS 2023.
    """
    scores: dict[str, float] = {}
    for side, weight in ((dense, dense_weight), (lexical, 1 - dense_weight)):
        if weight:
            scores.update(dict.fromkeys((document for document, _ in side), 0.0))
    for side, weight, missing in (
        (dense, dense_weight, 0),
        (lexical, 1 - dense_weight, depth - len(lexical)),
    ):
        values = np.array([score for _, score in side] + [0.0] * max(0, missing))
        spread = float(values.std()) if len(values) else 0.0
        if not weight or spread == 0:
            continue
        own = dict(side)
        mean, lowest = float(values.mean()), float(values.min())
        for document in scores:
            scores[document] += weight * (own.get(document, lowest) - mean) / spread
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def choose_weight(
    scores_by_weight: Sequence[tuple[float, Float[np.ndarray, " queries"]]],
    prior: float,
    usual: float = USUAL_WEIGHT,
) -> tuple[float, float]:
    """Chooses how much one of two rankings counts in their fusion, with restraint.

    The weight whose mean metric is highest on `n` queries is pulled towards the usual one, to
    `usual + (best - usual) * n / (n + prior)`. Few queries, or ones that were made out of the
    documents themselves, say little about the questions that people will ask: over a grid, the
    best of many nearly equal means is partly luck, and queries that repeat a document's words
    favour the lexical ranking.

    Args:
        scores_by_weight: Each weight of the grid with the metric of every query, higher is better;
            the same queries in the same order for each.
        prior: How many queries' worth of belief stands behind the usual weight; above 0.
        usual: What does well where nothing is known.

    Returns:
        The weight to use, and the one that was best before it was pulled. Among equally good
        weights the one nearest to `usual` is best, then the smaller.

    Raises:
        ValueError: When the grid is empty or its entries differ in their number of queries.
    """
    counts = {len(scores) for _, scores in scores_by_weight}
    if len(counts) != 1:
        raise ValueError(f"Every weight needs the metric of the same queries, not {counts}.")
    queries = counts.pop()
    if queries == 0:
        return usual, usual
    best, _ = min(
        scores_by_weight,
        key=lambda entry: (-float(np.mean(entry[1])), abs(entry[0] - usual), entry[0]),
    )
    return usual + (best - usual) * queries / (queries + prior), best
