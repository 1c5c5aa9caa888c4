"""Batches of texts of like length, for losses that compare no text with another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def length_batches(
    lengths: Sequence[int],
    size: int,
    steps: int,
    seed: int,
    pooled: int = 16,
    *,
    most: int | None = None,
) -> list[list[int]]:
    """The rows of every step: passes in random order, in batches of like length.

    No text is compared with the others of its batch, so lengths may decide who meets; a batch then
    is mostly words and not padding.

    Args:
        lengths: Of each row.
        size: Rows a step, at most.
        steps: How many steps.
        seed: Of the order.
        pooled: So many batches are drawn together and sorted among themselves.
        most: The length of a step's rows together, padding included, at most; a row that is longer
            is a step of its own. Any length when not given.
    """
    if not lengths or size < 1:
        raise ValueError("batches need a row, and a size of at least 1")
    generator = np.random.default_rng(seed)
    known = np.asarray(lengths)
    order: list[list[int]] = []
    while len(order) < steps:
        drawn = generator.permutation(len(known))
        once: list[list[int]] = []
        for start in range(0, len(drawn), pooled * size):
            some = drawn[start : start + pooled * size]
            some = some[np.argsort(known[some], kind="stable")]
            once += _cut(some, known[some], size, most)
        order += [once[place] for place in generator.permutation(len(once))]
    return order[:steps]


def _cut(
    rows: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"], size: int, most: int | None
) -> list[list[int]]:
    """Rows, shortest first, in batches of so many and of so much length at most."""
    batches: list[list[int]] = []
    for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
        full = batches and most is not None and (len(batches[-1]) + 1) * length > most
        if not batches or full or len(batches[-1]) == size:
            batches.append([])
        batches[-1].append(row)
    return batches
