"""What `fit` proves at its end, on queries and answers that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from isometry.compression.precision import bytes_per_vector, round_trip
from isometry.compression.truncation import truncate
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.sizes import Size, size_name
from isometry.evaluation.retention import gloss_retention, relation_retention
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.evaluation.significance import grouped_bootstrap
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
        change = asdict(grouped_bootstrap(reached["base"], reached["tuned"], groups))
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
        before, after = (_rank_of(found.order[number], known) for found in (base, tuned))
        answer = next(iter(known))
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


def _rank_of(order: np.ndarray, known: dict[int, int]) -> int | None:
    """The rank of the first answer, from 1; None beyond the depth that was looked at."""
    places = np.flatnonzero(np.isin(order, list(known)))
    return int(places[0]) + 1 if len(places) else None


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
        points, low, high = (100 * change[name] for name in ("difference", "low", "high"))
        word = "Better" if low > 0 else "Worse" if high < 0 else "No sure difference"
        interval, asked = f" [{low:+.1f}, {high:+.1f}]", f"{proof['test']['queries']} held-out"
        alone = proof["test"]["groups"] == 1
        if alone:
            # Queries vary, but between pages there is nothing to see.
            word, interval = "No sure difference", ""
        headline = f"{word}: {points:+.1f} points of nDCG@10{interval} on {asked} queries"
        headline += ", all of pages that belong together, which says nothing of others." * alone
        headline += "" if alone else "."
        if smaller := proof["sizes"][:-1]:
            gains = ", ".join(_gain(row, alone) for row in smaller)
            headline += f" Smaller, against the base cut so: {gains}."
    return {
        "kept": kept,
        "alpha": choice["alpha"],
        "headline": headline,
        "reasons": choice["reasons"],
    }


def _gain(row: dict[str, Any], alone: bool) -> str:
    points, low, high = (100 * row[name] for name in ("difference", "low", "high"))
    interval = "" if alone else f" [{low:+.1f}, {high:+.1f}]"
    return f"{size_name((row['layers'], row['dimensions']))} {points:+.1f}{interval}"
