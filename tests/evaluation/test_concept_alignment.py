from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from isometry.core.errors import InputError
from isometry.evaluation import concept_alignment as module
from isometry.evaluation.concept_alignment import concept_alignment, permutation_gap


def example(items: int = 80, concepts: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Activations that know a little of the tags, with ties."""
    rng = np.random.default_rng(0)
    tags = rng.random((items, concepts)) < np.linspace(0.05, 0.9, concepts)
    return np.round(rng.normal(size=tags.shape) + tags, 1), tags


def test_each_auc_is_that_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    active, tags = example()
    expected = [roc_auc_score(tags[:, k], active[:, k]) for k in range(tags.shape[1])]
    np.testing.assert_allclose(concept_alignment(active, tags), expected, atol=1e-12)
    sparse = csr_array(tags.astype(np.int8))
    np.testing.assert_allclose(concept_alignment(active, sparse), expected, atol=1e-12)
    monkeypatch.setattr(module, "_CONCEPTS_AT_ONCE", 4)
    np.testing.assert_allclose(concept_alignment(active, sparse), expected, atol=1e-12)


def test_right_wrong_and_undecided() -> None:
    tags = np.array([[True, True, True, False, True], [False, False, False, False, True]])
    active = np.array([[2.0, 0, 1, 5, 5], [1.0, 1, 1, 4, 4]])
    found = concept_alignment(active, tags)
    np.testing.assert_array_equal(found, [1, 0, 0.5, np.nan, np.nan])


def test_order_alone_counts() -> None:
    active, tags = example()
    np.testing.assert_array_equal(
        concept_alignment(np.exp(3 * active), tags), concept_alignment(active, tags)
    )


def test_shuffled_names_lose_what_the_names_meant() -> None:
    # sesa, correctness check 2.
    active, tags = example(concepts=40)
    told = np.nanmean(concept_alignment(active, tags))
    gap = permutation_gap(active, tags)
    assert told - 0.56 < gap < told - 0.44
    order = np.random.default_rng(0).permutation(40)
    assert permutation_gap(active[:, order], tags) < 0.06
    assert permutation_gap(active, tags, seed=0) == gap != permutation_gap(active, tags, seed=1)
    # Names that change places with their concepts mean what they did.
    np.testing.assert_array_equal(
        concept_alignment(active[:, order], tags[:, order]), concept_alignment(active, tags)[order]
    )


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    active, tags = example()
    with pytest.raises(InputError, match="activations are 80 x 8, the tags 80 x 9"):
        concept_alignment(active[:, :8], tags)
    active[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        concept_alignment(active, tags)
    monkeypatch.setattr(module, "_MOST_DENSE", 8)
    with pytest.raises(InputError, match="9 concepts is too large") as caught:
        concept_alignment(active, tags)
    assert "sparse" in caught.value.hint
    active[3, 3] = 0
    assert len(concept_alignment(active, csr_array(tags.astype(np.int8)))) == 9


def test_a_concept_that_nobody_has_leaves_the_gap_of_the_others() -> None:
    active, tags = example()
    more = np.concatenate([tags, np.zeros((len(tags), 1), dtype=bool)], axis=1)
    wide = np.concatenate([active, np.ones((len(active), 1))], axis=1)
    assert np.isfinite(permutation_gap(wide, more))


def test_any_weight_of_a_tag_but_zero_is_one() -> None:
    active, tags = example()
    weights = csr_array(np.where(tags, -0.5, 0.0))
    np.testing.assert_array_equal(
        concept_alignment(active, weights), concept_alignment(active, tags)
    )
