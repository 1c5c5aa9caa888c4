"""Search in two steps: candidates by coarse codes, their order by the vectors themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

_SCORES_AT_ONCE = 1 << 23


def search_with_rescoring(
    queries: Float[np.ndarray, "queries dim"],
    vectors: Float[np.ndarray, "n dim"],
    coarse: Callable[[Float[np.ndarray, "some dim"]], Float[np.ndarray, "some n"]],
    *,
    k: int,
    depth: int,
) -> tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """The nearest vectors by inner product, among those that coarse scores put first.

    Only the candidates' vectors are read, so they may lie in a file (`numpy.memmap`). Equal scores
    are ordered by row.

    Args:
        queries: One vector a query.
        vectors: What is searched, uncompressed.
        coarse: Some queries -> their scores for all vectors, the higher the nearer: from int8, a
            product quantizer, or bits (`-hamming`).
        k: How many vectors to return for a query.
        depth: How many candidates to score again; at least `k`. With all vectors it is exact.

    Returns:
        Rows of `vectors` and their exact scores, best first. Where there are fewer than `k`
        vectors, the rest is -1 with a score of minus infinity.

    Raises:
        ValueError: When `depth` is below `k`, or the coarse scores are for other vectors.

    Example:
        >>> codes = quantizer.encode(vectors)
        >>> search_with_rescoring(
        ...     queries, vectors, lambda some: quantizer.scores(some, codes), k=10, depth=100
        ... )
    """
    if not 1 <= k <= depth:
        raise ValueError(f"depth must be at least k, and k at least 1, not {depth} and {k}")
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.result_type(queries, vectors))
    block = max(1, _SCORES_AT_ONCE // max(1, len(vectors)))
    for start in range(0, len(queries), block):
        some = queries[start : start + block]
        found = coarse(some)
        if found.shape != (len(some), len(vectors)):
            raise ValueError(f"{len(vectors)} vectors, but coarse scores of {found.shape}")
        candidates = np.argsort(-found, axis=1, kind="stable")[:, :depth]
        # By row, so that the sort below keeps equal scores in that order.
        candidates.sort(axis=1)
        for query, own in enumerate(candidates, start):
            exact = vectors[own] @ queries[query]
            best = np.argsort(-exact, kind="stable")[:k]
            rows[query, : len(best)] = own[best]
            scores[query, : len(best)] = exact[best]
    return rows, scores
