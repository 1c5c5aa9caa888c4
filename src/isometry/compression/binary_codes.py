"""Binary codes: a bit for each side of a plane that a vector may lie on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from isometry.core.errors import InputError

_BYTES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class BinaryCoder:
    """A bit for each projection: whether it is positive.

    Attributes:
        mean: Taken off the vectors first.
        projection: The planes' normals, one a column.
    """

    mean: Float[np.ndarray, " dim"]
    projection: Float[np.ndarray, "dim bits"]

    def encode(self, vectors: Float[np.ndarray, "n dim"]) -> UInt8[np.ndarray, "n bytes"]:
        """The bits of each vector, eight to a byte; the last byte is filled with zeros."""
        return sign_codes((vectors - self.mean) @ self.projection)


def sign_codes(vectors: Float[np.ndarray, "n dim"]) -> UInt8[np.ndarray, "n bytes"]:
    """The signs of the numbers themselves, eight to a byte; zero counts as negative.

    Raises:
        InputError: When a number is not finite.
    """
    _check_finite(vectors)
    return np.packbits(vectors > 0, axis=1)


def random_hyperplanes(dim: int, bits: int, *, seed: int = 0) -> BinaryCoder:
    """Planes through the origin in random directions (LSH; Charikar 2002, section 3).

    Two vectors fall on different sides of a plane with a probability of their angle / pi, so the
    share of bits that differ tells the angle, the better the more bits there are. Needs no data.

    Args:
        dim: Of the vectors.
        bits: Of the codes; may be more than dimensions.
        seed: Of the directions.
    """
    normals = np.random.default_rng(seed).standard_normal((dim, bits))
    return BinaryCoder(np.zeros(dim, dtype=np.float32), normals.astype(np.float32))


def fit_iterative_quantization(
    vectors: Float[np.ndarray, "n dim"], bits: int, *, rounds: int = 50, seed: int = 0
) -> BinaryCoder:
    """Principal components, turned so that they lie close to their own signs (ITQ).

    Gong and Lazebnik 2011, "Iterative Quantization: A Procrustean Approach to Learning Binary
    Codes", section 2: from a random rotation on, the signs are taken and the rotation is fitted to
    them, in turn.

    Args:
        vectors: What the stored vectors look like.
        bits: Of the codes; dimensions at most.
        rounds: Of taking signs and fitting.
        seed: Of the first rotation.

    Raises:
        InputError: When there are more bits than dimensions, or no more vectors than bits, or a
            number is not finite.
    """
    from scipy.linalg import orthogonal_procrustes

    n, dim = vectors.shape
    if not 1 <= bits <= dim:
        raise InputError(
            f"{bits} bits cannot be learned from vectors of {dim} dimensions.",
            f"Choose from 1 to {dim} bits, or take random hyperplanes.",
        )
    if n <= bits:
        raise InputError(
            f"{n} vectors are too few to learn {bits} bits from.",
            "Give more vectors, or take random hyperplanes.",
        )
    _check_finite(vectors)
    mean = vectors.mean(axis=0, dtype=np.float64)
    _, components = np.linalg.eigh(np.cov(vectors, rowvar=False).reshape(dim, dim))
    components = components[:, ::-1][:, :bits]  # eigh has the largest last
    values = (vectors - mean) @ components
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))[0]
    for _ in range(rounds):
        turn, _ = orthogonal_procrustes(values, np.where(values @ turn > 0, 1.0, -1.0))
    return BinaryCoder(mean.astype(np.float32), (components @ turn).astype(np.float32))


def hamming(
    queries: UInt8[np.ndarray, "queries bytes"], codes: UInt8[np.ndarray, "n bytes"]
) -> Int[np.ndarray, "queries n"]:
    """How many bits of each query's code and each code differ."""
    distances = np.empty((len(queries), len(codes)), dtype=np.int32)
    block = max(1, _BYTES_AT_ONCE // max(1, codes.size))
    for start in range(0, len(queries), block):
        different = queries[start : start + block, None] ^ codes
        distances[start : start + block] = np.bitwise_count(different).sum(axis=-1, dtype=np.int32)
    return distances


def _check_finite(vectors: Float[np.ndarray, "n dim"]) -> None:
    if not np.isfinite(vectors).all():
        raise InputError(
            "The vectors hold numbers that are not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
