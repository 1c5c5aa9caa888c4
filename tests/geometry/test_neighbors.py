from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.core.errors import InputError
from isometry.geometry.neighbors import top_k


def whole_numbers(rows: int, dim: int, seed: int) -> np.ndarray:
    """Small whole numbers: inner products are exact, so many of them are truly equal."""
    return np.random.default_rng(seed).integers(-2, 3, size=(rows, dim)).astype(np.float32)


@settings(deadline=None)
@given(
    st.integers(1, 20), st.integers(1, 30), st.integers(1, 35), st.integers(1, 40), st.integers()
)
def test_a_full_stable_sort_agrees_for_every_block(
    n: int, m: int, k: int, block: int, seed: int
) -> None:
    queries, base = whole_numbers(n, 3, abs(seed)), whole_numbers(m, 3, abs(seed) + 1)
    products = queries @ base.T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    scores, rows = top_k(queries, base, k, block=block)
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(scores, np.take_along_axis(products, order, axis=1))


def test_every_vector_is_its_own_nearest_neighbour() -> None:
    base = np.random.default_rng(0).normal(size=(3000, 32)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    scores, rows = top_k(base, base, 2, block=512)
    np.testing.assert_array_equal(rows[:, 0], np.arange(3000))
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)
    assert scores.dtype == np.float32


@pytest.mark.parametrize(("queries", "base", "k"), [(0, 5, 3), (4, 0, 3), (4, 5, 0)])
def test_nothing_to_find(queries: int, base: int, k: int) -> None:
    scores, rows = top_k(np.ones((queries, 2)), np.ones((base, 2)), k)
    assert scores.shape == rows.shape == (queries, min(k, base))


@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_are_none_are_refused(side: int) -> None:
    sides = [np.ones((3, 4), dtype=np.float32), np.ones((9, 4), dtype=np.float32)]
    sides[side][1, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        top_k(*sides, 5)
