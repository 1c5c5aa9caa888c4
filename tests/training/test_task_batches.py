from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.training.task_batches import task_batches
from isometry.training.unique_batches import unique_batches

TASKS = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
# Two rows of c have the same text.
KEYS = [(row, f"text {row}") for row in range(99)] + [(99, "text 98")]


def tasks_of(batches: list[list[int]], tasks: list[str] = TASKS) -> Counter[str]:
    found = [{tasks[row] for row in batch} for batch in batches]
    assert all(len(own) == 1 for own in found)
    return Counter(next(iter(own)) for own in found)


def test_a_batch_holds_one_task_and_tasks_come_as_often_as_their_rows() -> None:
    batches = list(task_batches(KEYS, TASKS, 8, 40, seed=0))
    assert tasks_of(batches) == {"a": 20, "b": 12, "c": 8}
    order = [TASKS[batch[0]] for batch in batches]
    assert order != sorted(order)
    assert not any({98, 99} <= set(batch) for batch in batches)


def test_shares_say_otherwise_and_the_remainder_goes_to_who_lacks_most() -> None:
    def count(steps: int, shares: dict[str, float]) -> Counter[str]:
        return tasks_of(list(task_batches(KEYS, TASKS, 8, steps, 1, shares=shares)))

    assert count(9, dict.fromkeys("abc", 1.0)) == {"a": 3, "b": 3, "c": 3}
    assert count(10, {"a": 8.0, "b": 1.6, "c": 0.4}) == {"a": 8, "b": 2}
    assert count(7, {"a": 0.0, "b": 1.0, "c": 0.0}) == {"b": 7}


def test_the_order_of_the_tasks_is_another_for_each_seed() -> None:
    orders = [
        [TASKS[batch[0]] for batch in task_batches(KEYS, TASKS, 8, 40, seed)] for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_the_batches_of_a_task_are_those_that_it_has_alone() -> None:
    batches = list(task_batches(KEYS, TASKS, 8, 40, seed=5))
    own = [[row - 50 for row in batch] for batch in batches if batch[0] in range(50, 80)]
    assert own == list(unique_batches(KEYS[50:80], 8, 12, 5))


@given(
    st.integers(1, 60), st.lists(st.sampled_from("abcd"), min_size=8, max_size=60), st.integers()
)
@settings(deadline=None, max_examples=50)
def test_all_steps_are_made_and_repeat(steps: int, tasks: list[str], seed: int) -> None:
    tasks = tasks + [task for task in set(tasks) for _ in range(2)]
    keys = [(row,) for row in range(len(tasks))]
    batches = list(task_batches(keys, tasks, 4, steps, seed))
    assert len(batches) == steps
    counts = tasks_of(batches, tasks)
    for task in set(tasks):
        assert abs(counts[task] - steps * tasks.count(task) / len(tasks)) < 1
    assert list(task_batches(keys, tasks, 4, steps, seed)) == batches


def test_shares_that_do_not_fit_raise() -> None:
    for shares in ({"a": 1.0}, {"a": 1.0, "b": 1.0, "c": -1.0}, dict.fromkeys("abc", 0.0)):
        with pytest.raises(ValueError, match="need shares"):
            list(task_batches(KEYS, TASKS, 8, 4, 0, shares=shares))
    with pytest.raises(ValueError, match=r"zip\(\)"):
        list(task_batches(KEYS, TASKS[:-1], 8, 4, 0))


def test_the_order_in_which_shares_are_given_does_not_count() -> None:
    shares = {"a": 1.0, "b": 1.0, "c": 1.0}
    backwards = dict(reversed(shares.items()))
    one, other = (
        list(task_batches(KEYS, TASKS, 8, 10, 1, shares=some)) for some in (shares, backwards)
    )
    assert one == other
