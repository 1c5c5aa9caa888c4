"""The mean vector of every group of rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def group_mean(
    vectors: Float[np.ndarray, "n d"], groups: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "g d"]:
    """One vector a group: the mean of its rows, which may stand anywhere.

    An entry as the mean of its definitions (Liu 2024, "DefSent+"), a class as the mean of its
    prompts or of its examples (prototypes). Sums are taken in double precision; a group of one row
    is that row, bit for bit. Means of unit vectors are shorter than 1: the shorter, the less the
    rows of a group agree.

    Args:
        vectors: The rows.
        groups: The group of each row, counted from 0.

    Returns:
        The mean of group i in row i, in the precision of `vectors`.

    Raises:
        ValueError: When there is no row, the lengths differ, or a number below the highest one has
            no row: its mean would be 0/0.
    """
    if not len(vectors) or len(groups) != len(vectors):
        raise ValueError(f"{len(vectors)} rows, but {len(groups)} groups.")
    if groups.min() < 0:
        raise ValueError("Groups are counted from 0.")
    sizes = np.bincount(groups)
    if not sizes.all():
        raise ValueError(f"Group {int(np.flatnonzero(sizes == 0)[0])} has no row.")
    order = np.argsort(groups, kind="stable")
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(vectors[order].astype(np.float64), starts, axis=0)
    return (sums / sizes[:, None]).astype(vectors.dtype)
