"""Whole subtrees of a hierarchy, held out: what is tested is no child of what was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isometry.corpora.hierarchy import Hierarchy


def subtree_split(
    hierarchy: Hierarchy, sides: Sequence[str], *, held: int, sizes: tuple[int, int], seed: int = 0
) -> dict[str, list[str]]:
    """Gives each side whole subtrees, a node with everything below it, until it has enough.

    Nodes are tried as roots in random order. A subtree that shares a node with one that was taken
    before is passed over, so sides have no node in common. What no side gets is to be trained on.

    Args:
        hierarchy: The nodes.
        sides: The names of the sides, the first of which chooses first.
        held: How many nodes at least each is to have; fewer where there are not enough subtrees.
        sizes: The fewest and the most nodes of a subtree.
        seed: Of the order of the roots.

    Returns:
        The nodes of each side, subtree by subtree.
    """
    order = np.random.default_rng(seed).permutation(len(hierarchy.nodes))
    taken: set[str] = set()
    found: dict[str, list[str]] = {side: [] for side in sides}
    for side in found.values():
        for root in (hierarchy.nodes[row] for row in order):
            if len(side) >= held:
                break
            own = [root, *hierarchy.below(root)]
            if sizes[0] <= len(own) <= sizes[1] and taken.isdisjoint(own):
                side += own
                taken.update(own)
    return found
