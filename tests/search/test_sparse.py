from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from isometry.core.errors import InputError
from isometry.search import sparse
from isometry.search.sparse import SparseIndex


def counted(texts: list[str]) -> csr_array:
    """Words of texts, counted."""
    from sklearn.feature_extraction.text import CountVectorizer

    return csr_array(CountVectorizer(dtype=np.float32).fit_transform(texts))


def naive(queries: csr_array, documents: csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries.toarray().astype(np.float64) @ documents.toarray().astype(np.float64).T
    # By score, then by row.
    rows = np.array([np.lexsort((np.arange(len(own)), -own))[:k] for own in scores])
    return np.take_along_axis(scores, rows, axis=1), rows


@pytest.mark.parametrize("k", [1, 10, 400])
def test_as_dense_products_on_the_words_of_real_texts(texts: list[str], k: int) -> None:
    vectors = counted(texts[:400])
    documents, queries = vectors[:380], vectors[380:]
    scores, rows = SparseIndex(documents).search(queries, k)
    expected_scores, expected_rows = naive(queries, documents, k)
    # Counts: whole numbers, with many ties.
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)
    assert rows.shape == (20, min(k, 380))
    assert scores.dtype == np.float32


def test_no_common_dimension_is_zero_which_stands_above_negative_scores() -> None:
    documents = csr_array(np.array([[-1.0, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 3], [2, 0, 0]]))
    scores, rows = SparseIndex(documents).search(csr_array(np.array([[1.0, 0, 0]])), 5)
    assert rows.tolist() == [[4, 1, 2, 3, 0]]
    assert scores.tolist() == [[2, 0, 0, 0, -1]]


def test_an_empty_query_finds_the_first_rows() -> None:
    documents = csr_array(np.eye(3))
    scores, rows = SparseIndex(documents).search(csr_array((1, 3)), 2)
    assert rows.tolist() == [[0, 1]]
    assert scores.tolist() == [[0, 0]]
    assert SparseIndex(documents).search(csr_array((0, 3)), 2)[1].shape == (0, 2)


def test_unsigned_counts_are_ranked_from_the_highest() -> None:
    documents = csr_array(np.array([[0, 1], [3, 0], [1, 0], [2, 0]], dtype=np.uint8))
    _, rows = SparseIndex(documents).search(csr_array(np.array([[200, 0]], dtype=np.uint8)), 4)
    assert rows.tolist() == [[1, 3, 2, 0]]


def test_blocks_change_nothing(texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = counted(texts[:60])
    index = SparseIndex(vectors[:50])
    whole = index.search(vectors[45:], 7)
    monkeypatch.setattr(sparse, "_SCORES_AT_ONCE", 4 * 50)
    for ours, expected in zip(index.search(vectors[45:], 7), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_what_cannot_be_searched_is_refused() -> None:
    index = SparseIndex(csr_array(np.eye(3)))
    assert len(index) == 3
    with pytest.raises(InputError, match="queries have 2 dimensions, the index has 3"):
        index.search(csr_array(np.eye(2)), 1)
    for value in (np.nan, np.inf):
        broken = csr_array(np.diag([1.0, value, 1.0]))
        with pytest.raises(InputError, match="document vectors hold"):
            SparseIndex(broken)
        with pytest.raises(InputError, match="query vectors hold"):
            index.search(broken, 1)
