"""Pairs of concepts at every distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from isometry.corpora.hierarchy import Hierarchy


@dataclass(frozen=True)
class DistancePairs:
    """Pairs of concepts, and how far they are apart.

    Attributes:
        first: The row of each pair's first concept.
        second: That of its second.
        apart: The steps between them; what is unrelated is one step beyond the farthest.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    apart: Int[np.ndarray, " pairs"]

    def __len__(self) -> int:
        return len(self.apart)


def distance_pairs(
    hierarchy: Hierarchy, concepts: Sequence[str], *, most: int, count: int, seed: int = 0
) -> DistancePairs:
    """Pairs at each distance from 1 to the farthest, and unrelated ones, drawn at random.

    Args:
        hierarchy: What says how far concepts are apart; paths may lead over any of its nodes.
        concepts: Those that pairs are made of, all different.
        most: The farthest; pairs beyond, or without a path, are unrelated.
        count: How many pairs of each distance at most.
        seed: Of the draw, and of the order of the pairs.

    Returns:
        Pairs by their concepts' rows, of mixed distances.
    """
    steps = hierarchy.distances(concepts, most, beyond=most + 1)
    rows, columns = np.triu_indices(len(concepts), 1)
    apart = steps[rows, columns]
    random = np.random.default_rng(seed)
    chosen = random.permutation(
        np.concatenate(
            [
                random.permutation(np.flatnonzero(apart == distance))[:count]
                for distance in range(1, most + 2)
            ]
        )
    )
    return DistancePairs(rows[chosen], columns[chosen], apart[chosen])
