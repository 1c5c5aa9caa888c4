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


def grouped_bootstrap(
    a: Float[np.ndarray, " queries"],
    b: Float[np.ndarray, " queries"],
    groups: Sequence[Hashable],
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The wider of the intervals by query and by group, at each end.

    Queries of one page resemble each other, and an interval that draws them one by one is about
    other queries to the same pages. Of few groups the percentile interval is too narrow: its ends
    are moved out by Student's t with one degree of freedom less than there are groups, and by
    sqrt(G / (G - 1)) (Cameron, Gelbach and Miller 2008, "Bootstrap-based improvements for inference
    with clustered errors", section II). That it comes out narrower than by query is chance.

    With a group for each query, these are the few independent things. With one group this is
    `paired_bootstrap`, and says nothing about other groups.

    Args:
        a: One figure a query, of the first system.
        b: The same of the second system, on the same queries.
        groups: What each query belongs to.
        samples: How many samples to draw.
        confidence: The share of the samples' differences inside the interval, from 0 to 1.
        seed: Of the random draws.

    Raises:
        ValueError: As `paired_bootstrap` does.
    """
    by_query = paired_bootstrap(a, b, samples=samples, confidence=confidence, seed=seed)
    count = len(set(groups))
    if len(groups) == len(a) and count == 1:
        return by_query
    by_group = paired_bootstrap(
        a, b, samples=samples, confidence=confidence, seed=seed, groups=groups
    )
    from scipy import stats

    level, middle = (1 + confidence) / 2, by_query.difference
    wider = stats.t.ppf(level, count - 1) / stats.norm.ppf(level) * (count / (count - 1)) ** 0.5
    return Interval(
        middle,
        min(by_query.low, middle - float(wider) * (middle - by_group.low)),
        max(by_query.high, middle + float(wider) * (by_group.high - middle)),
    )


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


def crossed_bootstrap(
    a: Float[np.ndarray, "seeds items"],
    b: Float[np.ndarray, "seeds items"],
    *,
    samples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of mean(b) - mean(a) when the seeds and the test items are both random.

    The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap"): each sample draws as many
    seeds and, apart from that, as many items as there are, with replacement, and takes the
    crossing; both figures of a seed and item stay together. What seed and item do to each other
    is counted more than once, so the interval is rather too wide where neither has an effect of
    its own. It is too narrow where seeds are few and differ more than the items do: the seeds'
    share of the variance comes out at (seeds - 1) / seeds of what it is.

    With one seed this is `paired_bootstrap`, and says nothing about other seeds. With one item it
    is Student's paired t interval over the seeds, and says nothing about other items.

    Args:
        a: One figure for each seed and item, of the first system.
        b: The same of the second system, for the same seeds and items.
        samples: How many samples to draw.
        confidence: The share of the samples' differences inside the interval, from 0 to 1.
        seed: Of the random draws.

    Raises:
        ValueError: When the shapes differ, a figure is not finite, or there is one figure alone,
            which has no spread.
    """
    if a.ndim != 2 or a.shape != b.shape or a.size < 2:
        raise ValueError(
            f"Two equal tables of two or more figures are needed, not {a.shape}, {b.shape}."
        )
    seeds, items = a.shape
    differences = paired_differences(a.ravel(), b.ravel()).reshape(seeds, items)
    if seeds == 1:
        return paired_bootstrap(a[0], b[0], samples=samples, confidence=confidence, seed=seed)
    mean = float(differences.mean())
    if items == 1:
        from scipy import stats

        error = differences.std(ddof=1) / np.sqrt(seeds)
        reach = float(stats.t.ppf((1 + confidence) / 2, seeds - 1) * error)
        return Interval(mean, mean - reach, mean + reach)

    generator = np.random.default_rng(seed)
    drawn_seeds = generator.integers(seeds, size=(samples, seeds))
    block = max(1, _DRAWS_AT_ONCE // items)
    means = np.empty(samples)
    for start in range(0, samples, block):
        rows = drawn_seeds[start : start + block]
        drawn = generator.integers(items, size=(len(rows), items))
        # How often each item was drawn: the mean of a seed is then a product of matrices.
        drawn += np.arange(len(rows))[:, None] * items
        counts = np.bincount(drawn.ravel(), minlength=len(rows) * items).reshape(len(rows), items)
        by_seed = counts @ differences.T / items
        means[start : start + block] = np.take_along_axis(by_seed, rows, axis=1).mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def permutation_test(
    a: Float[np.ndarray, " queries"],
    b: Float[np.ndarray, " queries"],
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> float:
    """The p-value of Fisher's randomisation test that both systems are the same on these queries.

    If they are, each query's difference might as well have the other sign. The p-value is the
    share of sign patterns whose mean difference is as far from zero as the observed one (Smucker
    et al. 2007, "A comparison of statistical significance tests for information retrieval
    evaluation"), two-sided. All patterns are looked at where they are no more than
    `samples`; otherwise so many are drawn, the observed one is counted among them, and the side on
    which fewer are as far is counted twice.

    Args:
        a: One figure a query, of the first system.
        b: The same of the second system, on the same queries.
        samples: How many patterns to draw.
        seed: Of the random draws.

    Raises:
        ValueError: When there is no query, the lengths differ, or a figure is not finite.
    """
    from scipy import stats

    differences = paired_differences(a, b)
    if len(differences) == 1:
        return 1.0  # both patterns are as far from zero
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=samples,
        batch=max(1, _DRAWS_AT_ONCE // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values of several tests, so adjusted that the chance of any false finding stays in bounds.

    Holm's step-down method (Holm 1979, "A simple sequentially rejective multiple test procedure"):
    the smallest of n is multiplied by n, the next by n - 1 and so on, and none may fall below one
    before it. Reject what is at most the level: it holds for tests that depend on each other too.

    Raises:
        ValueError: When a p-value does not lie between 0 and 1.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError("A p-value does not lie between 0 and 1.")
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order].astype(np.float64) * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


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
