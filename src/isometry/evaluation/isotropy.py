"""Whether vectors point in all directions alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError


def isotropy(vectors: Float[np.ndarray, "n d"]) -> dict[str, float]:
    """How evenly a set of vectors fills its space.

    - `mean_cosine`: of all pairs of two different vectors (Ethayarajh 2019, section 3.2), exactly,
      not of random ones. 0 where they point everywhere alike, 1 where all point the same way. It
      depends on where the origin lies.
    - `effective_rank`: the exponential of the entropy of the covariance's eigenvalues as shares of
      their sum; from 1 to `d`. Roy and Vetterli (2007) take singular values instead.
    - `isoscore`: Rudman et al. (2022), algorithm 1, from 0 to 1. Its five steps come to
      `(r - 1) / (d - 1)`, where `r` is the participation ratio of the same eigenvalues: the square
      of their sum over the sum of their squares. That is 1 where all are equal and
      `(k - 1) / (d - 1)` where `k` are equal and the others 0.

    Neither of the last two depends on where the origin lies, on rotations or on the unit.

    Args:
        vectors: At least two, of at least two dimensions.

    Raises:
        InputError: When a vector is zero or not finite, or all are the same.
        ValueError: When there are fewer than two vectors or dimensions.
    """
    n, d = vectors.shape
    if n < 2 or d < 2:
        raise ValueError(f"Isotropy needs two vectors of two dimensions, not {n} of {d}.")
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        raise InputError(
            f"Vector {int(np.flatnonzero(bad)[0])} is zero or not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
    total = (vectors / lengths[:, None]).sum(axis=0)
    centred = vectors - vectors.mean(axis=0)
    eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2
    if eigenvalues.sum() <= np.finfo(float).eps * (lengths**2).sum():
        raise InputError("All vectors are the same.", "Give the vectors of different texts.")
    shares = eigenvalues / eigenvalues.sum()
    positive = shares[shares > 0]
    return {
        "mean_cosine": float((total @ total - n) / (n * (n - 1))),
        "effective_rank": float(np.exp(-(positive * np.log(positive)).sum())),
        "isoscore": float((1 / (shares @ shares) - 1) / (d - 1)),
    }
