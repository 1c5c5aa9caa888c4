"""Batches of one task each, where several tasks are trained together."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping, Sequence

from isometry.training.unique_batches import unique_batches


def task_batches(
    keys: Sequence[Sequence[Hashable]],
    tasks: Sequence[str],
    size: int,
    steps: int,
    seed: int,
    *,
    shares: Mapping[str, float] | None = None,
) -> Iterator[list[int]]:
    """Rows in batches that hold one task: what a row contrasts with is of its own kind.

    Each task has as many of the steps as its share says, in random order; rounding gives the steps
    that are left to the largest remainders. A task's own batches are those of `unique_batches`
    over its rows with the same seed, so they are the same whatever it is trained with.

    Args:
        keys: What may not meet in one batch, for each row.
        tasks: The task of each row.
        size: Rows a batch at most.
        steps: How many batches.
        seed: Of the order.
        shares: Of the steps, for each task; scaled to a sum of 1. The tasks' numbers of rows when
            not given: then every row is as likely as any other.

    Yields:
        Row numbers.

    Raises:
        ValueError: When there are not as many tasks as rows, a task has no share, or no two of its
            rows may meet.
    """
    members: dict[str, list[int]] = {}
    for row, (_, task) in enumerate(zip(keys, tasks, strict=True)):
        members.setdefault(task, []).append(row)
    wanted = (
        {task: float(len(rows)) for task, rows in members.items()} if shares is None else shares
    )
    if set(wanted) != set(members) or min(wanted.values()) < 0 or not any(wanted.values()):
        raise ValueError(f"tasks {sorted(members)} need shares, not {dict(wanted)}")
    schedule = _schedule({task: wanted[task] for task in members}, steps)
    random.Random(seed).shuffle(schedule)
    batches = {
        task: unique_batches([keys[row] for row in rows], size, schedule.count(task), seed)
        for task, rows in members.items()
        if task in schedule
    }
    for task in schedule:
        yield [members[task][row] for row in next(batches[task])]


def _schedule(shares: Mapping[str, float], steps: int) -> list[str]:
    """The task of every step, in blocks."""
    total = sum(shares.values())
    exact = {task: steps * share / total for task, share in shares.items()}
    counts = {task: int(share) for task, share in exact.items()}
    rest = sorted(exact, key=lambda task: counts[task] - exact[task])
    for task in rest[: steps - sum(counts.values())]:
        counts[task] += 1
    return [task for task, count in counts.items() for _ in range(count)]
