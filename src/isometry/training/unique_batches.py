"""Batches in which nothing stands twice."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence


def unique_batches(
    keys: Sequence[Sequence[Hashable]],
    size: int,
    steps: int,
    seed: int,
    *,
    costs: Sequence[int] | None = None,
    budget: int | None = None,
) -> Iterator[list[int]]:
    """Rows in batches that share no key: no false negatives by construction.

    Rows come in a new random order each epoch; a row whose key is taken waits for the next batch
    and is not lost; while it waits it is not dealt again. The same arguments give the same batches.

    Args:
        keys: What may not meet in one batch, for each row (its document, its query...).
        size: Rows a batch at most.
        steps: How many batches.
        seed: Of the order.
        costs: The length of each row, for instance in tokens.
        budget: The padded length of a batch at most: rows times the longest row.

    Yields:
        Row numbers; at least two in each batch, unless the keys do not allow it.

    Raises:
        ValueError: When no two rows have different first keys.
    """
    if len({key for row in keys for key in row[:1]}) < 2:
        raise ValueError("a contrast needs at least two rows with different keys")
    generator = random.Random(seed)
    waiting: list[int] = []
    for _ in range(steps):
        batch: list[int] = []
        taken: set[Hashable] = set()
        longest = 0
        passed: list[int] = []
        refilled = False
        while len(batch) < size:
            if not waiting:
                # After a refill every row has been looked at: the batch is full.
                if refilled:
                    break
                refilled = True
                # Without those that wait: the rows of a frequent key would pile up otherwise.
                still = set(passed)
                waiting = [row for row in range(len(keys)) if row not in still]
                generator.shuffle(waiting)
                if not waiting:
                    break
            row = waiting.pop()
            cost = costs[row] if costs is not None else 0
            fits = (
                budget is None or len(batch) < 2 or max(longest, cost) * (len(batch) + 1) <= budget
            )
            if taken.isdisjoint(keys[row]) and fits:
                batch.append(row)
                taken.update(keys[row])
                longest = max(longest, cost)
            else:
                passed.append(row)
                if not fits and len(passed) > size:
                    break
        waiting.extend(reversed(passed))
        yield batch
