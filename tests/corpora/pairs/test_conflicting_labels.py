from __future__ import annotations

import pytest

from isometry.core.errors import InputError
from isometry.corpora.pairs.conflicting_labels import conflicting_triplets

FIRST = ["fft", "fft", "fft", "linalg", "linalg", "io"]
SECOND = ["array", "number", "array", "array", "number", "text"]


def test_the_middle_one_shares_the_first_label_alone_and_the_last_the_second() -> None:
    triplets = conflicting_triplets(FIRST, SECOND)
    # The last text shares nothing with any.
    assert [anchor for anchor, _, _ in triplets] == [0, 1, 2, 3, 4]
    for anchor, near, far in triplets:
        assert FIRST[near] == FIRST[anchor] != FIRST[far]
        assert SECOND[far] == SECOND[anchor] != SECOND[near]
    assert triplets == conflicting_triplets(FIRST, SECOND)
    assert len({tuple(conflicting_triplets(FIRST, SECOND, seed=seed)) for seed in range(5)}) > 1


def test_labels_that_say_the_same_are_refused() -> None:
    with pytest.raises(InputError, match="shares one label"):
        conflicting_triplets(FIRST, FIRST)
    with pytest.raises(ValueError):
        conflicting_triplets(FIRST, SECOND[1:])
