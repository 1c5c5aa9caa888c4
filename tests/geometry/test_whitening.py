from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from isometry.core.errors import InputError
from isometry.geometry.whitening import Whitening

quick_ica = partial(Whitening.ica, iterations=5)
KINDS = [
    pytest.param(Whitening.pca, id="pca"),
    pytest.param(Whitening.zca, id="zca"),
    pytest.param(quick_ica, id="ica"),
]
Kind = Callable[..., Whitening]


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """1,797 images of 64 pixels, three of which are always 0."""
    return load_digits().data


@pytest.fixture(scope="module")
def kept(digits: np.ndarray) -> np.ndarray:
    return digits.std(axis=0) > 0


def covariance(vectors: np.ndarray) -> np.ndarray:
    return np.cov(vectors.T, bias=True)


@pytest.mark.filterwarnings("ignore:FastICA stopped")
@pytest.mark.parametrize("kind", KINDS)
def test_the_covariance_is_the_identity(kind: Kind, digits: np.ndarray, kept: np.ndarray) -> None:
    white = kind(digits, scale=100.0).transform(digits)
    if white.shape[1] == len(kept):
        assert not white[:, ~kept].any()
        white = white[:, kept]
    assert white.shape == (len(digits), kept.sum())
    np.testing.assert_allclose(covariance(white) / 100**2, np.eye(kept.sum()), atol=1e-3)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:FastICA stopped")
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_is_made_once_and_applied_to_anything(kind: Kind, digits: np.ndarray) -> None:
    made = kind(digits)
    np.testing.assert_array_equal(made.transform(digits)[:5], made.transform(digits[:5]))
    # Affine: what lies between two vectors stays there.
    middle = (digits[:1] + digits[1:2]) / 2
    white = made.transform(digits[:2])
    np.testing.assert_allclose(made.transform(middle)[0], white.mean(axis=0), atol=1e-9)
    assert made.transform(digits.astype(np.float32)).dtype == np.float32


def test_pca_is_scikit_learns(digits: np.ndarray) -> None:
    white = Whitening.pca(digits).transform(digits)
    theirs = PCA(61, whiten=True, svd_solver="full").fit_transform(digits)
    theirs *= np.sqrt(len(digits) / (len(digits) - 1))  # theirs divides by n - 1
    cosines = (white * theirs).mean(axis=0)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-6)


def test_zca_is_the_symmetric_one(digits: np.ndarray, kept: np.ndarray) -> None:
    matrix = Whitening.zca(digits).matrix
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    block = matrix[np.ix_(kept, kept)]
    assert np.linalg.eigvalsh(block).min() > 0
    np.testing.assert_allclose(
        block @ covariance(digits[:, kept]) @ block, np.eye(kept.sum()), atol=1e-6
    )


def test_ica_is_the_recipe_of_the_official_code(digits: np.ndarray) -> None:
    # ICA-transform.py of ryuliuxiaodong/DefSent-Plus: these two classes with these settings, and
    # a factor of 100. Pixels that are nearly always 0 make FastICA chaotic, and are left out here.
    widths = digits.std(axis=0)
    digits = digits[:, (widths == 0) | (widths > 1)]
    scaled = StandardScaler().fit_transform(digits[:, digits.any(axis=0)])
    settings = {"tol": 1e-4, "whiten": "unit-variance", "fun": "logcosh", "random_state": 42}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = FastICA(n_components=48, max_iter=20, **settings).fit_transform(scaled) * 100
        ours = Whitening.ica(digits, iterations=20, scale=100.0).transform(digits)
        other = Whitening.ica(digits, iterations=20, scale=100.0, seed=1).transform(digits)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(ours - other).max() > 1


@pytest.mark.filterwarnings("ignore:FastICA stopped")
def test_ica_turns_pca_of_standardised_columns(digits: np.ndarray, kept: np.ndarray) -> None:
    ica = quick_ica(digits).transform(digits)[:200]
    scaled = StandardScaler().fit_transform(digits[:, kept])
    pca = Whitening.pca(scaled).transform(scaled)[:200]
    np.testing.assert_allclose(ica @ ica.T, pca @ pca.T, atol=1e-6)
    assert np.abs(ica - pca).max() > 1


def test_ica_finds_what_was_mixed(digits: np.ndarray) -> None:
    # Four pixels far from each other, in other orders each: nothing but themselves is independent.
    generator = np.random.default_rng(0)
    pixels = np.stack([generator.permutation(digits[:, at]) for at in (2, 20, 37, 61)], axis=1)
    pixels = (pixels - pixels.mean(axis=0)) / pixels.std(axis=0)
    found = Whitening.ica(pixels @ generator.normal(size=(4, 4))).transform(pixels[:0])
    assert found.shape == (0, 4)
    mixed = pixels @ generator.normal(size=(4, 4))
    cosines = np.abs(Whitening.ica(mixed).transform(mixed).T @ pixels) / len(pixels)
    assert (cosines.max(axis=1) > 0.95).all() and (cosines.max(axis=0) > 0.95).all()
    cosines = np.abs(Whitening.pca(mixed).transform(mixed).T @ pixels) / len(pixels)
    assert cosines.max(axis=1).min() < 0.9


def test_how_far_it_came_is_said_when_it_did_not_converge(digits: np.ndarray) -> None:
    columns = digits[:, 18:23]
    with pytest.warns(UserWarning, match="after 3 iterations at a tolerance of") as caught:
        Whitening.ica(columns, iterations=3, tolerance=1e-9)
    assert len(caught) == 1
    found = re.search(r"tolerance of (\S+), not 1e-09", str(caught[0].message))
    assert found is not None
    reached = float(found[1])
    assert 1e-6 < reached < 1
    # One iteration more, and scikit-learn compares the same number with its own tolerance.
    scaled = StandardScaler().fit_transform(columns)
    settings = {"max_iter": 4, "whiten": "unit-variance", "random_state": 42}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FastICA(5, tol=reached * 1.03, **settings).fit(scaled)
        Whitening.ica(columns)
    with pytest.warns(ConvergenceWarning):
        FastICA(5, tol=reached * 0.97, **settings).fit(scaled)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_whitened_is_refused(
    kind: Kind, digits: np.ndarray, kept: np.ndarray
) -> None:
    varying = digits[:, 18:23]
    with pytest.raises(InputError, match="5 vectors are too few to whiten 5 dimensions"):
        kind(varying[:5])
    with pytest.raises(InputError, match="the same"):
        kind(np.repeat(varying[:1], 9, axis=0))
    with pytest.raises(InputError, match="not finite"):
        kind(np.where(varying == varying[0, 0], np.nan, varying))


@pytest.mark.filterwarnings("ignore:FastICA stopped")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_directions_of_noise_are_left_out(kind: Kind, dtype: type, digits: np.ndarray) -> None:
    """As if they were not there: they would become as wide as the others."""
    varying = digits[:, 18:23]
    noisy = varying.copy()
    noisy[:, 2] = 7 + np.random.default_rng(0).normal(size=len(digits)) * 1e-8
    assert not kind(noisy.astype(dtype)).matrix[2].any()
    # The third is the sum of two others, as exactly as numbers are.
    dependent = varying / 3
    dependent[:, 2] = dependent[:, 0] + dependent[:, 4]
    dependent = dependent.astype(dtype)
    white = kind(dependent).transform(dependent.astype(np.float64))
    variances = np.linalg.eigvalsh(covariance(white))
    np.testing.assert_allclose(variances[-4:], 1, atol=1e-4)
    np.testing.assert_allclose(variances[:-4], 0, atol=1e-4)
    assert np.abs(white).max() < 10


@pytest.mark.parametrize("unit", [1e-7, 1e7])
@pytest.mark.parametrize("constant", [False, True])
def test_what_counts_as_constant_or_dependent_is_so_in_any_unit(
    unit: float, constant: bool
) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 5))
    vectors[:, 2] = vectors[:, 0] + vectors[:, 4]
    if constant:
        vectors[:, 1] = 7 + 1e-9 * vectors[:, 1]
    expected, found = Whitening.pca(vectors).matrix, Whitening.pca(unit * vectors).matrix
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.abs(found) * unit, np.abs(expected), rtol=1e-5, atol=1e-7)
