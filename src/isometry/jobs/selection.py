"""Which point of the line base .. tuned is kept: in doubt, the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from isometry.encoders.finite import is_finite
from isometry.encoders.sizes import size_names
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
    if not all(map(is_finite, job.merged(1.0).state_dict().values())):
        return keep_base(job, "training diverged: the tuned weights are NaN or infinite")
    with job.phase("selection"):
        base = _base(job)
        candidates = [_candidate(job, alpha, base) for alpha in job.plan.alphas]
    scores = {row["alpha"]: np.array(row.pop("scores")) for row in [base, *candidates]}
    best = choose_point(candidates, scores)
    alpha = 0.0 if best is None else best["alpha"]
    points = [base, *sorted(candidates, key=lambda row: row["alpha"])]
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
            why_tuned(best, base, size_names(job.nested), len(candidates)),
            f"What the base knew stays within {_MOST_FORGOTTEN:g} point on the gloss probe.",
        ],
        "dense_weight": weight,
        "validation": {"candidates": points, "tuned_fusion": grid},
    }


def keep_base(job: Fitting, reason: str) -> dict[str, Any]:
    """The choice of the base as it is."""
    before = job.compare_before_training()
    if job.nested:
        reason += f"; so nothing is trained for the smaller sizes ({size_names(job.nested)})"
    return {
        "alpha": 0.0,
        "reasons": [reason],
        "dense_weight": before.get("dense_weight", USUAL_WEIGHT),
        "validation": {},
    }


def _base(job: Fitting) -> dict[str, Any]:
    """The base, as `_candidate` describes the points beside it."""

    def make() -> dict[str, Any]:
        before, scores = job.compare_before_training(), job.base_scores["ndcg@10"]
        row = {
            "alpha": 0.0,
            "ndcg@10": before["base"],
            "retention": before["retention"],
            "allowed": True,
        }
        if job.nested:
            scores = _at_all_sizes(job, 0.0, scores)
            row["all_sizes"] = {"ndcg@10": float(scores.mean())}
        return {**row, "scores": scores.tolist()}

    return job.work.json("candidate-0", make)


def _candidate(job: Fitting, alpha: float, base: dict[str, Any]) -> dict[str, Any]:
    def make() -> dict[str, Any]:
        encoder = job.cached(job.merged(alpha))
        before = job.base_scores["ndcg@10"]
        found = score_rankings(job.validate(encoder).order, job.asked("validation").relevance)
        scores = found["ndcg@10"]
        interval = paired_bootstrap(before, scores)
        retention = gloss_retention(job.probe(encoder))
        row = {
            "alpha": alpha,
            "ndcg@10": float(scores.mean()),
            "low": interval.low,
            "high": interval.high,
            "retention": retention,
            "allowed": retention >= base["retention"] - _MOST_FORGOTTEN,
        }
        if job.nested:
            scores = _at_all_sizes(job, alpha, scores)
            interval = paired_bootstrap(np.array(base["scores"]), scores)
            row["all_sizes"] = {
                "ndcg@10": float(scores.mean()),
                "low": interval.low,
                "high": interval.high,
            }
        return {**row, "scores": scores.tolist()}

    return job.work.json(f"candidate-{alpha:g}", make)


def _at_all_sizes(
    job: Fitting, alpha: float, whole: Float[np.ndarray, " queries"]
) -> Float[np.ndarray, " queries"]:
    """nDCG@10 of every validation query, averaged over the nested sizes and the whole.

    Args:
        job: The fit.
        alpha: The point on the line base .. tuned.
        whole: What the whole encoder reaches there.
    """
    known = job.asked("validation").relevance
    cut = [job.validate(job.cut(alpha, size)) for size in job.nested]
    scores = [score_rankings(found.order, known)["ndcg@10"] for found in cut]
    return np.mean([*scores, whole], axis=0)


def choose_point(
    candidates: Sequence[dict[str, Any]], scores: Mapping[float, np.ndarray]
) -> dict[str, Any] | None:
    """The point of the line base .. tuned to keep, or None for the base itself.

    A point qualifies when it keeps what the base knew (the gloss probe) and beats the base on
    validation with a 95 % interval over the queries above zero. (What is claimed of it afterwards,
    by `prove`, also counts how pages differ.) With nested sizes it must do so on average over all
    sizes, each against the base cut so, and the whole must not be surely worse than the base. Of
    these, the one nearest to the base is taken that is within one standard error of the best, over
    paired differences: the rule of Breiman et al. (1984, section 3.4.3) for the simplest model that
    is not clearly worse, since every step away from the base costs some of what it knew.

    Args:
        candidates: `alpha`, `allowed`, `low` and `high` of each point; with nested sizes also
            `all_sizes`, the `low` and `high` of the average.
        scores: The metric of every validation query, by `alpha`; averaged where there are sizes.
    """
    qualified = [row for row in candidates if row["allowed"] and _is_better(row)]
    if not qualified:
        return None
    best = scores[max(qualified, key=lambda row: scores[row["alpha"]].mean())["alpha"]]

    def near(row: dict[str, Any]) -> bool:
        behind = best - scores[row["alpha"]]
        return float(behind.mean()) <= float(behind.std(ddof=1)) / len(behind) ** 0.5

    return min(filter(near, qualified), key=lambda row: row["alpha"])


def _is_better(row: dict[str, Any]) -> bool:
    if "all_sizes" not in row:
        return row["low"] > 0
    return row["all_sizes"]["low"] > 0 and row["high"] >= 0


def why_tuned(best: dict[str, Any], base: dict[str, Any], nested: str, tried: int = 1) -> str:
    """Why a point was chosen, in words.

    Args:
        best: The point, as for `choose_point`, with its `ndcg@10`.
        base: That of the base.
        nested: The names of the smaller sizes; empty without any.
        tried: How many points there were to choose from.
    """
    way = f"{best['alpha']:.0%} of the way from the base to the tuned weights reaches"
    if not nested:
        chosen = (
            f"; of {tried} points it is the one nearest to the base that is not clearly worse than"
            " the best"
        ) * (tried > 1)
        return (
            f"{way} {100 * best['ndcg@10']:.1f} points of nDCG@10 on validation, the base"
            f" {100 * base['ndcg@10']:.1f}{chosen}."
        )
    return (
        f"{way} {100 * best['all_sizes']['ndcg@10']:.1f} points of nDCG@10 on validation, on"
        f" average over {nested} and the whole; the base, cut to the same sizes,"
        f" {100 * base['all_sizes']['ndcg@10']:.1f}. Whole, it is not surely worse than the base"
        f" ({100 * best['ndcg@10']:.1f} and {100 * base['ndcg@10']:.1f} points)."
    )


def why_base(candidates: Sequence[dict[str, Any]], queries: int) -> str:
    """Why no point qualified, in words.

    Args:
        candidates: As for `choose_point`, with `ndcg@10`.
        queries: How many validation queries there were.
    """
    if not any(row["allowed"] for row in candidates):
        return "every tuned model forgot more than a point of what the base knew (the gloss probe)"
    allowed = [row for row in candidates if row["allowed"]]
    best = max(allowed, key=lambda row: row.get("all_sizes", row)["ndcg@10"])
    compared = best.get("all_sizes", best)
    if "all_sizes" in best and compared["low"] > 0:
        return (
            f"every tuned model that is better at its smaller sizes is surely worse as a whole on"
            f" {queries} validation queries ({_interval(best)})"
        )
    return (
        f"no tuned model was surely better on {queries}"
        f" validation queries{' on average over all sizes' if 'all_sizes' in best else ''}"
        f" ({_interval(compared)})"
    )


def _interval(row: dict[str, Any]) -> str:
    return (
        f"the best one's 95 % interval is [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        " points of nDCG@10"
    )
