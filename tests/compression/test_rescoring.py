from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isometry.compression import rescoring
from isometry.compression.binary_codes import hamming, sign_codes
from isometry.compression.precision import round_trip
from isometry.compression.product_quantization import fit_product_quantizer
from isometry.compression.rescoring import search_with_rescoring

Coarse = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def stores(words: np.ndarray) -> dict[str, Coarse]:
    """Coarse scores for all but the first 100 words, which ask."""
    stored = words[100:]
    small, bits = round_trip(stored, "int8"), sign_codes(stored)
    quantizer = fit_product_quantizer(stored, 16, codes=16)
    codes = quantizer.encode(stored)
    return {
        "int8": lambda some: some @ small.T,
        "binary": lambda some: -hamming(sign_codes(some), bits).astype(np.float32),
        "product": lambda some: quantizer.scores(some, codes),
    }


def exact(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))


@pytest.mark.parametrize("kind", ["int8", "binary", "product"])
def test_all_candidates_give_the_exact_ranking_and_k_the_coarse_set(
    words: np.ndarray, stores: dict[str, Coarse], kind: str
) -> None:
    queries, stored = words[:100], words[100:]
    rows, scores = search_with_rescoring(queries, stored, stores[kind], k=10, depth=2900)
    np.testing.assert_array_equal(rows, exact(queries, stored, 10))
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ stored.T, rows, 1), atol=1e-6)
    rows, scores = search_with_rescoring(queries, stored, stores[kind], k=10, depth=10)
    coarse = np.argsort(-stores[kind](queries), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(coarse, axis=1))
    assert (np.diff(scores, axis=1) <= 0).all()


def test_int8_with_rescoring_is_exact_and_bits_win_with_depth(
    words: np.ndarray, stores: dict[str, Coarse]
) -> None:
    queries, stored = words[:100], words[100:]
    expected = exact(queries, stored, 10)
    depths = {
        (kind, depth): recall(
            search_with_rescoring(queries, stored, stores[kind], k=10, depth=depth)[0], expected
        )
        for kind in stores
        for depth in (10, 40, 400)
    }
    # Within 0.01 of exact, which the page of dense retrieval asks for.
    assert depths["int8", 40] >= 0.99
    for kind in ("binary", "product"):
        assert depths[kind, 10] < depths[kind, 40] - 0.05 < depths[kind, 400] - 0.1
    assert depths["product", 40] > depths["binary", 40]


def test_blocks_do_not_matter(
    words: np.ndarray, stores: dict[str, Coarse], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def coarse(some: np.ndarray) -> np.ndarray:
        asked.append(len(some))
        return stores["binary"](some)

    whole = search_with_rescoring(words[:100], words[100:], coarse, k=5, depth=20)
    monkeypatch.setattr(rescoring, "_SCORES_AT_ONCE", 2900 * 30)
    blocks = search_with_rescoring(words[:100], words[100:], coarse, k=5, depth=20)
    assert asked == [100, 30, 30, 30, 10]
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_scores_are_ordered_by_row_and_missing_rows_are_marked() -> None:
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [2, 0]])

    def coarse(some: np.ndarray) -> np.ndarray:
        return np.tile(np.array([1.0, 5.0, 3.0, 2.0]), (len(some), 1))

    queries = np.array([[1.0, 0.0]])
    rows, scores = search_with_rescoring(queries, vectors, coarse, k=6, depth=6)
    assert rows.tolist() == [[3, 0, 2, 1, -1, -1]]
    assert scores.tolist() == [[2, 1, 1, 0, -np.inf, -np.inf]]
    # Three candidates: the row with the lowest coarse score is not looked at.
    assert search_with_rescoring(queries, vectors, coarse, k=3, depth=3)[0].tolist() == [[3, 2, 1]]
    empty = search_with_rescoring(queries[:0], vectors, coarse, k=2, depth=2)
    assert empty[0].shape == empty[1].shape == (0, 2)


def test_products_after_normalisation_rank_as_the_cosine(words: np.ndarray) -> None:
    lengths = np.random.default_rng(1).uniform(0.2, 5, size=(2900, 1))
    stored, queries = words[100:] * lengths, 3 * words[:20]
    distances = cdist(queries, stored, "cosine")
    by_cosine = np.argsort(distances, axis=1, kind="stable")[:, :10]
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    ranked = [
        search_with_rescoring(queries, vectors, lambda some: -cdist(some, stored), k=10, depth=2900)
        for vectors in (unit, stored)
    ]
    np.testing.assert_array_equal(ranked[0][0], by_cosine)
    assert not np.array_equal(ranked[1][0], by_cosine)


def test_what_does_not_fit_is_refused(words: np.ndarray, stores: dict[str, Coarse]) -> None:
    with pytest.raises(ValueError, match="at least k"):
        search_with_rescoring(words[:2], words[100:], stores["int8"], k=10, depth=9)
    with pytest.raises(ValueError, match="not 3 and 0"):
        search_with_rescoring(words[:2], words[100:], stores["int8"], k=0, depth=3)
    with pytest.raises(ValueError, match="50 vectors, but coarse scores"):
        search_with_rescoring(words[:2], words[:50], stores["int8"], k=1, depth=3)


def test_among_no_vectors_nothing_is_found() -> None:
    rows, scores = search_with_rescoring(
        np.ones((2, 3)), np.ones((0, 3)), lambda some: np.ones((len(some), 0)), k=2, depth=4
    )
    assert rows.tolist() == [[-1, -1]] * 2 and (scores == -np.inf).all()
