"""Fewer bytes a number: what is lost when vectors are stored coarsely."""

from __future__ import annotations

from typing import Literal, assert_never

import numpy as np
from jaxtyping import Float

Precision = Literal["float32", "float16", "int8", "binary"]


def round_trip(
    vectors: Float[np.ndarray, "n dim"], precision: Precision
) -> Float[np.ndarray, "n dim"]:
    """What a store in this precision gives back for the vectors of a corpus.

    Queries stay float32: the score of a stored document is the inner product of the query with
    the vector that comes back, so that comparing precisions needs nothing but this.

    - `float32` gives back the vectors themselves.
    - `float16` rounds to half precision.
    - `int8` rounds to 127 steps each side of zero, every dimension on its own scale: its largest
      magnitude in these vectors. No value is off by more than half a step, 1/254 of that.
    - `binary` keeps the signs (zero counts as negative) as `±1/sqrt(dim)`: length 1, and the inner
      product of two such vectors is `1 - 2 * hamming / dim`.

    Args:
        vectors: The whole corpus, one vector a row: it also sets the scales of `int8`.
        precision: How the numbers are kept.

    Returns:
        float32 vectors; not normalised again, as no store would do so.
    """
    values = vectors.astype(np.float32, copy=False)
    if precision == "float32":
        return values
    if precision == "float16":
        return values.astype(np.float16).astype(np.float32)
    if precision == "int8":
        largest = np.abs(values).max(axis=0, initial=0, keepdims=True)
        step = np.where(largest == 0, 1, largest / 127).astype(np.float32)
        return np.rint(values / step).astype(np.int8) * step
    if precision == "binary":
        unit = np.float32(1 / np.sqrt(values.shape[1]))
        return np.where(values > 0, unit, -unit)
    assert_never(precision)


def bytes_per_vector(dim: int, precision: Precision) -> int:
    """The bytes that one vector of `dim` numbers takes; what a corpus shares is not counted."""
    bits = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
    return -(-dim * bits[precision] // 8)
