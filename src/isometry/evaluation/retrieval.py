"""Exact search over vectors, and the figures that say how good a ranking is."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from isometry.core.errors import InputError

METRICS = ("ndcg@10", "recall@1", "recall@10", "recall@100", "mrr@10")

_SCORES_AT_ONCE = 1 << 23  # 32 MiB in single precision


def rank_documents(
    queries: Float[np.ndarray, "queries dim"],
    passages: Float[np.ndarray, "passages dim"],
    owner: Int[np.ndarray, " passages"],
    k: int,
    keep: Bool[np.ndarray, " documents"] | None = None,
    exclude: Sequence[Collection[int]] | None = None,
) -> tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """Ranks documents by inner product, each by the best of its passages.

    Equal scores are ordered by document number. Memory is bounded by a block of queries.

    Args:
        queries: One vector a query.
        passages: One vector a passage, in any order.
        owner: The number of the document that each passage belongs to, from 0.
        k: How many documents to return for a query.
        keep: Which documents may be returned at all; all of them by default.
        exclude: For each query, the documents that must not be returned (its own, say).

    Returns:
        Document numbers and their scores, best first. Where fewer than `k` documents are left, the
        rest is -1 with a score of minus infinity.

    Raises:
        InputError: When a side has numbers that are not finite, or the two differ in dimensions.
    """
    if len(owner) != len(passages):
        raise ValueError(f"{len(passages)} passages, but {len(owner)} owners.")
    if exclude is not None and len(exclude) != len(queries):
        raise ValueError(f"{len(queries)} queries, but {len(exclude)} exclusions.")
    for name, vectors in (("query", queries), ("passage", passages)):
        if not np.isfinite(vectors).all():
            raise InputError(
                f"The {name} vectors hold numbers that are not finite.",
                "The model overflowed or is damaged: encode in single precision.",
            )
    if queries.shape[1] != passages.shape[1]:
        raise InputError(
            f"The query vectors have {queries.shape[1]} dimensions,"
            f" the passage vectors {passages.shape[1]}.",
            "Encode both sides with the same model, cut to the same size.",
        )
    if keep is not None:
        kept = keep[owner]
        passages, owner = passages[kept], owner[kept]
    if np.any(owner[1:] < owner[:-1]):
        order = np.argsort(owner, kind="stable")
        passages, owner = passages[order], owner[order]
    documents, starts = np.unique(owner, return_index=True)

    kind = np.result_type(queries, passages, np.float32)
    numbers = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=kind)
    if not len(documents):
        return numbers, scores
    block = max(1, _SCORES_AT_ONCE // len(passages))
    transposed = passages.astype(kind, copy=False).T
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        best = np.maximum.reduceat(queries[rows].astype(kind) @ transposed, starts, axis=1)
        if exclude is not None:
            _drop(best, documents, exclude[rows])
        columns = _best_columns(best, k)
        found = np.take_along_axis(best, columns, axis=1)
        width = columns.shape[1]
        numbers[rows, :width] = np.where(found > -np.inf, documents[columns], -1)
        scores[rows, :width] = found
    return numbers, scores


def documents_of_passages(
    rows: Int[np.ndarray, "queries k"],
    scores: Float[np.ndarray, "queries k"],
    owner: Int[np.ndarray, " passages"],
) -> tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """Ranked passages -> ranked documents, each where its best passage stands.

    Args:
        rows: Passage numbers of each query, best first; -1 is padding.
        scores: Of these.
        owner: The number of the document that each passage belongs to.

    Returns:
        Document numbers and their scores; the rest is -1 with a score of 0.
    """
    order, best = np.full_like(rows, -1), np.zeros(scores.shape)
    for query, found in enumerate(rows):
        documents = owner[found[found >= 0]]
        first = np.sort(np.unique(documents, return_index=True)[1])
        order[query, : len(first)] = documents[first]
        best[query, : len(first)] = scores[query, first]
    return order, best


def own_ranks(
    queries: Float[np.ndarray, "pairs d"], answers: Float[np.ndarray, "pairs d"], k: int = 10
) -> Float[np.ndarray, " pairs"]:
    """MRR@k of pairs: each query looks for the answer of its own row among all of them.

    Args:
        queries: One side of every pair.
        answers: The other.
        k: The last rank at which an answer counts as found.
    """
    rows = range(len(queries))
    return reciprocal_ranks(queries, answers, np.arange(len(answers)), [(row,) for row in rows], k)


def reciprocal_ranks(
    queries: Float[np.ndarray, "queries d"],
    documents: Float[np.ndarray, "documents d"],
    numbers: Int[np.ndarray, " documents"],
    answers: Sequence[Collection[int]],
    k: int,
) -> Float[np.ndarray, " asked"]:
    """MRR@k by inner product, of the queries that at least one of the documents answers.

    Args:
        queries: One vector a query.
        documents: One vector a document.
        numbers: Of these documents.
        answers: The numbers of those that answer each query, also of some that are not there.
        k: The last rank at which an answer counts as found.
    """
    there = set(numbers.tolist())
    relevance = [{number: 1 for number in own if number in there} for own in answers]
    asked = [row for row, own in enumerate(relevance) if own]
    order, _ = rank_documents(queries[asked], documents, numbers, k)
    return score_rankings(order, [relevance[row] for row in asked], (f"mrr@{k}",))[f"mrr@{k}"]


def _drop(
    scores: Float[np.ndarray, "queries documents"],
    documents: Int[np.ndarray, " documents"],
    exclude: Sequence[Collection[int]],
) -> None:
    """Sets the scores of each query's excluded documents to minus infinity, in place."""
    rows = np.repeat(np.arange(len(exclude)), [len(each) for each in exclude])
    unwanted = np.fromiter((number for each in exclude for number in each), np.int64, len(rows))
    columns = np.searchsorted(documents, unwanted).clip(max=len(documents) - 1)
    present = documents[columns] == unwanted
    scores[rows[present], columns[present]] = -np.inf


def _best_columns(
    scores: Float[np.ndarray, "queries documents"], k: int
) -> Int[np.ndarray, "queries width"]:
    """The columns of the k largest scores of each row, best first; of equals, the first ones."""
    k = min(k, scores.shape[1])
    # A partition alone would leave to chance which of the scores equal to the last one stay.
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, level = scores > last, scores == last
    room = k - above.sum(axis=1, keepdims=True)
    chosen = above | (level & (np.cumsum(level, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def score_rankings(
    rankings: Sequence[Sequence[Hashable]] | Int[np.ndarray, "queries k"],
    relevance: Sequence[Mapping[Any, int]],
    metrics: Sequence[str] = METRICS,
) -> dict[str, Float[np.ndarray, " queries"]]:
    """Scores each query's ranking, with the definitions of trec_eval.

    `ndcg@k` takes the judgement itself as the gain, a discount of log2(rank + 1), and the best
    order of everything judged as the ideal (Järvelin and Kekäläinen, 2002). `recall@k` is the share
    of the relevant documents (judged 1 or more) among the first k. `mrr@k` is one over the rank of
    the first relevant document, or 0 when it is not among the first k.

    Args:
        rankings: For each query, documents with the best first, none of them twice. An array may
            be padded with -1.
        relevance: For each query, the judgement of each judged document; others count as 0.
        metrics: What to compute, as "name@k".

    Returns:
        For each metric, one figure from 0 to 1 a query.

    Raises:
        ValueError: When a query has no relevant document, or a metric is unknown.
    """
    if len(rankings) != len(relevance):
        raise ValueError(f"{len(rankings)} rankings, but {len(relevance)} judgements.")
    for number, judged in enumerate(relevance):
        if max(judged.values(), default=0) < 1:
            raise ValueError(f"Query {number} has no relevant document.")
    wanted = [(metric, *_parse(metric)) for metric in metrics]
    depth = max((k for _, _, k in wanted), default=0)
    gains = np.zeros((len(rankings), depth))
    ideal = np.zeros((len(rankings), depth))
    relevant = np.empty(len(rankings))
    for row, (ranking, judged) in enumerate(zip(rankings, relevance, strict=True)):
        first = ranking[:depth]
        names = first.tolist() if isinstance(first, np.ndarray) else first
        gains[row, : len(names)] = [max(judged.get(name, 0), 0) for name in names]
        positive = sorted((value for value in judged.values() if value > 0), reverse=True)
        ideal[row, : len(positive)] = positive[:depth]
        relevant[row] = len(positive)
    ranks = np.arange(1, depth + 1)
    discounts = 1 / np.log2(ranks + 1)
    figures: dict[str, Float[np.ndarray, " queries"]] = {}
    for metric, name, k in wanted:
        if name == "ndcg":
            figures[metric] = gains[:, :k] @ discounts[:k] / (ideal[:, :k] @ discounts[:k])
        elif name == "recall":
            figures[metric] = (gains[:, :k] > 0).sum(axis=1) / relevant
        else:
            figures[metric] = ((gains[:, :k] > 0) / ranks[:k]).max(axis=1)
    return figures


def _parse(metric: str) -> tuple[str, int]:
    name, _, k = metric.partition("@")
    if name not in ("ndcg", "recall", "mrr") or not k.isdecimal() or int(k) < 1:
        raise ValueError(f"There is no metric '{metric}': name one like ndcg@10.")
    return name, int(k)
