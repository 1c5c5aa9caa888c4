"""Vectors of things that are defined: the mean of what is said of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from isometry.geometry.group_mean import group_mean

Encode = Callable[[Sequence[str]], Float[np.ndarray, "texts d"]]
"""Texts -> their vectors."""


def entry_vectors(
    encode: Encode, definitions: Sequence[str], owner: Int[np.ndarray, " definitions"]
) -> Float[np.ndarray, "entries d"]:
    """Every entry as the mean of its definitions' vectors (Liu 2024, "DefSent+").

    It is not the vector of the definitions joined. A text that defines several entries is encoded
    once.

    Args:
        encode: Makes the vectors.
        definitions: The texts; one that several entries have has as many rows.
        owner: The number of each definition's entry; every entry has one.
    """
    number = {text: row for row, text in enumerate(dict.fromkeys(definitions))}
    vectors = encode(list(number))
    return group_mean(vectors[[number[text] for text in definitions]], owner)
