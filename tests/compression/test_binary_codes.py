from __future__ import annotations

import numpy as np
import pytest

from isometry.compression import binary_codes
from isometry.compression.binary_codes import (
    BinaryCoder,
    fit_iterative_quantization,
    hamming,
    random_hyperplanes,
    sign_codes,
)
from isometry.compression.precision import round_trip
from isometry.core.errors import InputError


def neighbours_found(coder: BinaryCoder, words: np.ndarray) -> float:
    """The share of the 10 nearest vectors that are among the 50 nearest codes."""
    queries, stored = words[:200], words[200:]
    exact = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
    distances = hamming(coder.encode(queries), coder.encode(stored))
    found = np.argsort(distances, axis=1, kind="stable")[:, :50]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)]))


def test_signs_are_the_bits_of_the_stored_precision(words: np.ndarray) -> None:
    codes = sign_codes(words[:, :13])
    assert codes.dtype == np.uint8 and codes.shape == (3000, 2)
    bits = np.unpackbits(codes, axis=1, count=13)
    np.testing.assert_array_equal(bits, round_trip(words[:, :13], "binary") > 0)
    assert sign_codes(np.array([[0.0, 1.0, -1.0, 2.0]])).tolist() == [[0b01010000]]
    # So products of stored vectors are 1 - 2 * hamming / dim.
    stored = round_trip(words[:50, :13], "binary")
    np.testing.assert_allclose(
        stored @ stored.T, 1 - 2 * hamming(codes[:50], codes[:50]) / 13, atol=1e-6
    )


def test_hamming_counts_the_bits_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    a, b = (chance.integers(0, 256, size=(n, 40), dtype=np.uint8) for n in (7, 11))
    bits = np.unpackbits(a, axis=1)[:, None] != np.unpackbits(b, axis=1)
    expected = bits.sum(axis=-1)
    assert expected.max() > 127  # more than a signed byte holds
    assert np.array_equal(hamming(a, b), expected)
    monkeypatch.setattr(binary_codes, "_BYTES_AT_ONCE", 2 * b.size)
    assert np.array_equal(hamming(a, b), expected)
    full = np.full((1, 40), 255, dtype=np.uint8)
    assert hamming(full, np.zeros((1, 40), dtype=np.uint8)).tolist() == [[320]]


def test_random_planes_part_two_vectors_as_often_as_their_angle_says(words: np.ndarray) -> None:
    bits = 4096
    coder = random_hyperplanes(32, bits)
    pairs = words[:300], words[300:600]
    distances = np.diagonal(hamming(*(coder.encode(each) for each in pairs)))
    share = np.arccos((pairs[0] * pairs[1]).sum(axis=1)) / np.pi
    assert share.min() < 0.4 and share.max() > 0.55
    assert np.abs(distances / bits - share).max() < 4 * 0.5 / bits**0.5
    # Lengths do not count, and the seed decides.
    assert np.array_equal(coder.encode(3 * words), coder.encode(words))
    same, other = random_hyperplanes(32, bits), random_hyperplanes(32, bits, seed=1)
    assert np.array_equal(same.projection, coder.projection)
    assert not np.array_equal(other.projection, coder.projection)


def test_rounds_bring_the_components_closer_to_their_signs(words: np.ndarray) -> None:
    losses: list[float] = []
    centred = words - words.mean(axis=0)
    kept = (centred @ np.linalg.svd(centred, full_matrices=False)[2][:16].T).var()
    for rounds in (0, 1, 50):
        coder = fit_iterative_quantization(words, 16, rounds=rounds)
        # Turned principal components: orthonormal, of the mean's rest, and of most variance.
        np.testing.assert_allclose(coder.projection.T @ coder.projection, np.eye(16), atol=1e-5)
        np.testing.assert_allclose(coder.mean, words.mean(axis=0), atol=1e-6)
        values = (words - coder.mean) @ coder.projection
        assert values.var() == pytest.approx(kept, rel=1e-4)
        losses.append(float(((np.sign(values) - values) ** 2).mean()))
    assert losses[0] > losses[1] > losses[2]


def test_it_finds_the_corners_of_a_turned_cube() -> None:
    chance = np.random.default_rng(3)
    corners = chance.integers(0, 2, size=(2000, 3))
    turn = np.linalg.qr(chance.normal(size=(8, 8)))[0][:3]
    # Far from the origin, which is on one side of all faces.
    vectors = (2 * corners + 5) @ turn + 0.01 * chance.normal(size=(2000, 8))
    codes = fit_iterative_quantization(vectors, 3).encode(vectors)
    expected = (corners[:100, None] != corners[:100]).sum(axis=-1)
    assert np.array_equal(hamming(codes[:100], codes[:100]), expected)


def test_learned_bits_find_more_neighbours_than_random_ones(words: np.ndarray) -> None:
    learned = neighbours_found(fit_iterative_quantization(words[200:], 32), words)
    random = neighbours_found(random_hyperplanes(32, 32), words)
    assert learned > random + 0.05
    assert neighbours_found(random_hyperplanes(32, 512), words) > learned


def test_learned_codes_repeat(words: np.ndarray) -> None:
    one, same, other = (fit_iterative_quantization(words, 16, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.projection, same.projection)
    assert not np.array_equal(one.projection, other.projection)


def test_what_no_bits_can_be_learned_from_is_refused(words: np.ndarray) -> None:
    with pytest.raises(InputError, match="33 bits cannot be learned from vectors of 32"):
        fit_iterative_quantization(words, 33)
    with pytest.raises(InputError, match="0 bits"):
        fit_iterative_quantization(words, 0)
    with pytest.raises(InputError, match="16 vectors are too few"):
        fit_iterative_quantization(words[:16], 16)
    broken = words.copy()
    broken[0, 0] = np.inf
    for use in (
        sign_codes,
        random_hyperplanes(32, 8).encode,
        lambda vectors: fit_iterative_quantization(vectors, 8),
    ):
        with pytest.raises(InputError, match="not finite"):
            use(broken)
