"""Hard negatives: documents that look like answers and are not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from isometry.geometry.neighbors import top_k

# So many of the nearest may become negatives; what the teacher finds too good does not.
_CANDIDATES = 200


@dataclass(frozen=True)
class Mined:
    """Negatives of each query.

    Attributes:
        rows: Document numbers, hardest first; -1 where too few were left.
        considered: How many candidates were looked at before each query had its negatives.
        filtered: How many of these were taken for unlabelled answers.
    """

    rows: Int[np.ndarray, "queries k"]
    considered: int
    filtered: int

    @property
    def filter_rate(self) -> float:
        """The share of the considered candidates that the margin filtered."""
        return self.filtered / self.considered if self.considered else 0.0


def mine(
    candidates: Int[np.ndarray, "queries candidates"],
    scores: Float[np.ndarray, "queries candidates"],
    positive: Float[np.ndarray, " queries"],
    *,
    k: int,
    margin: float = 0.05,
) -> Mined:
    """Picks the hardest candidates that a teacher finds clearly worse than the positive.

    What is not `clearly_worse` is more likely an answer nobody labelled.

    Args:
        candidates: Document numbers, from any rankers; -1 is padding. A query's own positives
            must have been left out.
        scores: The teacher's similarity of query and candidate.
        positive: The teacher's similarity of query and positive.
        k: Negatives a query.
        margin: Between 0 and 1.
    """
    rows = np.full((len(candidates), k), -1, dtype=np.int64)
    considered = filtered = 0
    clear = clearly_worse(scores, positive, margin)
    for query in range(len(candidates)):
        order = np.argsort(-scores[query], kind="stable")
        found = 0
        seen: set[int] = set()
        for column in order:
            document = int(candidates[query, column])
            if document < 0 or document in seen:
                continue
            seen.add(document)
            considered += 1
            if not clear[query, column]:
                filtered += 1
                continue
            rows[query, found] = document
            found += 1
            if found == k:
                break
    return Mined(rows, considered, filtered)


def teacher_negatives(
    queries: Float[np.ndarray, "pairs d"],
    answers: Float[np.ndarray, "pairs d"],
    k: int,
    random: np.random.Generator,
) -> Int[np.ndarray, "pairs k"]:
    """Negatives of pairs: the answers of others that a teacher nearly takes for a query's own.

    Where the teacher finds nearly all better than the answer, chance fills up.

    Args:
        queries: The teacher's unit vectors of one side of every pair.
        answers: Those of the other.
        k: Negatives a pair.
        random: What fills up.

    Returns:
        Numbers of other pairs, none of them twice for one query; those of `mine` first.

    Raises:
        ValueError: When there are not `k` others.
    """
    if len(answers) <= k:
        raise ValueError(f"of {len(answers)} pairs, none has {k} others")
    scores, near = top_k(queries, answers, min(_CANDIDATES, len(answers)))
    near = np.where(near == np.arange(len(answers))[:, None], -1, near)
    found = mine(near, scores, (queries * answers).sum(axis=1), k=k)
    return first_negatives(found.rows, k, random)


def clearly_worse(
    scores: Float[np.ndarray, "queries candidates"],
    positive: Float[np.ndarray, " queries"],
    margin: float = 0.05,
) -> Bool[np.ndarray, "queries candidates"]:
    """Which scores are at most the positive's less the margin, a share of the positive's score.

    The positive-aware filter with a percentage (Moreira et al. 2024, NV-Retriever, section 3.2).

    Args:
        scores: The teacher's similarity of query and candidate.
        positive: The teacher's similarity of query and positive.
        margin: Between 0 and 1.
    """
    return scores <= (positive - margin * np.abs(positive))[:, None]


def first_negatives(
    candidates: Int[np.ndarray, "queries candidates"], k: int, random: np.random.Generator
) -> Int[np.ndarray, "queries k"]:
    """The first candidates of each query; where there are too few, other queries' documents.

    Args:
        candidates: Document numbers, best first; -1 is padding, in any place. Each query's own
            document has the query's number.
        k: Negatives a query; less than there are queries.
        random: What fills up.
    """
    rows = np.empty((len(candidates), k), dtype=np.int64)
    for query, own in enumerate(candidates):
        found = own[own >= 0][:k]
        if len(found) < k:
            others = random.permutation(len(candidates))
            unused = others[(others != query) & ~np.isin(others, found)]
            found = np.concatenate([found, unused])[:k]
        rows[query] = found
    return rows


def ambiguous(
    candidates: Int[np.ndarray, "queries candidates"],
    scores: Float[np.ndarray, "queries candidates"],
    positive: Float[np.ndarray, " queries"],
    *,
    k: int,
    a: float,
    b: float,
    seed: int,
    answers: Sequence[Collection[int]] | None = None,
) -> Int[np.ndarray, "queries k"]:
    """Draws negatives whose scores are near the positive's: neither too hard nor too easy.

    A candidate with score s is drawn with a weight of exp(-a (s - s+ - b)^2), the largest at
    s = s+ + b (Zhou et al. 2022, "SimANS: Simple Ambiguous Negatives Sampling for Dense Text
    Retrieval"), without replacement. Draws differ from query to query.

    Args:
        candidates: Document numbers, from any rankers; -1 is padding. One that stands twice counts
            once, at its best.
        scores: The similarity of query and candidate.
        positive: The similarity of query and positive.
        k: Negatives a query.
        a: How fast the weights fall away from their peak; with 0 all candidates weigh the same.
        b: The peak's distance from the positive's score, usually 0 or a little below.
        seed: Of the draws.
        answers: The positives of each query, for a check that none is among its candidates.

    Returns:
        Document numbers in the order drawn; -1 where too few were left.

    Raises:
        ValueError: When `a` is negative, a candidate's score or a positive's is not finite, or a
            positive is among its own query's candidates.
    """
    if a < 0:
        raise ValueError(f"a must not be negative, but it is {a}")
    _refuse_answers(candidates, answers)
    kept = _distinct(candidates, scores)
    if not (np.isfinite(scores[kept]).all() and np.isfinite(positive[kept.any(axis=1)]).all()):
        raise ValueError("a score is not finite")
    with np.errstate(invalid="ignore"):  # padding may have any score
        weights = np.where(kept, -a * (scores - positive[:, None] - b) ** 2, -np.inf)
    # The k largest of log weight + Gumbel noise are k draws without replacement.
    keys = weights + np.random.default_rng(seed).gumbel(size=weights.shape)
    order = np.argsort(-keys, axis=1, kind="stable")[:, :k]
    rows = np.full((len(candidates), k), -1, dtype=np.int64)
    rows[:, : order.shape[1]] = np.take_along_axis(np.where(kept, candidates, -1), order, axis=1)
    return rows


@dataclass(frozen=True)
class Denoised:
    """Candidates, sorted by what a cross-encoder thinks of them.

    Attributes:
        negatives: Document numbers that it is sure do not answer, in their order; padded with -1.
        positives: Those that it is sure do, likewise.
    """

    negatives: Int[np.ndarray, "queries candidates"]
    positives: Int[np.ndarray, "queries candidates"]


def denoise(
    candidates: Int[np.ndarray, "queries candidates"],
    scores: Float[np.ndarray, "queries candidates"],
    *,
    negative_below: float = 0.1,
    positive_above: float = 0.9,
    answers: Sequence[Collection[int]] | None = None,
) -> Denoised:
    """Keeps the candidates that a cross-encoder is sure about, either way.

    Retrieved documents without a label are often unlabelled answers, and as negatives do more
    harm than good (Qu et al. 2021, "RocketQA", with its thresholds).

    Args:
        candidates: Document numbers, from any rankers; -1 is padding. One that stands twice counts
            once, at its best.
        scores: The cross-encoder's probability that the candidate answers the query.
        negative_below: What scores less is a negative.
        positive_above: What scores more is a further positive.
        answers: The positives of each query, for a check that none is among its candidates.

    Raises:
        ValueError: When the thresholds cross, a candidate's score is no probability (a logit,
            say), or a positive is among its own query's candidates.
    """
    if negative_below > positive_above:
        raise ValueError(f"{negative_below} and {positive_above} leave candidates on both sides")
    _refuse_answers(candidates, answers)
    kept = _distinct(candidates, scores)
    if not ((scores[kept] >= 0) & (scores[kept] <= 1)).all():
        raise ValueError("a score is no probability: apply a sigmoid to the logits first")
    return Denoised(
        _to_the_left(candidates, kept & (scores < negative_below)),
        _to_the_left(candidates, kept & (scores > positive_above)),
    )


def _refuse_answers(
    candidates: Int[np.ndarray, "queries candidates"], answers: Sequence[Collection[int]] | None
) -> None:
    if answers is not None and len(answers) != len(candidates):
        raise ValueError(f"{len(candidates)} queries, but the answers of {len(answers)}")
    for query, own in enumerate(answers or ()):
        found = set(own).intersection(candidates[query].tolist())
        if found:
            raise ValueError(
                f"document {min(found)} is a positive of query {query} and among its candidates"
            )


def _distinct(
    candidates: Int[np.ndarray, "queries candidates"],
    scores: Float[np.ndarray, "queries candidates"],
) -> Bool[np.ndarray, "queries candidates"]:
    """True for each document once, where it scores best, and nowhere for padding."""
    kept = np.zeros(candidates.shape, dtype=bool)
    for query, row in enumerate(candidates):
        order = np.argsort(-scores[query], kind="stable")
        documents, first = np.unique(row[order], return_index=True)
        kept[query, order[first[documents >= 0]]] = True
    return kept


def _to_the_left(
    candidates: Int[np.ndarray, "queries candidates"],
    kept: Bool[np.ndarray, "queries candidates"],
) -> Int[np.ndarray, "queries candidates"]:
    """The kept candidates of each query in their order, then -1."""
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(np.where(kept, candidates, -1), order, axis=1).astype(np.int64)


def unlabelled_answers(
    batches: Sequence[Sequence[int]],
    queries: Float[np.ndarray, "rows dim"],
    documents: Float[np.ndarray, "rows dim"],
) -> list[set[int]]:
    """For each row, which rows of its batches hold what a teacher finds a better answer to it.

    A document that is more similar to a query than its own is likelier an answer that nobody
    labelled than a hard negative (Morris and Rush 2024, "Contextual Document Embeddings", section
    4.1). With all batches planned ahead, a row is compared with those that it meets and no others.

    Args:
        batches: Row numbers.
        queries: The teacher's vector of each row's query.
        documents: The teacher's vector of each row's own document.
    """
    found: list[set[int]] = [set() for _ in range(len(queries))]
    for batch in batches:
        rows = np.asarray(batch)
        scores = queries[rows] @ documents[rows].T
        better = scores > np.diagonal(scores)[:, None]
        for row, others in zip(batch, better, strict=True):
            found[row].update(rows[others].tolist())
    return found
