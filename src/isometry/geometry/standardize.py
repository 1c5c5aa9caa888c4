"""Vectors whose dimensions have mean 0 and one spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError


@dataclass(frozen=True)
class Standardizer:
    """`(x - mean) / spread`, by dimension.

    Attributes:
        mean: What is subtracted.
        spread: What is divided by.
    """

    mean: Float[np.ndarray, " d"]
    spread: Float[np.ndarray, " d"]

    @classmethod
    def fit(cls, vectors: Float[np.ndarray, "n d"], *, floor: float = 0.01) -> Standardizer:
        """The means and standard deviations of some vectors.

        Args:
            vectors: Those whose dimensions get mean 0 and spread 1.
            floor: The least spread, as a share of the median one. Some dimensions of a pretrained
                encoder hardly change: divided by their own spread they would become noise.

        Raises:
            InputError: When half of the dimensions or more are the same in all vectors.
        """
        # In half precision, sums over many vectors lose what is added.
        dtype = np.result_type(vectors, np.float32)
        spread = vectors.std(axis=0, dtype=np.float64).astype(dtype)
        if not np.median(spread) > 0:
            raise InputError(
                f"Of {len(vectors)} vectors, half of the dimensions or more are the same in all.",
                "Fit it to more vectors, or to fewer dimensions.",
            )
        mean = vectors.mean(axis=0, dtype=np.float64).astype(dtype)
        return cls(mean, np.maximum(spread, floor * np.median(spread)))

    def apply(self, vectors: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m d"]:
        """Any vectors of the same space, in their own precision."""
        return ((vectors - self.mean) / self.spread).astype(vectors.dtype)
