"""Nearest neighbours, exactly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from isometry.core.errors import InputError


def top_k(
    queries: Float[np.ndarray, "queries dim"],
    base: Float[np.ndarray, "base dim"],
    k: int,
    block: int = 4096,
) -> tuple[Float[np.ndarray, "queries k"], Int[np.ndarray, "queries k"]]:
    """The `k` rows of `base` with the highest inner product with each query.

    Exact, and in bounded memory: no more than `block * (block + k)` scores stand at a time.

    Args:
        queries: One vector a row.
        base: What is searched, one vector a row; of length 1 where the cosine is meant.
        k: How many neighbours; all of `base` when it has fewer.
        block: How many rows of either side are multiplied at a time.

    Returns:
        Scores, highest first, and the rows of `base` that they belong to; equal scores stand in
        the order of `base`.

    Raises:
        InputError: When a side has numbers that are not finite.
    """
    if not (np.isfinite(queries).all() and np.isfinite(base).all()):
        raise InputError(
            "Among the vectors are numbers that are not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
    k = min(k, len(base))
    scores = np.empty((len(queries), k), dtype=np.result_type(queries, base))
    rows = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), block):
        part = queries[start : start + block]
        best = np.empty((len(part), 0), dtype=scores.dtype)
        found = np.empty((len(part), 0), dtype=np.int64)
        for first in range(0, len(base), block):
            new = part @ base[first : first + block].T
            numbers = np.broadcast_to(np.arange(first, first + new.shape[1]), new.shape)
            best = np.concatenate([best, new], axis=1)
            found = np.concatenate([found, numbers], axis=1)
            kept = _highest(best, k)
            best = np.take_along_axis(best, kept, axis=1)
            found = np.take_along_axis(found, kept, axis=1)
        scores[start : start + block] = best
        rows[start : start + block] = found
    return scores, rows


def _highest(scores: Float[np.ndarray, "n m"], k: int) -> Int[np.ndarray, "n k"]:
    """The columns of each row's `k` highest scores, sorted; of equal scores the first columns."""
    k = min(k, scores.shape[1])
    if k == 0:
        return np.empty((len(scores), 0), dtype=np.int64)
    # A partition alone would keep an arbitrary choice of the scores that equal the lowest kept.
    lowest = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, level = scores > lowest, scores == lowest
    room = k - above.sum(axis=1, keepdims=True)
    kept = above | (level & (np.cumsum(level, axis=1) <= room))
    columns = np.nonzero(kept)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
