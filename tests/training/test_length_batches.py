from __future__ import annotations

import numpy as np
import pytest

from isometry.training.length_batches import length_batches


def test_batches_are_of_like_length_and_every_row_comes_once_a_pass() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 100).tolist()
    order = length_batches(lengths, 10, 25, seed=0)
    assert len(order) == 25 and all(len(batch) == 10 for batch in order)
    for start in (0, 10):
        once = [row for batch in order[start : start + 10] for row in batch]
        assert sorted(once) == list(range(100))
    assert order[:10] != order[10:20]
    spans = [max(lengths[row] for row in b) - min(lengths[row] for row in b) for b in order]
    assert max(spans) < 60
    # Long ones do not all come last: the rate falls towards the end.
    means = [np.mean([lengths[row] for row in batch]) for batch in order[:10]]
    assert means != sorted(means)
    assert length_batches(lengths, 10, 25, seed=0) == order
    assert length_batches([3, 1, 2], 2, 4, seed=1)[0] != []
    assert length_batches(lengths, 10, 25, seed=1) != order
    with pytest.raises(ValueError, match="need a row"):
        length_batches([], 2, 2, seed=0)


def test_rows_are_sorted_among_those_that_were_drawn_together_alone() -> None:
    lengths = list(range(160))
    order = length_batches(lengths, 4, 40, seed=0, pooled=2)
    # Of all rows, four of like length would be four in a row.
    spans = [max(batch) - min(batch) for batch in order]
    assert np.median(spans) > 20
    assert all(batch == sorted(batch) for batch in order)
    assert [max(b) - min(b) for b in length_batches(lengths, 4, 40, seed=0, pooled=40)] == [3] * 40


def test_long_rows_come_in_smaller_batches() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 100).tolist()
    lengths[7] = 5000
    order = length_batches(lengths, 10, 400, seed=0, most=600)
    sizes = {len(batch) for batch in order}
    assert max(sizes) == 10 and len(sizes) > 4
    for batch in order:
        assert len(batch) * max(lengths[row] for row in batch) <= 600 or batch == [7]
    rows = [row for batch in order for row in batch]
    assert [7] in order and sorted(rows[:100]) == list(range(100))
    # Of short ones nothing changes.
    short = [min(length, 60) for length in lengths]
    assert length_batches(short, 10, 25, 0, most=600) == length_batches(short, 10, 25, 0)
