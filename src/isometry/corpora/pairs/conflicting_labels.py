"""Texts with two labels each -> triplets in which the labels want the opposite."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from isometry.core.errors import InputError


def conflicting_triplets(
    first: Sequence[str], second: Sequence[str], *, seed: int = 0
) -> list[tuple[int, int, int]]:
    """For a text, one that shares its first label alone, and one that shares its second alone.

    Who groups by the first label wants the middle one nearer than the last, and who groups by the
    second wants the opposite: over both, an encoder that is not told which of them is asked for is
    right on exactly half.

    Args:
        first: A label of each text.
        second: Another one of each.
        seed: Of the draws; classes are drawn as they are large.

    Returns:
        Numbers of texts, in the order of the anchors; what has no such partners is left out.

    Raises:
        InputError: When no text has both.
    """
    by_first: dict[str, list[int]] = defaultdict(list)
    by_second: dict[str, list[int]] = defaultdict(list)
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        by_first[one].append(row)
        by_second[other].append(row)
    random = np.random.default_rng(seed)
    triplets: list[tuple[int, int, int]] = []
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        near = [near for near in by_first[one] if second[near] != other]
        far = [far for far in by_second[other] if first[far] != one]
        if near and far:
            drawn = near[int(random.integers(len(near)))], far[int(random.integers(len(far)))]
            triplets.append((row, *drawn))
    if not triplets:
        raise InputError(
            "No text shares one label with a text and the other label with another.",
            "Give labels that do not say the same.",
        )
    return triplets
