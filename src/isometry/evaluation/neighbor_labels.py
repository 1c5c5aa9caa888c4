"""Whether a vector's neighbours tell its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from isometry.geometry.neighbors import top_k


def neighbor_labels(
    vectors: Float[np.ndarray, "n d"], labels: Sequence[Hashable], k: int = 5
) -> Float[np.ndarray, " n"]:
    """Which items have the label that is most frequent among their nearest others.

    Nearest by inner product, each item left out of its own neighbours; of labels that are equally
    frequent, the nearest one counts. No example is needed beside the items themselves.

    Args:
        vectors: One an item; of length 1 where the cosine is meant.
        labels: One for each.
        k: How many neighbours.

    Returns:
        1 where it is the item's own label, else 0.

    Raises:
        ValueError: When there are not as many labels as vectors, or no others.
    """
    if len(vectors) != len(labels) or len(vectors) < 2:
        raise ValueError(f"{len(vectors)} vectors and {len(labels)} labels")
    _, found = top_k(vectors, vectors, k + 1)
    told = np.zeros(len(vectors))
    for row, near in enumerate(found.tolist()):
        others = [labels[other] for other in near if other != row][:k]
        told[row] = Counter(others).most_common(1)[0][0] == labels[row]
    return told
