"""Batches of documents that are alike, so that each is a hard negative for the others' queries."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from jaxtyping import Float


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
    full batch. The same arguments give the same batches.

    Args:
        vectors: Unit vectors of what the rows are about.
        keys: What may not meet in one batch, for each row (its document, its query...).
        size: Rows a batch at most.
        steps: How many batches.
        seed: Of the rows that begin the batches.

    Yields:
        Row numbers; at least two in each batch, unless the keys do not allow it.

    Raises:
        ValueError: When no two rows may meet.
    """
    if len({key for row in keys for key in row[:1]}) < 2:
        raise ValueError("a contrast needs at least two rows with different keys")
    generator = np.random.default_rng(seed)
    unseen = np.ones(len(vectors), dtype=bool)
    for _ in range(steps):
        if unseen.sum() < min(size, len(vectors)):
            unseen[:] = True
        left = np.flatnonzero(unseen)
        start = generator.choice(left)
        near = left[np.argsort(-(vectors[left] @ vectors[start]), kind="stable")]
        batch: list[int] = []
        taken: set[Hashable] = set()
        # First the row itself, which another of the same vector might outrun.
        for row in (int(start), *near.tolist()):
            if taken.isdisjoint(keys[row]):
                batch.append(row)
                taken.update(keys[row])
                if len(batch) == size:
                    break
        unseen[batch] = False
        yield batch
