"""The pairs of many sets that are worth comparing: a similarity join for sets that share much.

Prefix filtering (Chaudhuri, Ganti and Kaushik, 2006, "A primitive operator for similarity joins in
data cleaning") in the form that connected components allow: pages of one template need not be
compared each with each to be found alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt64

COMMON = 64
"""An element that more sets than this have is common: it proposes no pair by itself."""
CLASSES = 256
"""Sets with the same common elements are a class. Each is compared with this many classes."""


def connecting_pairs(
    sets: Sequence[UInt64[np.ndarray, " _"]], least: float
) -> Iterator[tuple[int, int]]:
    """Pairs among which are enough similar ones to connect whatever similarity connects.

    Joining those of the pairs whose Jaccard similarity is at least `least` gives the connected
    components of comparing everybody with everybody, in time linear in the sets:

    - Two similar sets that share a rare element are proposed by it.
    - Two that share common elements only are connected by the smallest of their classes: a set
      that is similar to another by these elements alone is as similar to any smaller set of the
      other's class.

    This is exact while at most `CLASSES` combinations of common elements occur. Beyond, a set of
    a small class is compared with its own class and the largest ones.

    Args:
        sets: Sorted distinct elements of each.
        least: The Jaccard similarity that joins, above 0.

    Yields:
        Positions in `sets`. A pair may come twice.
    """
    sizes = np.array([len(own) for own in sets])
    _, ids, held = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    owner = np.repeat(np.arange(len(sets)), sizes)
    holders, ends = owner[np.argsort(ids, kind="stable")], np.cumsum(held)
    own_ids = np.split(ids, np.cumsum(sizes)[:-1])
    common = [own[held[own] > COMMON] for own in own_ids]
    common_sizes = np.array([len(own) for own in common])

    def possible(member: int, others: np.ndarray, shared: np.ndarray | int) -> np.ndarray:
        return shared >= least * (sizes[member] + sizes[others] - shared)

    for member, own in enumerate(own_ids):
        rare = own[(held[own] <= COMMON) & (held[own] > 1)]
        if len(rare):
            near = np.concatenate([holders[ends[each] - held[each] : ends[each]] for each in rare])
            others, shared = np.unique(near[near > member], return_counts=True)
            most = shared + np.minimum(common_sizes[member], common_sizes[others])
            yield from (
                (member, other) for other in others[possible(member, others, most)].tolist()
            )

    classes: dict[bytes, list[int]] = defaultdict(list)
    for member, own in enumerate(common):
        classes[own.tobytes()].append(member)
    largest_first = sorted(map(np.array, classes.values()), key=len, reverse=True)
    smallest = [int(members[sizes[members].argmin()]) for members in largest_first]
    for members, own in zip(largest_first, smallest, strict=True):
        for other in {own, *smallest[:CLASSES]}:
            shared = len(np.intersect1d(common[own], common[other], assume_unique=True))
            for member in members[possible(other, members, shared)].tolist():
                if member != other:
                    yield member, other
