"""Whether a difference between two systems is more than the luck of the queries."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_DRAWS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Interval:
    """A difference of means with its confidence interval.

    Attributes:
        difference: The mean of the second system less the mean of the first.
        low: The interval's lower end.
        high: The interval's upper end.
    """

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the data speak for a difference in one direction."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    a: Float[np.ndarray, " queries"],
    b: Float[np.ndarray, " queries"],
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """The percentile bootstrap interval of mean(b) - mean(a) over the same queries.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Each sample draws as
    many queries as there are, with replacement, and takes both figures of a query together.

    Args:
        a: One figure a query, of the first system.
        b: The same of the second system, on the same queries.
        samples: How many samples to draw.
        confidence: The share of the samples' differences inside the interval, from 0 to 1.
        seed: Of the random draws.
        groups: What each query belongs to (its file, say). Whole groups are drawn then (the cluster
            bootstrap), since queries of one group are not independent of each other.

    Raises:
        ValueError: When there is no query, the lengths differ, or a figure is not finite.
    """
    differences = paired_differences(a, b)
    if groups is None:
        sums, sizes = differences, np.ones(len(a))
    else:
        if len(groups) != len(a):
            raise ValueError(f"{len(a)} queries, but {len(groups)} groups.")
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        members = np.array([numbers[group] for group in groups])
        sums, sizes = np.bincount(members, differences), np.bincount(members)

    generator = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // len(sums))
    means = np.empty(samples)
    for start in range(0, samples, block):
        drawn = generator.integers(len(sums), size=(min(block, samples - start), len(sums)))
        means[start : start + block] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(differences.mean()), float(low), float(high))


def stratified_bootstrap(
    a: Sequence[Float[np.ndarray, " queries"]],
    b: Sequence[Float[np.ndarray, " queries"]],
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of the difference of means over several collections, each counting the same.

    Queries are drawn within their collection (Efron and Tibshirani 1993, section 8.3), so that the
    interval is about other queries to these collections, not about other collections.

    Args:
        a: For each collection, one figure a query, of the first system.
        b: The same of the second system, on the same queries.
        samples: How many samples to draw.
        confidence: The share of the samples' differences inside the interval, from 0 to 1.
        seed: Of the random draws.

    Raises:
        ValueError: As `paired_bootstrap` does, and without a collection.
    """
    if not a or len(a) != len(b):
        raise ValueError(f"The same collections are needed twice, not {len(a)} and {len(b)}.")
    differences: list[float] = []
    means = np.zeros(samples)
    generator = np.random.default_rng(seed)
    for before, after in zip(a, b, strict=True):
        change = paired_differences(before, after)
        differences.append(float(change.mean()))
        block = max(1, _DRAWS_AT_ONCE // len(change))
        for start in range(0, samples, block):
            drawn = generator.integers(len(change), size=(min(block, samples - start), len(change)))
            means[start : start + block] += change[drawn].mean(axis=1) / len(a)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(np.mean(differences)), float(low), float(high))


def paired_differences(
    a: Float[np.ndarray, " queries"], b: Float[np.ndarray, " queries"]
) -> Float[np.ndarray, " queries"]:
    """The second system's figures less the first's, in float64.

    Raises:
        ValueError: When there is no query, the lengths differ, or a figure is not finite.
    """
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise ValueError(f"Two equally long rows of figures are needed, not {a.shape}, {b.shape}.")
    differences = b.astype(np.float64) - a.astype(np.float64)
    if not np.isfinite(differences).all():
        raise ValueError("A figure is not finite.")
    return differences
