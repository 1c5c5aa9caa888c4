"""Product quantization: one byte for every part of a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from isometry.core.errors import InputError

# So many a centroid are needed at least, as faiss has it (ClusteringParameters).
_VECTORS_A_CODE = 39
_SQUARES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ProductQuantizer:
    """Codebooks for the parts of a vector (Jégou et al. 2011, section II.B).

    Attributes:
        codebooks: The centroids of each part.
        rotation: Turns vectors before they are cut into parts; orthogonal. None leaves them.
    """

    codebooks: Float[np.ndarray, "parts codes width"]
    rotation: Float[np.ndarray, "dim dim"] | None = None

    def encode(self, vectors: Float[np.ndarray, "n dim"]) -> UInt8[np.ndarray, "n parts"]:
        """The number of the nearest centroid of each part."""
        parts = _cut(self._turned(vectors), len(self.codebooks))
        return np.stack(
            [_nearest(part, book) for part, book in zip(parts, self.codebooks, strict=True)], axis=1
        )

    def decode(self, codes: UInt8[np.ndarray, "n parts"]) -> Float[np.ndarray, "n dim"]:
        """The vectors that the codes stand for: the centroids in a row, turned back."""
        parts = np.arange(len(self.codebooks))
        vectors = self.codebooks[parts, codes].reshape(len(codes), -1)
        return vectors if self.rotation is None else vectors @ self.rotation.T

    def scores(
        self, queries: Float[np.ndarray, "queries dim"], codes: UInt8[np.ndarray, "n parts"]
    ) -> Float[np.ndarray, "queries n"]:
        """The inner products of queries with coded vectors, without decoding them.

        The query is not coded (the asymmetric case of Jégou et al. 2011, section III.A): its
        products with all centroids are looked up and added.
        """
        parts = _cut(self._turned(queries), len(self.codebooks))
        scores = np.zeros((len(queries), len(codes)), dtype=np.float32)
        for part, book, column in zip(parts, self.codebooks, codes.T, strict=True):
            scores += (part @ book.T)[:, column]
        return scores

    def _turned(self, vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
        values = vectors.astype(np.float32, copy=False)
        return values if self.rotation is None else values @ self.rotation


def fit_product_quantizer(
    vectors: Float[np.ndarray, "n dim"], parts: int, *, codes: int = 256, seed: int = 0
) -> ProductQuantizer:
    """Learns the codebooks by k-means on each part (PQ; Jégou et al. 2011, section II.B).

    Args:
        vectors: What the stored vectors look like.
        parts: Into how many equal parts a vector is cut: the bytes that it will take.
        codes: The centroids of a part, 256 at most. Fewer save no bytes here, but need fewer
            vectors.
        seed: Of k-means.

    Raises:
        InputError: When there are fewer than 39 vectors a centroid, the dimensions cannot be cut
            into so many parts, or a number is not finite.
    """
    values = _checked(vectors, parts, codes)
    return ProductQuantizer(np.stack([_k_means(part, codes, seed) for part in _cut(values, parts)]))


def fit_rotated_product_quantizer(
    vectors: Float[np.ndarray, "n dim"],
    parts: int,
    *,
    codes: int = 256,
    rounds: int = 20,
    seed: int = 0,
) -> ProductQuantizer:
    """Learns codebooks and the rotation for which they lose least (OPQ).

    Ge et al. 2013, "Optimized Product Quantization for Approximate Nearest Neighbor Search". It
    starts from their parametric solution (section 3.2): principal components, dealt out so that
    the parts have like products of variances. Then come rounds of the non-parametric one (section
    3.1): vectors are coded, and the rotation is fitted to the decoded ones by Procrustes.

    Args:
        vectors: What the stored vectors look like.
        parts: Into how many equal parts a vector is cut: the bytes that it will take.
        codes: The centroids of a part, 256 at most.
        rounds: Of fitting the rotation; with 0 the parametric solution stays.
        seed: Of k-means.

    Raises:
        InputError: As `fit_product_quantizer` does.
    """
    from scipy.linalg import orthogonal_procrustes

    values = _checked(vectors, parts, codes)
    rotation = _balanced_components(values, parts)
    books = fit_product_quantizer(values @ rotation, parts, codes=codes, seed=seed).codebooks
    for _ in range(rounds):
        quantizer = ProductQuantizer(books)
        turned = values @ rotation
        rotation, _ = orthogonal_procrustes(values, quantizer.decode(quantizer.encode(turned)))
        books = np.stack(
            [
                _k_means(part, codes, seed, book)
                for part, book in zip(_cut(values @ rotation, parts), books, strict=True)
            ]
        )
    return ProductQuantizer(books, rotation)


def uneven_parts(dim: int, parts: int) -> InputError:
    """What is wrong with a number of parts that does not divide a vector."""
    return InputError(
        f"Vectors of {dim} dimensions cannot be cut into {parts} equal parts.",
        f"Choose a divisor of {dim}.",
    )


def _checked(
    vectors: Float[np.ndarray, "n dim"], parts: int, codes: int
) -> Float[np.ndarray, "n dim"]:
    n, dim = vectors.shape
    if not 1 <= codes <= 256:
        raise InputError(f"A part has from 1 to 256 codes, not {codes}.")
    if parts < 1 or dim % parts:
        raise uneven_parts(dim, parts)
    if n < _VECTORS_A_CODE * codes:
        possible = n // _VECTORS_A_CODE
        raise InputError(
            f"{n} vectors are too few to learn {codes} codes a part from:"
            f" {_VECTORS_A_CODE * codes} are needed.",
            f"Give more vectors, or ask for {possible} codes." if possible else "Give more.",
        )
    if not np.isfinite(vectors).all():
        raise InputError(
            "The vectors hold numbers that are not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
    return vectors.astype(np.float32, copy=False)


def _cut(vectors: Float[np.ndarray, "n dim"], parts: int) -> list[Float[np.ndarray, "n width"]]:
    return np.split(vectors, parts, axis=1)


def _k_means(
    part: Float[np.ndarray, "n width"],
    codes: int,
    seed: int,
    start: Float[np.ndarray, "codes width"] | None = None,
) -> Float[np.ndarray, "codes width"]:
    """Centroids; with a start, what a few steps make of it."""
    from sklearn.cluster import KMeans

    init: Any = "k-means++" if start is None else start
    steps = 25 if start is None else 4
    means = KMeans(codes, init=init, max_iter=steps, tol=0, random_state=seed)
    return means.fit(part).cluster_centers_.astype(np.float32)


def _nearest(
    part: Float[np.ndarray, "n width"], book: Float[np.ndarray, "codes width"]
) -> UInt8[np.ndarray, " n"]:
    lengths = (book**2).sum(axis=1)
    block = max(1, _SQUARES_AT_ONCE // len(book))
    found = np.empty(len(part), dtype=np.uint8)
    for start in range(0, len(part), block):
        rows = slice(start, start + block)
        found[rows] = (lengths - 2 * part[rows] @ book.T).argmin(axis=1)
    return found


def _balanced_components(
    values: Float[np.ndarray, "n dim"], parts: int
) -> Float[np.ndarray, "dim dim"]:
    """The principal components, each given to the part with the smallest product of variances."""
    dim = values.shape[1]
    variances, components = np.linalg.eigh(np.cov(values, rowvar=False).reshape(dim, dim))
    # A dimension that others determine has none, or by rounding less.
    logs = np.log(np.maximum(variances, np.finfo(np.float32).tiny))
    logs -= logs.min()  # the first component makes a product larger, whatever the scale
    width = dim // parts
    members: list[list[int]] = [[] for _ in range(parts)]
    for component in np.argsort(-variances, kind="stable"):
        open_parts = [part for part in range(parts) if len(members[part]) < width]
        smallest = min(open_parts, key=lambda part: logs[members[part]].sum())
        members[smallest].append(int(component))
    return components[:, np.concatenate(members)].astype(np.float32)
