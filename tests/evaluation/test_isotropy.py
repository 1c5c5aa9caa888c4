from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import cosine_similarity

from isometry.core.errors import InputError
from isometry.evaluation.isotropy import isotropy
from isometry.geometry.whitening import Whitening


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data[:300]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_axes_both_ways_fill_as_many_dimensions_as_there_are_axes(k: int) -> None:
    axes = np.eye(5)[:k] * 7
    found = isotropy(np.concatenate([axes, -axes]))
    assert found["effective_rank"] == pytest.approx(k)
    assert found["isoscore"] == pytest.approx((k - 1) / 4)
    # Every vector has its opposite, so all cosines add up to none: -1 of 2 k - 1 others.
    assert found["mean_cosine"] == pytest.approx(-1 / (2 * k - 1))


def test_a_line_is_the_least_that_there_is() -> None:
    found = isotropy(np.outer([1.0, 2.0, 5.0], [3.0, 4.0]))
    assert found == pytest.approx({"mean_cosine": 1, "effective_rank": 1, "isoscore": 0})


def test_figures_are_those_of_their_definitions(digits: np.ndarray) -> None:
    found = isotropy(digits)
    cosines = cosine_similarity(digits)
    others = ~np.eye(len(digits), dtype=bool)
    assert found["mean_cosine"] == pytest.approx(cosines[others].mean())
    shares = np.linalg.eigvalsh(np.cov(digits.T))
    shares = shares[shares > 1e-9] / shares.sum()
    entropy = -(shares * np.log(shares)).sum()
    assert found["effective_rank"] == pytest.approx(np.exp(entropy), rel=1e-6)


def test_isoscore_is_what_its_five_steps_come_to(digits: np.ndarray) -> None:
    # Rudman et al. 2022, algorithm 1.
    n = digits.shape[1]
    variances = np.linalg.eigvalsh(np.cov(digits.T))
    normalised = np.sqrt(n) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normalised - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    used = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    assert isotropy(digits)["isoscore"] == pytest.approx((n * used - 1) / (n - 1))


def test_only_the_cosine_knows_the_origin(digits: np.ndarray) -> None:
    first = isotropy(digits)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64))).Q
    assert isotropy(digits @ rotation * 3) == pytest.approx(first)
    moved = isotropy(digits + 50)
    assert moved["mean_cosine"] > first["mean_cosine"] + 0.1
    for name in ("effective_rank", "isoscore"):
        assert moved[name] == pytest.approx(first[name])


def test_whitened_vectors_are_isotropic() -> None:
    digits = load_digits().data
    before, after = isotropy(digits), isotropy(Whitening.pca(digits).transform(digits))
    assert before["mean_cosine"] > 0.5 and before["effective_rank"] < 30
    assert abs(after["mean_cosine"]) < 0.05
    assert after["effective_rank"] == pytest.approx(61) and after["isoscore"] == pytest.approx(1)


def test_vectors_that_say_nothing_are_refused(digits: np.ndarray) -> None:
    for value in (0.0, np.nan):
        broken = digits.copy()
        broken[7] = value
        with pytest.raises(InputError, match="Vector 7 is zero or not finite"):
            isotropy(broken)
    with pytest.raises(InputError, match="All vectors are the same"):
        isotropy(np.repeat(digits[:1], 4, axis=0) / 3)
    for few in (digits[:1], digits[:, 20:21]):
        with pytest.raises(ValueError, match="two vectors of two dimensions"):
            isotropy(few)


def test_two_vectors_are_enough_and_half_precision_is_summed_in_double() -> None:
    found = isotropy(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert found["mean_cosine"] == 0 and found["effective_rank"] == pytest.approx(1)
    large = np.array([[300.0, 1], [1, 300], [300, 300]])
    assert isotropy(large.astype(np.float16)) == pytest.approx(isotropy(large))
