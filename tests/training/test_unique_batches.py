from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isometry.training.unique_batches import unique_batches

Keys = list[tuple[Hashable, ...]]
# A document and a query for each row, some of them often.
KEYS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(100, 105) | st.integers(100, 10_000)),
    min_size=2,
    max_size=40,
).filter(lambda keys: len({key for key, _ in keys}) > 1)
SIZES = st.integers(2, 8)
SEEDS = st.integers(0, 2**32)


def together(keys: Sequence[Sequence[Hashable]], one: int, other: int) -> bool:
    return set(keys[one]).isdisjoint(keys[other])


@given(KEYS, SIZES, st.integers(0, 60), SEEDS)
@settings(deadline=None)
def test_no_key_stands_twice_in_a_batch(keys: Keys, size: int, steps: int, seed: int) -> None:
    batches = list(unique_batches(keys, size, steps, seed))
    assert len(batches) == steps
    for batch in batches:
        taken = [key for row in batch for key in keys[row]]
        assert len(taken) == len(set(taken)) and 1 <= len(batch) <= size
    assert list(unique_batches(keys, size, steps, seed)) == batches


@given(KEYS, SIZES, SEEDS)
@settings(deadline=None)
def test_a_batch_is_as_full_as_the_keys_allow(keys: Keys, size: int, seed: int) -> None:
    for batch in unique_batches(keys, size, 30, seed):
        if len(batch) < size:
            others = set(range(len(keys))) - set(batch)
            assert not any(all(together(keys, row, b) for b in batch) for row in others)


@given(st.integers(2, 60), SIZES, st.integers(1, 60), SEEDS)
@settings(deadline=None)
def test_without_shared_keys_an_epoch_shows_every_row_once(
    rows: int, size: int, steps: int, seed: int
) -> None:
    keys = [(row, f"query {row}") for row in range(rows)]
    seen = Counter(dict.fromkeys(range(rows), 0))
    for batch in unique_batches(keys, size, steps, seed):
        seen.update(batch)
        assert max(seen.values()) - min(seen.values()) <= 1
    assert seen.total() == steps * min(size, rows)


@given(st.integers(2, 30), SIZES, SEEDS)
@settings(deadline=None)
def test_shared_keys_do_not_cost_a_row_its_turn(groups: int, size: int, seed: int) -> None:
    # Three rows of each document: one epoch is possible when a batch takes one of each at most.
    assume(size <= groups)
    keys = [(row // 3,) for row in range(3 * groups)]
    batches = list(unique_batches(keys, size, 9 * groups, seed))
    # The front of the queue always goes in, so nothing waits longer than the queue is long.
    last = dict.fromkeys(range(len(keys)), -1)
    for step, batch in enumerate(batches):
        for row in batch:
            assert step - last[row] <= 2 * len(keys)
            last[row] = step
    assert min(last.values()) >= len(batches) - 2 * len(keys)
    assert min(last.values()) >= 0


@given(KEYS, SIZES, SEEDS)
@settings(deadline=None)
def test_every_row_gets_its_turn_whatever_the_keys(keys: Keys, size: int, seed: int) -> None:
    steps = 2 * len(keys)
    seen = {row for batch in unique_batches(keys, size, steps, seed) for row in batch}
    assert seen == set(range(len(keys)))


@given(st.lists(st.integers(1, 256), min_size=2, max_size=40), SIZES, st.integers(1, 1024), SEEDS)
@settings(deadline=None)
def test_the_padded_length_stays_in_its_budget(
    costs: list[int], size: int, budget: int, seed: int
) -> None:
    keys = [(row,) for row in range(len(costs))]
    steps = 3 * len(costs)
    batches = list(unique_batches(keys, size, steps, seed, costs=costs, budget=budget))
    for batch in batches:
        # Two rows are needed for a contrast, whatever they cost.
        assert len(batch) == 2 or (
            2 < len(batch) <= size and len(batch) * max(costs[row] for row in batch) <= budget
        )
    assert {row for batch in batches for row in batch} == set(range(len(costs)))
    again = unique_batches(keys, size, steps, seed, costs=costs, budget=budget)
    assert list(again) == batches


def test_a_budget_that_holds_everything_changes_nothing() -> None:
    keys = [(row % 7,) for row in range(50)]
    free = list(unique_batches(keys, 5, 40, 1))
    assert list(unique_batches(keys, 5, 40, 1, costs=[9] * 50, budget=45)) == free
    assert list(unique_batches(keys, 5, 40, 1, costs=[9] * 50, budget=44)) != free


def test_the_order_is_another_in_each_epoch_and_for_each_seed() -> None:
    keys = [(row,) for row in range(40)]
    batches = list(unique_batches(keys, 8, 10, 3))
    first, second = (
        [row for batch in part for row in batch] for part in (batches[:5], batches[5:])
    )
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second and first != sorted(first)
    assert list(unique_batches(keys, 8, 10, 4)) != batches


class Counted(list[tuple[int, ...]]):
    """Keys that count how often a row is looked at."""

    looks = 0

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        self.looks += 1
        return super().__getitem__(row)


def test_a_frequent_key_does_not_pile_up_work() -> None:
    # Batches of 16 are asked for where four documents exist.
    keys = Counted([(row % 4,) for row in range(400)])
    batches = list(unique_batches(keys, 16, 300, 0))
    assert {len(batch) for batch in batches} == {4}
    assert keys.looks <= 3 * len(keys) * len(batches)
    rare = Counted([(0,)] * 399 + [(1,)])
    batches = list(unique_batches(rare, 16, 300, 0))
    assert {len(batch) for batch in batches} == {2}
    assert rare.looks <= 3 * len(rare) * len(batches)


@pytest.mark.parametrize("keys", [[], [(1,)], [(1,), (1,)], [(1, 2), (1, 3)]])
def test_rows_that_may_never_meet_raise(keys: Keys) -> None:
    with pytest.raises(ValueError, match="different keys"):
        next(unique_batches(keys, 2, 1, 0))
