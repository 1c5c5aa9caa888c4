from __future__ import annotations

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.evaluation.paired_tests import paired_tests, wilcoxon
from isometry.evaluation.significance import permutation_test

BASE = np.array([0.5, 0.4, 0.9, 0.1, 0.6, 0.3, 0.7, 0.2])


def with_gains(gains: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return BASE[: len(gains)], BASE[: len(gains)] + np.array(gains)


def test_every_sign_alike_is_two_of_all_patterns() -> None:
    # Of 2 ** n equally likely patterns of signs, the observed one and its mirror are as extreme.
    for n in (6, 8):
        a, b = with_gains([0.01 * (row + 1) for row in range(n)])
        assert wilcoxon(a, b) == pytest.approx(2 / 2**n)
        assert wilcoxon(b, a) == pytest.approx(2 / 2**n)


def test_ranks_are_summed_by_sign() -> None:
    # The smallest difference alone has the other sign: of 64 patterns, the rank sums 0 and 1 and
    # their mirrors are as extreme.
    a, b = with_gains([-0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert wilcoxon(a, b) == pytest.approx(4 / 64)
    # The largest one instead: rank sums up to 6, of which there are 14, and their mirrors.
    a, b = with_gains([0.01, 0.02, 0.03, 0.04, 0.05, -0.06])
    assert wilcoxon(a, b) == pytest.approx(2 * 14 / 64)


def test_only_the_order_of_differences_counts() -> None:
    a, b = with_gains([0.01, -0.02, 0.03, 0.04, 0.05, 0.06])
    a2, b2 = with_gains([0.01, -0.02, 0.03, 0.04, 0.05, 60.0])
    assert wilcoxon(a, b) == wilcoxon(a2, b2)
    assert wilcoxon(a, a) == 1.0


def test_too_few_data_sets_are_refused() -> None:
    with pytest.raises(InputError, match="5 data sets cannot tell"):
        wilcoxon(*with_gains([0.1] * 5))
    with pytest.raises(ValueError, match="not finite"):
        wilcoxon(BASE, np.full(8, np.nan))
    with pytest.raises(ValueError, match="nothing to compare"):
        paired_tests({})


def test_comparisons_are_corrected_together() -> None:
    gains = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
    mixed = [-0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.0]
    found = paired_tests({"all": with_gains(gains), "most": with_gains(mixed)})
    assert list(found) == ["all", "most"]
    assert found["all"].p == pytest.approx(2 / 256)
    assert found["all"].corrected == pytest.approx(4 / 256)
    assert found["most"].corrected == found["most"].p > found["all"].corrected
    assert found["all"].difference == pytest.approx(0.045)
    assert (found["all"].better, found["most"].better) == (8, 6)
    alone = paired_tests({"all": with_gains(gains)})["all"]
    assert alone.p == alone.corrected == found["all"].p


def test_the_randomisation_test_is_that_of_the_mean() -> None:
    pair = with_gains([0.01, -0.02, 0.03, 0.04])
    found = paired_tests({"one": pair}, "permutation")["one"]
    assert found.p == permutation_test(*pair)
