from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isometry.encoders.entry_vectors import entry_vectors
from isometry.encoders.text import TextEncoder

DEFINITIONS = ["a small dog that barks at night", "water", "a metal", "water", "the planet near"]
OWNER = np.array([1, 0, 2, 2, 2])


def test_an_entry_is_the_mean_of_its_definitions(tiny: TextEncoder) -> None:
    """Not the vector of its definitions joined; and padding has no part in it."""
    found = entry_vectors(tiny.encode, DEFINITIONS, OWNER)
    assert found.shape[0] == 3
    for entry in range(3):
        own = [DEFINITIONS[row] for row in np.flatnonzero(entry == OWNER)]
        alone = np.stack([tiny.encode([text])[0] for text in own])
        np.testing.assert_allclose(found[entry], alone.mean(axis=0), atol=1e-5)
    joined = tiny.encode([" ".join(DEFINITIONS[2:])])[0]
    assert np.abs(found[2] - joined).max() > 0.01


def test_a_text_of_several_entries_is_encoded_once_and_counts_for_each() -> None:
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text), 1.0] for text in texts])

    found = entry_vectors(encode, DEFINITIONS, OWNER)
    assert sorted(seen) == sorted(set(DEFINITIONS))
    assert found[0].tolist() == [5, 1]
    np.testing.assert_allclose(found[2], [(7 + 5 + 15) / 3, 1])
