"""Pseudo-relevance feedback: what was found first asks once more."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError


def rocchio(
    query: Float[np.ndarray, "n d"],
    neighbours: Float[np.ndarray, "n k d"],
    alpha: float = 1.0,
    beta: float = 0.75,
) -> Float[np.ndarray, "n d"]:
    """Moves queries towards the first documents that they found: alpha * q + beta * mean(d).

    Rocchio (1971) without the term of non-relevant documents, which nobody marks here; the weights
    are the usual ones (Manning, Raghavan and Schütze 2008, section 9.1.1). On vectors of dense
    retrieval: Li et al. (2021), "Pseudo Relevance Feedback with Deep Language Models and Dense
    Retrievers", section 3.2.

    Args:
        query: One vector a row.
        neighbours: The vectors of each query's first documents.
        alpha: How much the query counts.
        beta: How much the mean of its neighbours counts.

    Returns:
        The new queries, of length 1.

    Raises:
        InputError: When a query and its neighbours cancel out.
        ValueError: Without neighbours.

    Example:
        >>> rocchio(np.array([[1.0, 0.0]]), np.array([[[0.0, 2.0], [0.0, 0.0]]]), 3.0, 4.0)
        array([[0.6, 0.8]])
    """
    if neighbours.shape[1] == 0:
        raise ValueError("feedback needs at least one neighbour")
    moved = alpha * query + beta * neighbours.mean(axis=1)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    if not lengths.all():
        row = int(np.flatnonzero(lengths[:, 0] == 0)[0])
        raise InputError(f"Query {row} and its neighbours cancel out: no direction is left.")
    return moved / lengths
