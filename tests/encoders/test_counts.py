from __future__ import annotations

import gensim.corpora
import numpy as np
import pytest
from scipy.sparse import csr_array

from isometry.core.errors import InputError
from isometry.encoders.counts import (
    ExplicitSemanticAnalysis,
    TfIdf,
    cooccurrence,
    ppmi,
    ppmi_svd,
)


def sequences(texts: list[str]) -> tuple[list[list[int]], int]:
    """Texts as numbers of words."""
    split = [text.lower().split() for text in texts]
    known = gensim.corpora.Dictionary(split)
    return [[known.token2id[word] for word in words] for words in split], len(known)


@pytest.fixture(scope="module")
def counts(texts: list[str]) -> csr_array:
    """How often words of docstrings stand near each other."""
    rows, size = sequences(texts[:150])
    return cooccurrence(rows, size, 2)


def test_tf_idf_by_hand() -> None:
    words = TfIdf(["Key key rotation", "key lock"])
    assert words.words == ["key", "lock", "rotation"]
    rare = np.log(3 / 2) + 1
    expected = np.array([[2, 0, rare], [1, rare, 0], [0, 0, 0]])
    expected[:2] /= np.linalg.norm(expected[:2], axis=1, keepdims=True)
    found = words.encode(["Key key rotation", "key lock", "unknown"]).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    dampened = TfIdf(["Key key rotation", "key lock"], sublinear=True)
    row = dampened.encode(["key key rotation"]).toarray()[0]
    assert row[2] / row[0] == pytest.approx(rare / (1 + np.log(2)))


def test_esa_is_the_cosine_with_each_concepts_text(texts: list[str]) -> None:
    words = TfIdf(texts[:200])
    concepts, items = texts[:30], texts[200:260]
    found = ExplicitSemanticAnalysis(words, concepts).encode(items)
    sides = [words.encode(some).toarray() for some in (items, concepts)]
    np.testing.assert_allclose(found.toarray(), sides[0] @ sides[1].T, atol=1e-6)
    assert found.nnz < found.toarray().size
    # A concept is most like itself.
    own = ExplicitSemanticAnalysis(words, concepts).encode(concepts).toarray()
    np.testing.assert_allclose(own.diagonal(), 1, atol=1e-6)
    with pytest.raises(InputError, match="concept 1 has no word"):
        ExplicitSemanticAnalysis(words, [texts[0], "…"])
    with pytest.raises(InputError, match="no word to count"):
        TfIdf(["…", ""])


def test_words_meet_within_a_window_and_not_across_texts() -> None:
    found = cooccurrence([[0, 1, 2, 0], [3], [], [1, 1]], 5, 2).toarray()
    assert found.tolist() == [
        [0, 2, 2, 0, 0],
        [2, 2, 1, 0, 0],
        [2, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    wide = cooccurrence([[0, 1, 2, 0]], 3, 99).toarray()
    assert wide.tolist() == [[2, 2, 2], [2, 0, 1], [2, 1, 0]]
    with pytest.raises(ValueError, match="at least 1"):
        cooccurrence([[0, 1]], 2, 0)
    with pytest.raises(ValueError, match="outside 0 to 1"):
        cooccurrence([[0, 2]], 2, 1)


def test_the_counts_of_real_texts_are_those_of_a_loop(texts: list[str]) -> None:
    rows, size = sequences(texts[:20])
    expected = np.zeros((size, size))
    for words in rows:
        for at, word in enumerate(words):
            for other in words[max(0, at - 3) : at] + words[at + 1 : at + 4]:
                expected[word, other] += 1
    np.testing.assert_array_equal(cooccurrence(rows, size, 3).toarray(), expected)


def test_ppmi_by_its_definition(counts: csr_array) -> None:
    table = counts.toarray()
    joint = table / table.sum()
    row = joint.sum(axis=1)
    column = table.sum(axis=0) ** 0.75 / (table.sum(axis=0) ** 0.75).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(joint / np.outer(row, column))
    for shift in (1.0, 5.0):
        expected = np.maximum(np.nan_to_num(information, neginf=0.0) - np.log(shift), 0)
        expected[joint == 0] = 0
        np.testing.assert_allclose(ppmi(counts, 0.75, shift).toarray(), expected, atol=1e-12)
    assert ppmi(counts, 0.75, 5.0).nnz < ppmi(counts).nnz


def test_ppmi_depends_on_shares_alone(counts: csr_array) -> None:
    # imaginator, correctness check: the same corpus twice changes nothing.
    for alpha in (1.0, 0.75):
        np.testing.assert_allclose(
            ppmi(csr_array(counts * 2), alpha).toarray(), ppmi(counts, alpha).toarray(), atol=1e-12
        )
    # A smaller alpha makes rare columns likelier, and so less telling.
    often = counts.sum(axis=0)
    least = int(np.where(often > 0, often, np.inf).argmin())
    plain, smooth = (ppmi(counts, alpha).toarray()[:, least].max() for alpha in (1.0, 0.75))
    assert smooth < plain


def test_independent_rows_and_columns_hold_no_information() -> None:
    independent = csr_array(np.outer([1.0, 2, 3], [4.0, 5, 6, 7]))
    np.testing.assert_allclose(ppmi(independent, 1.0).toarray(), 0, atol=1e-12)
    with pytest.raises(InputError, match="independent"):
        ppmi_svd(csr_array(np.outer([1.0, 2, 4], [4.0, 8, 16, 32])), 2, alpha=1.0, shift=1.01)
    with pytest.raises(InputError, match="No two words"):
        ppmi(csr_array((3, 3)))
    with pytest.raises(InputError, match="negative"):
        ppmi(csr_array(-np.eye(3)))


def test_short_vectors_are_the_best_of_their_width(counts: csr_array) -> None:
    table = ppmi(counts).toarray()
    left, values, _ = np.linalg.svd(table, full_matrices=False)
    found = ppmi_svd(counts, 20)
    assert found.shape == (len(table), 20)
    best = (left[:, :20] * values[:20]) @ left[:, :20].T
    np.testing.assert_allclose(found @ found.T, best, atol=1e-7)
    np.testing.assert_allclose(
        ppmi_svd(counts, 20, power=0.0) * values[:20] ** 0.5, found, atol=1e-7
    )
    whole = ppmi_svd(counts, 20, power=1.0)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=0), values[:20], atol=1e-7)
    np.testing.assert_array_equal(ppmi_svd(counts, 20), found)
    largest = found[np.abs(found).argmax(axis=0), np.arange(20)]
    assert (largest > 0).all()
    for dim in (0, len(table)):
        with pytest.raises(ValueError, match="dim must lie"):
            ppmi_svd(counts, dim)
