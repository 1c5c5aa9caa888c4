"""Whether one system is better than another over several data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.evaluation.significance import holm, paired_differences, permutation_test

# With fewer pairs, not even a difference that is everywhere of one sign is below 0.05, two-sided.
_LEAST = 6


@dataclass(frozen=True)
class PairedTest:
    """A comparison of two systems over data sets.

    Attributes:
        difference: The mean of the second system less that of the first.
        better: In how many data sets the second is better; equal ones count for neither.
        p: The p-value, two-sided.
        corrected: The same, corrected for all comparisons that were made together.
    """

    difference: float
    better: int
    p: float
    corrected: float


def wilcoxon(a: Float[np.ndarray, " sets"], b: Float[np.ndarray, " sets"]) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test.

    Data sets differ in difficulty and in spread, so that only the order of the differences counts
    (Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.1.3).
    Sets without a difference are left out, as Wilcoxon does; 1 where there is none.

    Args:
        a: One figure a data set, of the first system.
        b: The same of the second system.

    Raises:
        InputError: For fewer than 6 data sets, of which no p-value can reach 0.05.
        ValueError: When the lengths differ, or a figure is not finite.
    """
    from scipy import stats

    differences = paired_differences(a, b)
    if len(differences) < _LEAST:
        raise InputError(
            f"{len(differences)} data sets cannot tell two systems apart by Wilcoxon's test.",
            f"Compare them on at least {_LEAST}.",
        )
    if not differences.any():
        return 1.0
    found: Any = stats.wilcoxon(differences, zero_method="wilcox")
    return float(found.pvalue)


def paired_tests(
    comparisons: Mapping[str, tuple[Float[np.ndarray, " sets"], Float[np.ndarray, " sets"]]],
    test: Literal["wilcoxon", "permutation"] = "wilcoxon",
) -> dict[str, PairedTest]:
    """Several comparisons that are reported together, with Holm's correction over all of them.

    Args:
        comparisons: By name the figures of the first and of the second system, one a data set.
        test: Wilcoxon's, or the randomisation test of the mean difference.

    Raises:
        InputError: When a comparison has too few data sets for Wilcoxon's test.
        ValueError: When there is nothing to compare, or figures do not fit.
    """
    if not comparisons:
        raise ValueError("There is nothing to compare.")
    p_of = wilcoxon if test == "wilcoxon" else permutation_test
    p = [p_of(a, b) for a, b in comparisons.values()]
    corrected = holm(np.array(p))
    return {
        name: PairedTest(
            float(paired_differences(a, b).mean()), int((b > a).sum()), own, float(adjusted)
        )
        for (name, (a, b)), own, adjusted in zip(comparisons.items(), p, corrected, strict=True)
    }
