"""Which point of the line base .. tuned is kept: in doubt, the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isometry.evaluation.retention import gloss_retention
from isometry.evaluation.retrieval import score_rankings
from isometry.evaluation.significance import paired_bootstrap
from isometry.search.fusion import USUAL_WEIGHT

if TYPE_CHECKING:
    from isometry.jobs.fitting import Fitting

# The most that a tuned encoder may lose of what the base knew, in points of the gloss probe.
_MOST_FORGOTTEN = 1.0


def choose(job: Fitting) -> dict[str, Any]:
    """The point on the line base .. tuned that `choose_point` keeps, or the base."""
    with job.phase("selection"):
        candidates = [_candidate(job, alpha) for alpha in job.plan.alphas]
    before = job.compare_before_training()
    scores = {row["alpha"]: np.array(row.pop("scores")) for row in candidates}
    best = choose_point(candidates, scores)
    alpha = 0.0 if best is None else best["alpha"]
    points = [
        {
            "alpha": 0.0,
            "ndcg@10": before["base"],
            "retention": before["retention"],
            "allowed": True,
        },
        *sorted(candidates, key=lambda row: row["alpha"]),
    ]
    for row in points:
        row["chosen"] = row["alpha"] == alpha
    if best is None:
        reason = why_base(candidates, len(job.asked("validation").queries))
        return keep_base(job, reason) | {"validation": {"candidates": points, "tuned_fusion": None}}
    dense = job.validate(job.cached(job.merged(alpha)))
    weight, _, grid = job.tune_fusion(dense, job.by_words("validation"))
    return {
        "alpha": alpha,
        "reasons": [
            f"{alpha:.0%} of the way from the base to the tuned weights reaches"
            f" {100 * best['ndcg@10']:.1f} points of nDCG@10 on validation, the base"
            f" {100 * before['base']:.1f}; it is the point nearest to the base that is not"
            " clearly worse than the best.",
            f"What the base knew stays within {_MOST_FORGOTTEN:g} point on the gloss probe.",
        ],
        "dense_weight": weight,
        "validation": {"candidates": points, "tuned_fusion": grid},
    }


def keep_base(job: Fitting, reason: str) -> dict[str, Any]:
    """The choice of the base as it is."""
    before = job.compare_before_training()
    return {
        "alpha": 0.0,
        "reasons": [reason],
        "dense_weight": before.get("dense_weight", USUAL_WEIGHT),
        "validation": {},
    }


def _candidate(job: Fitting, alpha: float) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        encoder = job.cached(job.merged(alpha))
        before = job.base_scores["ndcg@10"]
        after = score_rankings(job.validate(encoder).order, job.asked("validation").relevance)
        interval = paired_bootstrap(before, after["ndcg@10"])
        retention = gloss_retention(job.probe(encoder))
        base_retention = job.compare_before_training()["retention"]
        return {
            "alpha": alpha,
            "ndcg@10": float(after["ndcg@10"].mean()),
            "low": interval.low,
            "high": interval.high,
            "retention": retention,
            "allowed": retention >= base_retention - _MOST_FORGOTTEN,
            "scores": after["ndcg@10"].tolist(),
        }

    return job.work.json(f"candidate-{alpha:g}", make)


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
