"""Which point of the line base .. tuned is kept: in doubt, the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def choose_point(
    candidates: Sequence[dict[str, Any]], scores: Mapping[float, np.ndarray]
) -> dict[str, Any] | None:
    """The point of the line base .. tuned to keep, or None for the base itself.

    A point qualifies when it keeps what the base knew (the gloss probe) and beats the base on
    validation with a 95 % interval above zero. Of these, the one nearest to the base is taken that
    is within one standard error of the best, over paired differences: the rule of Breiman et al.
    (1984, section 3.4.3) for the simplest model that is not clearly worse, since every step away
    from the base costs some of what it knew.

    Args:
        candidates: `alpha`, `ndcg@10`, `allowed` and `low` of each point.
        scores: The metric of every validation query, by `alpha`.
    """
    qualified = [row for row in candidates if row["allowed"] and row["low"] > 0]
    if not qualified:
        return None
    best = scores[max(qualified, key=lambda row: row["ndcg@10"])["alpha"]]

    def near(row: dict[str, Any]) -> bool:
        behind = best - scores[row["alpha"]]
        return float(behind.mean()) <= float(behind.std(ddof=1)) / len(behind) ** 0.5

    return min(filter(near, qualified), key=lambda row: row["alpha"])


def why_base(candidates: Sequence[dict[str, Any]], queries: int) -> str:
    """Why no point qualified, in words.

    Args:
        candidates: As for `choose_point`; `high` too.
        queries: How many validation queries there were.
    """
    if not any(row["allowed"] for row in candidates):
        return "every tuned model forgot more than a point of what the base knew (the gloss probe)"
    best = max(candidates, key=lambda row: row["ndcg@10"])
    return (
        f"no tuned model was surely better on {queries}"
        f" validation queries (the best one's 95 % interval is"
        f" [{100 * best['low']:+.1f}, {100 * best['high']:+.1f}] points of nDCG@10)"
    )
