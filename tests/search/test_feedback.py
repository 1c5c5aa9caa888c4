from __future__ import annotations

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder
from isometry.geometry.neighbors import top_k
from isometry.search.feedback import rocchio


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(4, 8))), unit(rng.normal(size=(4, 3, 8)))


def test_the_formula_by_hand() -> None:
    # 2 (1, 0) + 3 (0, 1) = (2, 3), scaled to length 1.
    found = rocchio(np.array([[1.0, 0.0]]), np.array([[[0.0, 1.5], [0.0, 0.5]]]), 2.0, 3.0)
    np.testing.assert_allclose(found, np.array([[2.0, 3.0]]) / np.sqrt(13))
    # 1 and 0.75 where nothing is said.
    found = rocchio(np.array([[1.0, 0.0]]), np.array([[[0.0, 1.0]]]))
    np.testing.assert_allclose(found, [[0.8, 0.6]])


def test_each_side_alone(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    query, neighbours = vectors
    np.testing.assert_allclose(rocchio(query, neighbours, beta=0.0), query)
    alone = rocchio(query, neighbours, alpha=0.0, beta=0.2)
    np.testing.assert_allclose(alone, unit(neighbours.mean(axis=1)))


def test_only_the_ratio_of_the_weights_counts_and_not_the_order_of_neighbours(
    vectors: tuple[np.ndarray, np.ndarray],
) -> None:
    query, neighbours = vectors
    found = rocchio(query, neighbours, 1.0, 0.5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    np.testing.assert_allclose(rocchio(query, neighbours, 4.0, 2.0), found)
    np.testing.assert_allclose(rocchio(query, neighbours[:, ::-1], 1.0, 0.5), found)
    # A neighbour that stands twice as often is no more than it was: it is a mean.
    np.testing.assert_allclose(rocchio(query, np.tile(neighbours, (1, 2, 1)), 1.0, 0.5), found)


def test_real_queries_move_towards_what_they_found(
    minilm: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    queries = minilm.encode([words for words, _ in pairs[:8]], "query", tokens=32)
    documents = minilm.encode([code for _, code in pairs[:30]], tokens=48)
    _, rows = top_k(queries, documents, 3)
    centre = unit(documents[rows].mean(axis=1))
    before = (queries * centre).sum(axis=1)
    near, nearer = (
        (rocchio(queries, documents[rows], 1.0, beta) * centre).sum(axis=1) for beta in (0.5, 2.0)
    )
    assert (before < near).all()
    assert (near < nearer).all()


def test_what_leaves_no_direction_is_refused() -> None:
    query = np.array([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(InputError, match="Query 1 and its neighbours cancel out"):
        rocchio(query, np.array([[[1.0, 0.0]], [[0.0, -1.0]]]), 1.0, 1.0)
    with pytest.raises(ValueError, match="at least one neighbour"):
        rocchio(query, np.empty((2, 0, 2)))
