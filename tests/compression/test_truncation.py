from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.compression.truncation import truncate
from isometry.core.errors import InputError


def directions(n: int, dim: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@settings(deadline=None)
@given(st.integers(1, 24), st.floats(0.01, 100))
def test_lengths_are_one_whatever_they_were(dims: int, scale: float) -> None:
    cut = truncate(directions(5, 24) * np.float32(scale), dims)
    assert cut.shape == (5, dims) and cut.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cut, truncate(directions(5, 24), dims), atol=1e-6)


def test_directions_are_those_of_the_first_dimensions() -> None:
    vectors = directions(50, 24)
    cut = truncate(vectors, 8)
    cosines = (cut * vectors[:, :8]).sum(axis=1) / np.linalg.norm(vectors[:, :8], axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_nothing_changes_when_all_dimensions_stay() -> None:
    vectors = directions(50, 24)
    np.testing.assert_allclose(truncate(vectors, 24), vectors, atol=1e-6)


def test_cutting_twice_is_cutting_once() -> None:
    vectors = directions(50, 24)
    np.testing.assert_allclose(truncate(truncate(vectors, 16), 8), truncate(vectors, 8), atol=1e-6)


def test_what_is_zero_after_the_cut_stays_zero() -> None:
    assert (truncate(np.array([[0.0, 0.0, 1.0]]), 2) == 0).all()


@pytest.mark.parametrize("dims", [0, -1, 25])
def test_a_number_of_dimensions_that_is_not_there_is_refused(dims: int) -> None:
    with pytest.raises(InputError, match="24"):
        truncate(directions(5, 24), dims)


@pytest.mark.parametrize("size", [300, 1e-3])
def test_lengths_are_one_in_half_precision_too(size: float) -> None:
    """Where the square of a length is beyond what there is, or below it."""
    cut = truncate(np.full((2, 8), size, dtype=np.float16), 8)
    assert cut.dtype == np.float16
    np.testing.assert_allclose(cut, 8**-0.5, rtol=1e-3)
