"""The paired bootstrap agrees with SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from isometry.evaluation.significance import paired_bootstrap


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_agrees_with_scipy(confidence):
    chance = np.random.default_rng(7)
    a = chance.beta(0.5, 0.5, 150)  # reciprocal ranks look like this: many near 0 and near 1
    b = np.clip(a + chance.normal(0.03, 0.2, 150), 0, 1)
    ours = paired_bootstrap(a, b, samples=20_000, confidence=confidence, seed=1)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.mean(y - x, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        confidence_level=confidence,
        rng=np.random.default_rng(2),
    )
    # The standard error of a 2.5% quantile of 20,000 draws is about 0.02 standard deviations.
    error = 0.1 * float(theirs.standard_error)
    assert ours.difference == pytest.approx(np.mean(b - a))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=error)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=error)
