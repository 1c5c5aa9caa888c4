"""One figure out of many: over groups that count the same, the worst, or what was gained."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

Group = TypeVar("Group", bound=Hashable)


def group_means(values: Float[np.ndarray, " n"], groups: Sequence[Group]) -> dict[Group, float]:
    """The mean of each group's figures, in the order in which the groups first stand.

    Raises:
        ValueError: When there is no figure, the lengths differ, or a figure is not finite.
    """
    if not len(values) or len(values) != len(groups):
        raise ValueError(f"As many figures as groups are needed, not {len(values)}, {len(groups)}.")
    if not np.isfinite(values).all():
        raise ValueError("A figure is not finite.")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    members = np.array([numbers[group] for group in groups])
    means = np.bincount(members, values) / np.bincount(members)
    return dict(zip(numbers, means.tolist(), strict=True))


def macro_mean(values: Float[np.ndarray, " n"], groups: Sequence[Hashable]) -> float:
    """The mean of the groups' means: each group counts the same, however many its items.

    For groups of groups (the tasks of BLURB: data sets within kinds of task, Gu et al. 2021) give
    the means of the inner ones.

    Raises:
        ValueError: As `group_means` does.
    """
    return float(np.mean(list(group_means(values, groups).values())))


def worst_group(values: Float[np.ndarray, " n"], groups: Sequence[Group]) -> tuple[Group, float]:
    """The group with the lowest mean, and that mean; the first of equal ones.

    Raises:
        ValueError: As `group_means` does.
    """
    means = group_means(values, groups)
    worst = min(means, key=lambda group: means[group])
    return worst, means[worst]


def gain_ratio(score: float, baseline: float, ceiling: float) -> float:
    """The share of what lies between a baseline and a ceiling that a score gains.

    0 at the baseline, 1 at the ceiling; beyond them it is negative or more than 1. Known as the
    performance gap recovered (Burns et al. 2023, "Weak-to-strong generalization", section 3).

    Raises:
        ValueError: When the ceiling is not above the baseline: there is nothing to gain.
    """
    if not ceiling > baseline:
        raise ValueError(f"Nothing lies between a baseline of {baseline} and {ceiling}.")
    return (score - baseline) / (ceiling - baseline)
