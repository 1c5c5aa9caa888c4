from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from isometry.compression.product_quantization import (
    ProductQuantizer,
    fit_product_quantizer,
    fit_rotated_product_quantizer,
)
from isometry.core.errors import InputError


def error(quantizer: ProductQuantizer, vectors: np.ndarray) -> float:
    back = quantizer.decode(quantizer.encode(vectors))
    return float(((vectors - back) ** 2).sum(axis=1).mean())


@pytest.fixture(scope="module")
def plain(words: np.ndarray) -> ProductQuantizer:
    return fit_product_quantizer(words, 8, codes=16)


@pytest.fixture(scope="module")
def rotated(words: np.ndarray) -> ProductQuantizer:
    return fit_rotated_product_quantizer(words, 8, codes=16)


# Max 1960, "Quantizing for Minimum Distortion", table I: the best quantizer of a normal variable.
@pytest.mark.parametrize(("codes", "least"), [(1, 1.0), (2, 0.3634), (4, 0.1175), (16, 0.009497)])
def test_a_normal_dimension_loses_what_the_best_quantizer_loses(codes: int, least: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    quantizer = fit_product_quantizer(vectors, 3, codes=codes)
    assert quantizer.codebooks.shape == (3, codes, 1)
    assert error(quantizer, vectors) / 3 == pytest.approx(least, rel=0.05)


def test_every_part_takes_its_nearest_centroid(words: np.ndarray, plain: ProductQuantizer) -> None:
    codes = plain.encode(words)
    assert codes.dtype == np.uint8 and codes.shape == (3000, 8)
    for part in range(8):
        distances = cdist(words[:, 4 * part : 4 * part + 4], plain.codebooks[part])
        chosen = distances[np.arange(3000), codes[:, part]]
        np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-6)
    # Centroids are the means of what takes them.
    mean = words[codes[:, 2] == 5, 8:12].mean(axis=0)
    np.testing.assert_allclose(plain.codebooks[2, 5], mean, atol=0.02)


def test_encoding_in_blocks_is_encoding_at_once(
    words: np.ndarray, plain: ProductQuantizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isometry.compression import product_quantization

    whole = plain.encode(words)
    monkeypatch.setattr(product_quantization, "_SQUARES_AT_ONCE", 16 * 7)
    assert np.array_equal(plain.encode(words), whole)


def test_what_is_decoded_has_the_code_again(
    words: np.ndarray, plain: ProductQuantizer, rotated: ProductQuantizer
) -> None:
    for quantizer in (plain, rotated):
        codes = quantizer.encode(words)
        assert np.array_equal(quantizer.encode(quantizer.decode(codes)), codes)


def test_scores_are_products_with_the_decoded_vectors(
    words: np.ndarray, plain: ProductQuantizer, rotated: ProductQuantizer
) -> None:
    for quantizer in (plain, rotated):
        codes = quantizer.encode(words[:500])
        expected = words[500:540] @ quantizer.decode(codes).T
        np.testing.assert_allclose(quantizer.scores(words[500:540], codes), expected, atol=1e-5)


def test_more_parts_or_codes_lose_less(words: np.ndarray, plain: ProductQuantizer) -> None:
    parts = [error(fit_product_quantizer(words, parts, codes=16), words) for parts in (2, 16)]
    codes = [error(fit_product_quantizer(words, 8, codes=codes), words) for codes in (4, 64)]
    for more, less in (parts, codes):
        assert more > 1.15 * error(plain, words) > 1.15**2 * less


def test_the_rotation_is_one_and_loses_less(
    words: np.ndarray, plain: ProductQuantizer, rotated: ProductQuantizer
) -> None:
    assert rotated.rotation is not None
    np.testing.assert_allclose(rotated.rotation @ rotated.rotation.T, np.eye(32), atol=1e-5)
    assert error(rotated, words) < 0.96 * error(plain, words)
    start = fit_rotated_product_quantizer(words, 8, codes=16, rounds=0)
    assert error(rotated, words) < 0.96 * error(start, words)


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_the_first_rotation_deals_the_variances_out(scale: float) -> None:
    """Two dimensions hold nearly everything: in one part they would share its codes."""
    deviations = scale * np.array([10.0, 8.0, 1.0, 0.8])
    vectors = np.random.default_rng(1).normal(size=(4000, 4)) * deviations
    start = fit_rotated_product_quantizer(vectors, 2, codes=16, rounds=0)
    assert start.rotation is not None
    products = [
        np.linalg.det(np.cov(vectors / scale @ start.rotation[:, columns], rowvar=False))
        for columns in (slice(0, 2), slice(2, 4))
    ]
    # 10 goes with 0.8, and 8 with 1: both products are 8**2.
    assert products == pytest.approx([64, 64], rel=0.1)
    assert error(start, vectors) < 0.6 * error(fit_product_quantizer(vectors, 2, codes=16), vectors)


def test_a_round_vector_gains_nothing_from_a_rotation() -> None:
    vectors = np.random.default_rng(2).normal(size=(4000, 8))
    errors = [
        error(fit(vectors, 4, codes=16), vectors)
        for fit in (fit_product_quantizer, fit_rotated_product_quantizer)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.03)


def test_fits_repeat(words: np.ndarray, plain: ProductQuantizer) -> None:
    again = fit_product_quantizer(words, 8, codes=16)
    assert np.array_equal(again.codebooks, plain.codebooks)
    other = fit_product_quantizer(words, 8, codes=16, seed=1)
    assert not np.array_equal(other.codebooks, plain.codebooks)


@pytest.mark.parametrize("rounds", [0, 1])
def test_the_seed_decides_where_a_rotated_fit_begins(rounds: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    one, same, other = (
        fit_rotated_product_quantizer(vectors, 2, codes=8, rounds=rounds, seed=seed).codebooks
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize("fit", [fit_product_quantizer, fit_rotated_product_quantizer])
def test_what_no_codebook_can_be_learned_from_is_refused(fit, words: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"3000 vectors are too few to learn 256 .* ask for 76"):
        fit(words, 8)
    with pytest.raises(InputError, match="too few"):
        fit(words[: 39 * 16 - 1], 8, codes=16)
    with pytest.raises(InputError, match="32 dimensions cannot be cut into 5"):
        fit(words, 5, codes=16)
    with pytest.raises(InputError, match="cannot be cut into 0"):
        fit(words, 0, codes=16)
    with pytest.raises(InputError, match="from 1 to 256 codes, not 257"):
        fit(words, 8, codes=257)
    broken = words.copy()
    broken[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        fit(broken, 8, codes=16)


def test_just_enough_vectors_are_enough(words: np.ndarray) -> None:
    few = words[: 39 * 16]
    assert fit_product_quantizer(few, 8, codes=16).encode(few).shape == (624, 8)
