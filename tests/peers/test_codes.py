"""Product quantizers and binary codes against faiss's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isometry.compression.binary_codes import fit_iterative_quantization, hamming, sign_codes
from isometry.compression.product_quantization import (
    ProductQuantizer,
    fit_product_quantizer,
    fit_rotated_product_quantizer,
)

faiss: Any = pytest.importorskip("faiss", reason="faiss-cpu has no wheel here")

DIM, PARTS, BITS = 16, 4, 4


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Clusters of unlike spread, in dimensions that depend on each other."""
    chance = np.random.default_rng(0)
    centres = 2 * chance.normal(size=(30, DIM))
    points = centres[chance.integers(30, size=3000)] + chance.normal(size=(3000, DIM))
    mix = np.linalg.qr(chance.normal(size=(DIM, DIM)))[0] * np.linspace(0.3, 2, DIM)[:, None]
    return (points @ mix).astype(np.float32)


def error(vectors: np.ndarray, back: np.ndarray) -> float:
    return float(((vectors - back) ** 2).sum(axis=1).mean())


def ours(quantizer: ProductQuantizer, vectors: np.ndarray) -> float:
    return error(vectors, quantizer.decode(quantizer.encode(vectors)))


def theirs(vectors: np.ndarray) -> tuple[Any, float]:
    quantizer = faiss.ProductQuantizer(DIM, PARTS, BITS)
    quantizer.train(vectors)
    return quantizer, error(vectors, quantizer.decode(quantizer.compute_codes(vectors)))


def test_the_error_of_their_product_quantizer(vectors: np.ndarray) -> None:
    quantizer = fit_product_quantizer(vectors, PARTS, codes=2**BITS)
    # Their k-means starts from random vectors, ours from k-means++: it ends a little lower.
    assert 0.94 < ours(quantizer, vectors) / theirs(vectors)[1] < 1.01


def test_the_codes_and_products_of_their_index_with_our_codebooks(vectors: np.ndarray) -> None:
    quantizer = fit_product_quantizer(vectors, PARTS, codes=2**BITS)
    index = faiss.IndexPQ(DIM, PARTS, BITS, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    faiss.copy_array_to_vector(quantizer.codebooks.ravel(), index.pq.centroids)
    # Theirs are packed two to a byte, the first in the lower half.
    packed = index.pq.compute_codes(vectors)
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(vectors), PARTS)
    np.testing.assert_array_equal(quantizer.encode(vectors), codes)
    index.add(vectors)
    found, rows = index.search(vectors[:20], 10)
    scores = quantizer.scores(vectors[:20], codes)
    np.testing.assert_allclose(np.take_along_axis(scores, rows, axis=1), found, rtol=1e-4)
    np.testing.assert_allclose(np.sort(scores, axis=1)[:, :-11:-1], found, rtol=1e-4)


def test_no_more_error_than_their_rotation(vectors: np.ndarray) -> None:
    matrix = faiss.OPQMatrix(DIM, PARTS)
    matrix.pq = faiss.ProductQuantizer(DIM, PARTS, BITS)
    matrix.train(vectors)
    turned = theirs(matrix.apply(vectors))[1]  # a rotation keeps the error
    plain = theirs(vectors)[1]
    found = ours(fit_rotated_product_quantizer(vectors, PARTS, codes=2**BITS), vectors)
    assert turned < 0.97 * plain
    assert found < 1.03 * turned


def test_no_more_loss_than_their_iterative_quantization(vectors: np.ndarray) -> None:
    coder = fit_iterative_quantization(vectors, 8)
    values = (vectors - coder.mean) @ coder.projection
    centred = vectors - vectors.mean(axis=0)
    components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:8].T
    matrix = faiss.ITQMatrix(8)
    components = np.ascontiguousarray(components)
    matrix.train(components)
    turned = matrix.apply(components)

    def loss(values: np.ndarray) -> float:
        return float(((np.sign(values) - values) ** 2).mean())

    assert loss(values) < 1.02 * loss(turned)


def test_their_hamming_distances(vectors: np.ndarray) -> None:
    codes = sign_codes(vectors)
    index = faiss.IndexBinaryFlat(DIM)
    index.add(codes)
    found, rows = index.search(codes[:30], 3000)
    ours = hamming(codes[:30], codes)
    np.testing.assert_array_equal(np.take_along_axis(ours, rows, axis=1), found)
