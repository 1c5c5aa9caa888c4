"""Batches of documents that are alike, so that each is a hard negative for the others' queries."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int


def topic_batches(
    vectors: Float[np.ndarray, "rows dim"],
    keys: Sequence[Sequence[Hashable]],
    size: int,
    steps: int,
    seed: int,
) -> Iterator[list[int]]:
    """Rows in batches of neighbours: a random one, and those nearest to it.

    A contrast learns little from random documents that any encoder tells apart; here the whole
    batch is hard, at no cost. Topic-aware sampling (Hofstätter et al. 2021, "Efficiently Teaching
    an Effective Dense Retriever with Balanced Topic Aware Sampling", section 3.2) and contextual
    batches (Morris and Rush 2024, "Contextual Document Embeddings", section 4.1) cluster first;
    neighbours need no number of clusters.

    Each row comes once before any comes again, but for the last few of an epoch, which make no
    full batch or may not meet. The same arguments give the same batches.

    Args:
        vectors: Unit vectors of what the rows are about.
        keys: What may not meet in one batch, for each row (its document, its query...).
        size: Rows a batch at most.
        steps: How many batches.
        seed: Of the rows that begin the batches.

    Yields:
        Row numbers; at least two in each batch. A row that may meet no other comes in none.

    Raises:
        ValueError: When no two rows may meet.
    """
    if len({key for row in keys for key in row[:1]}) < 2:
        raise ValueError("a contrast needs at least two rows with different keys")
    generator = np.random.default_rng(seed)
    everything = np.arange(len(vectors))
    unseen = np.ones(len(vectors), dtype=bool)
    # Rows that may meet some other.
    social = np.ones(len(vectors), dtype=bool)
    for _ in range(steps):
        batch: list[int] = []
        while len(batch) < 2:
            if (unseen & social).sum() < min(size, social.sum()):
                unseen[:] = True
            left = np.flatnonzero(unseen & social)
            if not len(left):
                raise ValueError("a contrast needs at least two rows that share no key")
            start = int(generator.choice(left))
            batch = _neighbours(vectors, keys, start, left, size)
            if len(batch) < 2:
                # All that is left shares a key with it.
                batch = _neighbours(vectors, keys, start, everything, size)
                social[start] = len(batch) > 1
        unseen[batch] = False
        yield batch


def _neighbours(
    vectors: Float[np.ndarray, "rows dim"],
    keys: Sequence[Sequence[Hashable]],
    start: int,
    among: Int[np.ndarray, " some"],
    size: int,
) -> list[int]:
    """A row and the nearest to it that may meet it and each other."""
    near = among[np.argsort(-(vectors[among] @ vectors[start]), kind="stable")]
    batch: list[int] = []
    taken: set[Hashable] = set()
    # First the row itself, which another of the same vector might outrun.
    for row in (int(start), *near.tolist()):
        if taken.isdisjoint(keys[row]):
            batch.append(row)
            taken.update(keys[row])
            if len(batch) == size:
                break
    return batch
