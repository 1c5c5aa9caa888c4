from __future__ import annotations

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.encoders.text import TextEncoder
from isometry.geometry.standardize import Standardizer


def test_every_dimension_has_mean_0_and_spread_1() -> None:
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    vectors = (random.normal(size=(200, 6)) * [1, 2, 3, 4, 5, 6] + 7).astype(np.float32)
    standard = Standardizer.fit(vectors)
    found = standard.apply(vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, StandardScaler().fit_transform(vectors), atol=1e-5)
    # Others are measured by the same rule, not by their own.
    np.testing.assert_allclose(standard.apply(vectors[:3]), found[:3], atol=1e-6)


def test_what_hardly_changes_does_not_become_noise() -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    vectors[:, 1] = 3
    vectors[:, 2] *= 1e-4
    found = Standardizer.fit(vectors).apply(vectors)
    assert np.abs(found[:, 1]).max() < 1e-4
    assert 0.005 < found[:, 2].std() < 0.02
    np.testing.assert_allclose(found[:, [0, 3, 4]].std(axis=0), 1, atol=1e-5)
    wide = Standardizer.fit(vectors, floor=0.5).apply(vectors)
    assert wide[:, 2].std() < 0.001


def test_one_wide_dimension_does_not_quiet_the_others() -> None:
    # Transformers have some that are very much wider than the rest.
    vectors = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    vectors[:, 4] *= 1000
    found = Standardizer.fit(vectors).apply(vectors)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-4)


def test_three_dimensions_of_minilm_stay_quiet(minilm: TextEncoder) -> None:
    vectors = minilm.encode([f"the number {number}" for number in range(30)])
    spread = vectors.std(axis=0)
    still = spread < 1e-6
    assert still.sum() == 3
    found = Standardizer.fit(vectors).apply(vectors)
    assert np.abs(found[:, still]).max() < 1e-2


def test_vectors_that_are_mostly_the_same_are_refused() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    vectors[:, :5] = 3
    for same in (vectors, vectors[:1]):
        with pytest.raises(InputError, match="the same in all"):
            Standardizer.fit(same)
    assert np.isfinite(Standardizer.fit(vectors[:, 2:]).apply(vectors[:, 2:])).all()


def test_many_vectors_in_half_precision_are_counted_to_the_end() -> None:
    vectors = 1 + np.random.default_rng(0).standard_normal((60_000, 4))
    found = Standardizer.fit(vectors.astype(np.float16))
    np.testing.assert_allclose(found.mean, vectors.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(found.spread, vectors.std(axis=0), rtol=1e-3)
    assert found.apply(vectors.astype(np.float16)).dtype == np.float16


@pytest.mark.parametrize("unit", [0.1, 5.0])
def test_the_least_spread_is_a_share_of_the_median_whatever_the_unit(unit: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32) * np.float32(unit)
    vectors[:, 2] *= 1e-4
    median = np.median(vectors.std(axis=0))
    assert Standardizer.fit(vectors, floor=0.2).spread[2] == pytest.approx(0.2 * median)
