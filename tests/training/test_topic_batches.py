from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.training.topic_batches import topic_batches


def unit(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def own_keys(rows: int) -> list[tuple[int]]:
    return [(row,) for row in range(rows)]


def test_topics_do_not_mix() -> None:
    """Four far topics of eight: each batch of eight is one of them, and an epoch has all four."""
    topics = np.repeat(np.eye(4, 16, dtype=np.float32), 8, axis=0) + 0.1 * unit(32, 16)
    vectors = topics / np.linalg.norm(topics, axis=1, keepdims=True)
    batches = list(topic_batches(vectors, own_keys(32), 8, 4, seed=3))
    assert all(len({row // 8 for row in batch}) == 1 for batch in batches)
    assert sorted(row for batch in batches for row in batch) == list(range(32))
    # By chance alone it would be otherwise.
    assert [batch[0] for batch in batches] != sorted(batch[0] for batch in batches)


def test_a_batch_is_its_first_row_and_what_is_nearest_among_the_unseen() -> None:
    vectors = unit(60, 8)
    unseen = set(range(60))
    for batch in topic_batches(vectors, own_keys(60), 12, 5, seed=0):
        left = sorted(unseen)
        nearest = sorted(left, key=lambda row: -float(vectors[row] @ vectors[batch[0]]))
        assert set(batch) == set(nearest[:12])
        unseen -= set(batch)
    assert not unseen


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 9), st.integers(1, 12), st.integers(0, 5))
def test_no_key_meets_itself_and_the_seed_decides(
    rows: int, size: int, steps: int, seed: int
) -> None:
    vectors = unit(rows, 4, seed)
    keys = [(row // 2, f"query {row % 5}") for row in range(rows)]
    if len({key[0] for key in keys}) < 2:
        return
    batches = list(topic_batches(vectors, keys, size, steps, seed))
    assert len(batches) == steps
    for batch in batches:
        met = [key for row in batch for key in keys[row]]
        assert len(met) == len(set(met)) and 1 <= len(batch) <= size
    assert batches == list(topic_batches(vectors, keys, size, steps, seed))


def test_rows_with_one_vector_begin_their_own_batches() -> None:
    vectors = np.tile(unit(1, 4), (10, 1))
    firsts = {next(topic_batches(vectors, own_keys(10), 3, 1, seed))[0] for seed in range(40)}
    assert len(firsts) > 5


def test_what_is_left_of_an_epoch_meets_what_was_seen() -> None:
    """Of 36 near-duplicates one at most enters a batch, so that the last ones are left among
    themselves."""
    keys = [(0,)] * 36 + [(row,) for row in range(36, 80)]
    batches = list(topic_batches(unit(80, 8), keys, 10, 60, seed=0))
    assert all(len(batch) >= 2 for batch in batches)
    assert all(sum(row < 36 for row in batch) <= 1 for batch in batches)
    # But for a few at the end of each epoch, all come.
    assert len({row for batch in batches for row in batch}) > 70


def test_a_row_that_may_meet_no_other_comes_in_no_batch() -> None:
    keys = [("a", "b", "c"), *(("a", 1), ("b", 2), ("c", 3))]
    batches = list(topic_batches(unit(4, 8), keys, 4, 5, seed=0))
    assert all(sorted(batch) == [1, 2, 3] for batch in batches)


def test_a_contrast_needs_two_rows_that_may_meet() -> None:
    with pytest.raises(ValueError):
        next(topic_batches(unit(3, 4), [(0, "a"), (0, "b"), (0, "c")], 2, 1, 0))
    # No key stands in all, and yet no two may meet.
    with pytest.raises(ValueError, match="share no key"):
        list(topic_batches(unit(3, 4), [("a", "b"), ("b", "c"), ("c", "a")], 2, 1, 0))
