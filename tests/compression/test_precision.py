from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.compression.precision import Precision, bytes_per_vector, round_trip


def directions(n: int, dim: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_float32_is_exact_and_float16_is_numpys() -> None:
    vectors = directions(200, 48)
    np.testing.assert_array_equal(round_trip(vectors, "float32"), vectors)
    assert np.abs(round_trip(vectors, "float16") - vectors).max() <= 2.0**-12
    assert not np.array_equal(round_trip(vectors, "float16"), vectors)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_int8_is_off_by_half_a_step_of_its_own_dimension_at_most(seed: int) -> None:
    # Dimensions of very different size: one scale for all would miss the small ones' bound.
    vectors = directions(100, 12, seed) * np.logspace(-4, 0, 12, dtype=np.float32)
    half_step = np.abs(vectors).max(axis=0) / 254
    error = np.abs(round_trip(vectors, "int8") - vectors)
    assert (error <= half_step * 1.0001).all()
    assert (error.max(axis=0) > half_step / 2).all()


def test_int8_keeps_zero_extremes_and_sign() -> None:
    vectors = np.array([[0.0, -0.3], [0.7, 0.1], [-0.7, 0.3]], dtype=np.float32)
    back = round_trip(vectors, "int8")
    np.testing.assert_allclose(back[:, 0], vectors[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(round_trip(-vectors, "int8"), -back)
    assert (round_trip(np.zeros((3, 4), dtype=np.float32), "int8") == 0).all()


def test_every_precision_comes_back_to_itself() -> None:
    for precision in get_args(Precision):
        once = round_trip(directions(50, 16), precision)
        np.testing.assert_allclose(round_trip(once, precision), once, rtol=1e-5)
        assert once.dtype == np.float32 and once.shape == (50, 16)


def test_inner_products_of_binary_vectors_count_the_bits_that_differ() -> None:
    vectors = directions(40, 50)
    back = round_trip(vectors, "binary")
    bits = vectors > 0
    hamming = (bits[:, None] != bits[None]).sum(axis=-1)
    np.testing.assert_allclose(back @ back.T, 1 - 2 * hamming / 50, atol=1e-6)


def test_a_coarser_store_moves_scores_further() -> None:
    documents, queries = directions(500, 64), directions(50, 64, seed=1)
    exact = queries @ documents.T
    errors = [
        np.abs(queries @ round_trip(documents, precision).T - exact).mean()
        for precision in get_args(Precision)
    ]
    assert errors[0] == 0
    assert errors == sorted(errors) and len(set(errors)) == 4


@pytest.mark.parametrize(
    ("precision", "size"), [("float32", 400), ("float16", 200), ("int8", 100), ("binary", 13)]
)
def test_bytes(precision: Precision, size: int) -> None:
    assert bytes_per_vector(100, precision) == size


def test_zero_counts_as_negative_in_bits() -> None:
    found = round_trip(np.array([[0.0, -0.0, 1.0, -1.0]], np.float32), "binary")
    assert found.tolist() == [[-0.5, -0.5, 0.5, -0.5]]
