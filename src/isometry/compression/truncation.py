"""Fewer dimensions: the first ones of a nested (Matryoshka) embedding."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError


def truncate(vectors: Float[np.ndarray, "n dim"], dims: int) -> Float[np.ndarray, "n dims"]:
    """Keeps the first dimensions, then scales every vector to length 1.

    In this order only: vectors that are normalised before the cut have different lengths after
    it, and their inner products are no cosines. A vector that is zero after the cut stays zero.

    Args:
        vectors: One a row, of any length.
        dims: How many dimensions to keep.

    Raises:
        InputError: When `dims` is below 1 or above what the vectors have.

    Reference:
        Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, section 3.
    """
    if not 1 <= dims <= vectors.shape[1]:
        raise InputError(
            f"Cannot keep {dims} dimensions of vectors that have {vectors.shape[1]}.",
            f"Choose a number from 1 to {vectors.shape[1]}.",
        )
    # In half precision the square of a length may be beyond what there is.
    kept = vectors[:, :dims].astype(np.result_type(vectors, np.float32), copy=False)
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    return (kept / np.where(lengths == 0, 1, lengths)).astype(vectors.dtype, copy=False)
