"""What `fit` proves at its end, on queries and answers that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isometry.compression.precision import bytes_per_vector, round_trip
from isometry.compression.truncation import truncate
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.sizes import Size, size_name
from isometry.evaluation.retention import gloss_retention, relation_retention
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.jobs import ranking
from isometry.jobs.fitting import Fitting
from isometry.jobs.preparation import Questions
from isometry.jobs.ranking import PerQuery, Rankings
from isometry.training.plan import Plan, speed_key

_PRECISIONS = ("float32", "float16", "int8", "binary")
_WIDTHS = (256, 128, 64, 32)
_EXAMPLES = 5
_SHOWN = 400
NOTHING_PROVEN = {
    "test": None,
    "curve": [],
    "precision": [],
    "sizes": [],
    "retention": None,
    "examples": None,
}


def prove(job: Fitting, choice: dict[str, Any]) -> dict[str, Any]:
    """All final figures of one fit: the only place where the test queries are ranked.

    Every system ranks the same documents: all, or the planned sample. Differences are taken like
    for like (vectors against vectors, fusion against fusion) with `grouped_bootstrap` intervals
    over the queries and over what the split never divides.
    """
    if job.data.too_little:
        return NOTHING_PROVEN

    def make() -> dict[str, Any]:
        with job.phase("test"):
            return _prove(job, choice)

    return job.work.json("proof", make)


def _prove(job: Fitting, choice: dict[str, Any]) -> dict[str, Any]:
    asked = job.asked("test")
    groups = job.data.parts_of(asked)
    words = job.by_words("test")
    before = job.compare_before_training()
    encoders = {"base": job.base}
    if choice["alpha"] > 0:
        encoders["tuned"] = job.cached(job.merged(choice["alpha"]))
    weights = {"base": before["dense_weight"], "tuned": choice["dense_weight"]}
    dense = {
        name: ranking.dense_rankings(encoder, job.ranked, asked.queries)
        for name, encoder in encoders.items()
    }
    fused = {
        name: ranking.fused_rankings(job.documents, order, words, weights[name])
        for name, order in dense.items()
    }
    orders = {"lexical": words} | dense | {f"{name} fused": fused[name] for name in fused}
    scores = {name: score_rankings(found.order, asked.relevance) for name, found in orders.items()}
    changes: list[dict[str, Any]] = []
    examples = None
    if "tuned" in dense:
        changes = ranking.differences(
            "tuned - base", "dense", scores["base"], scores["tuned"], groups
        )
        changes += ranking.differences(
            "tuned fused - base fused",
            "hybrid",
            scores["base fused"],
            scores["tuned fused"],
            groups,
        )
        examples = _examples(job, asked, dense["base"], dense["tuned"])
    return {
        "test": {
            "queries": len(asked.queries),
            "groups": len(set(groups)),
            "documents": job.ranked.size,
            "kind": "given" if job.data.given else "artificial",
            "rows": [ranking.row_of(name, values) for name, values in scores.items()],
            "differences": changes,
        },
        **_curves(job, encoders, asked),
        "sizes": _sizes(job, choice["alpha"], encoders, scores),
        "retention": _retention(job, encoders.get("tuned", job.base)),
        "examples": examples,
    }


def _retention(job: Fitting, kept: CachedEncoder) -> dict[str, Any]:
    base, now = job.probe(job.base), job.probe(kept)
    return {
        "gloss": {
            "base": gloss_retention(base),
            "kept": gloss_retention(now),
            "use": "chose the model",
        },
        "relations": {
            "base": relation_retention(base),
            "kept": relation_retention(now),
            "use": "final figure",
        },
    }


def _curves(
    job: Fitting, encoders: dict[str, CachedEncoder], asked: Questions
) -> dict[str, list[dict[str, Any]]]:
    """nDCG@10 of cut vectors, and of coarser ones."""
    full = job.base.encoder.dim
    others = (width for width in _WIDTHS if width < full)
    widths = sorted({full, *job.plan.dims, *others}, reverse=True)
    curve: list[dict[str, Any]] = [{"dimensions": width} for width in widths]
    precision: list[dict[str, Any]] = [
        {"precision": name, "bytes": bytes_per_vector(full, name)} for name in _PRECISIONS
    ]
    for name, encoder in encoders.items():
        passages = encoder.encode(job.ranked.passages)
        queries = encoder.encode(asked.queries, "query")

        def score(asking: np.ndarray, answering: np.ndarray) -> float:
            found = Rankings(*rank_documents(asking, answering, job.ranked.owner, 10))
            return ranking.mean_score(found, asked.relevance)

        for row in curve:
            width = row["dimensions"]
            row[name] = score(truncate(queries, width), truncate(passages, width))
        for row in precision:
            row[name] = score(queries, round_trip(passages, row["precision"]))
    return {"curve": curve, "precision": precision}


def _sizes(
    job: Fitting, alpha: float, encoders: dict[str, CachedEncoder], scores: dict[str, PerQuery]
) -> list[dict[str, Any]]:
    """What each nested size and, last, the whole cost, and nDCG@10 of base and tuned model so.

    Args:
        job: The fit.
        alpha: The point on the line base .. tuned that was chosen.
        encoders: The base and, if it was chosen, the tuned model.
        scores: What they reach whole.
    """
    if not job.nested:
        return []
    asked = job.asked("test")
    groups = job.data.parts_of(asked)
    points = {"base": 0.0, "tuned": alpha}
    rows: list[dict[str, Any]] = []
    for size in job.nested:
        cut = {name: job.cut(points[name], size) for name in encoders}
        reached = {
            name: score_rankings(
                ranking.dense_rankings(encoder, job.ranked, asked.queries).order, asked.relevance
            )
            for name, encoder in cut.items()
        }
        rows.append(_size_row(size, cut["base"], reached, _speed(job.plan, size), groups))
    whole = job.plan.layers, job.base.encoder.dim
    return [*rows, _size_row(whole, job.base, scores, 1.0, groups)]


def _size_row(
    size: Size,
    encoder: CachedEncoder,
    scores: dict[str, PerQuery],
    speed: float | None,
    groups: Sequence[int],
) -> dict[str, Any]:
    reached = {name: scores[name]["ndcg@10"] for name in ("base", "tuned") if name in scores}
    change = {}
    if "tuned" in reached:
        change = ranking.difference(reached["base"], reached["tuned"], groups)
    return {
        "layers": size[0],
        "dimensions": size[1],
        "parameters": sum(part.numel() for part in encoder.encoder.parameters()),
        "bytes": bytes_per_vector(size[1], "float32"),
        "speed": speed,
        **{name: float(own.mean()) for name, own in reached.items()},
        **change,
    }


def _speed(plan: Plan, size: Size) -> float | None:
    """How many times as fast as the whole a size encodes; None where nobody measured it."""
    whole = plan.measured.get(f"encode_tokens_per_second_{plan.precision}")
    own = plan.measured.get(speed_key(size))
    return own / whole if own and whole else None


def _examples(job: Fitting, asked: Questions, base: Rankings, tuned: Rankings) -> dict[str, Any]:
    """The queries whose answer moved most, by the change of its reciprocal rank."""
    rows: list[dict[str, Any]] = []
    for number, (query, known) in enumerate(zip(asked.queries, asked.relevance, strict=True)):
        before, old = _first_answer(base.order[number], known)
        after, new = _first_answer(tuned.order[number], known)
        # Of several answers the one that stands at the better of both ranks.
        answer = new if after and after <= (before or after) else old
        document = job.data.documents[answer]
        rows.append(
            {
                "query": query,
                "document": document.id,
                "title": document.header(),
                "text": job.data.views[answer][1][:_SHOWN],
                "base_rank": before,
                "tuned_rank": after,
                "gain": (1 / after if after else 0.0) - (1 / before if before else 0.0),
            }
        )
    rows.sort(key=lambda row: -row["gain"])
    return {
        "improved": [row for row in rows[:_EXAMPLES] if row["gain"] > 0],
        "worsened": [row for row in rows[::-1][:_EXAMPLES] if row["gain"] < 0],
    }


def _first_answer(order: np.ndarray, known: dict[int, int]) -> tuple[int | None, int]:
    """The rank of the first answer, from 1, and which it is; None beyond what was looked at."""
    places = np.flatnonzero(np.isin(order, list(known)))
    if not len(places):
        return None, next(iter(known))
    return int(places[0]) + 1, int(order[places[0]])


def verdict(choice: dict[str, Any], proof: dict[str, Any]) -> dict[str, Any]:
    """Did it get better, by how much, how sure: one sentence, and its reasons."""
    kept = "tuned" if choice["alpha"] > 0 else "base"
    headline = f"The base model was kept: {choice['reasons'][0].rstrip('.')}."
    if kept == "tuned":
        change = next(
            row
            for row in proof["test"]["differences"]
            if row["mode"] == "dense" and row["metric"] == "ndcg@10"
        )
        low, high = change["low"], change["high"]
        word = "No sure difference"
        # Queries vary, but between pages of one group there is nothing to see.
        alone = low is None
        if not alone and (low > 0 or high < 0):
            word = "Better" if low > 0 else "Worse"
        headline = (
            f"{word}: {_points(change)} on {proof['test']['queries']} held-out queries"
            + (", all of pages that belong together, which says nothing of others" if alone else "")
            + "."
        )
        if smaller := proof["sizes"][:-1]:
            gains = ", ".join(
                f"{size_name((row['layers'], row['dimensions']))} {_points(row, '')}"
                for row in smaller
            )
            headline += f" Smaller, against the base cut so: {gains}."
    return {
        "kept": kept,
        "alpha": choice["alpha"],
        "headline": headline,
        "reasons": choice["reasons"],
    }


def _points(row: dict[str, Any], unit: str = " points of nDCG@10") -> str:
    """A difference, with its interval where there is one."""
    interval = ""
    if row["low"] is not None:
        interval = f" [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{100 * row['difference']:+.1f}{unit}{interval}"
