"""Batches out of a hierarchy: concepts with others at every distance from them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from isometry.corpora.hierarchy import Hierarchy


def hierarchy_batches(
    hierarchy: Hierarchy,
    concepts: Sequence[str],
    *,
    anchors: int,
    levels: Sequence[int],
    others: int,
    steps: int,
    seed: int,
) -> Iterator[list[str]]:
    """Concepts for each step: anchors, each with one concept at every level, and some at random.

    Where an anchor has none at a level, or all of them are in the batch, its place goes to one more
    at random, so that all batches have one size. No concept stands twice in a batch.

    Args:
        hierarchy: What says how far concepts are apart; paths may lead over any of its nodes.
        concepts: Those that may be drawn, all different.
        anchors: How many groups a batch has.
        levels: Distances from the anchor, from 1.
        others: Concepts at random in each group.
        steps: How many batches.
        seed: Of every draw.

    Raises:
        ValueError: When there are fewer concepts than a batch holds.
    """
    size = anchors * (1 + len(levels) + others)
    if len(concepts) < size:
        raise ValueError(f"a batch holds {size} concepts, and there are {len(concepts)}")
    generator = random.Random(seed)
    allowed = set(concepts)
    waiting: list[str] = []
    for _ in range(steps):
        batch: dict[str, None] = {}
        missing = anchors * others
        for _ in range(anchors):
            while True:
                if not waiting:
                    waiting = generator.sample(list(concepts), len(concepts))
                if (anchor := waiting.pop()) not in batch:
                    break
            batch[anchor] = None
            around: dict[int, list[str]] = defaultdict(list)
            for node, distance in hierarchy.around(anchor, max(levels)).items():
                if node in allowed:
                    around[distance].append(node)
            for level in levels:
                free = [node for node in around[level] if node not in batch]
                if free:
                    batch[generator.choice(free)] = None
                else:
                    missing += 1
        while missing:
            if (drawn := generator.choice(concepts)) not in batch:
                batch[drawn] = None
                missing -= 1
        yield list(batch)
