"""Batches of texts of like length, for losses that compare no text with another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def length_batches(
    lengths: Sequence[int], size: int, steps: int, seed: int, pooled: int = 16
) -> list[list[int]]:
    """The rows of every step: passes in random order, in batches of like length.

    No text is compared with the others of its batch, so lengths may decide who meets; a batch then
    is mostly words and not padding.

    Args:
        lengths: Of each row.
        size: Rows a step.
        steps: How many steps.
        seed: Of the order.
        pooled: So many batches are drawn together and sorted among themselves.
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
            once += [some[at : at + size].tolist() for at in range(0, len(some), size)]
        order += [once[place] for place in generator.permutation(len(once))]
    return order[:steps]
