"""Stored precisions against sentence-transformers."""

from __future__ import annotations

import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings

from isometry.compression.precision import bytes_per_vector, round_trip

VECTORS = np.random.default_rng(0).normal(size=(300, 48)).astype(np.float32)


def test_the_same_bits() -> None:
    packed = np.asarray(quantize_embeddings(VECTORS, "ubinary"))
    np.testing.assert_array_equal(np.packbits(round_trip(VECTORS, "binary") > 0, axis=1), packed)
    assert packed.shape[1] == bytes_per_vector(48, "binary")


def test_the_same_bytes_up_to_one_step() -> None:
    """Theirs are 256 bins between two ends, ours 255 values around zero: neighbours at most."""
    largest = np.abs(VECTORS).max(axis=0)
    ranges = np.stack([-largest, largest])
    bins = np.asarray(quantize_embeddings(VECTORS, "uint8", ranges=ranges), dtype=np.float32)
    centres = (bins + 0.5) * (2 * largest / 255) - largest
    ours = round_trip(VECTORS, "int8")
    assert (np.abs(ours - centres) <= largest / 127).all()
    assert np.abs(ours - VECTORS).mean() <= np.abs(centres - VECTORS).mean() * 1.02
