"""One ranking out of several: reciprocal rank fusion, and how much each ranking counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


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


def choose_weight(
    scores_by_weight: Sequence[tuple[float, Float[np.ndarray, " queries"]]],
    prior: float,
    equal: float = 0.5,
) -> tuple[float, float]:
    """Chooses how much one of two rankings counts in their fusion, with restraint.

    The weight whose mean metric is highest on `n` queries is pulled towards equal weighting, to
    `equal + (best - equal) * n / (n + prior)`. Few queries, or ones that were made out of the
    documents themselves, say little about the questions that people will ask: over a grid, the
    best of many nearly equal means is partly luck, and queries that repeat a document's words
    favour the lexical ranking. Equal weights are the safe choice until evidence outweighs them.

    Args:
        scores_by_weight: Each weight of the grid with the metric of every query, higher is better;
            the same queries in the same order for each.
        prior: How many queries' worth of belief stands behind equal weighting; above 0.
        equal: The weight at which both rankings count the same.

    Returns:
        The weight to use, and the one that was best before it was pulled towards `equal`. Among
        equally good weights the one nearest to `equal` is best, then the smaller.

    Raises:
        ValueError: When the grid is empty or its entries differ in their number of queries.
    """
    counts = {len(scores) for _, scores in scores_by_weight}
    if len(counts) != 1:
        raise ValueError(f"Every weight needs the metric of the same queries, not {counts}.")
    queries = counts.pop()
    if queries == 0:
        return equal, equal
    best, _ = min(
        scores_by_weight,
        key=lambda entry: (-float(np.mean(entry[1])), abs(entry[0] - equal), entry[0]),
    )
    return equal + (best - equal) * queries / (queries + prior), best
