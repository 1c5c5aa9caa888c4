"""Training rows with hard negatives from both rankers, the false ones filtered by a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from isometry.core.progress import track
from isometry.corpora.pairs.structure import Pair
from isometry.encoders.cached import CachedEncoder
from isometry.jobs.ranking import Collection
from isometry.learners.two_towers import PairRow
from isometry.search.lancedb import ChunkIndex
from isometry.training.negatives import mine

_CANDIDATES = 50
_MARGIN = 0.05
_BLOCK = 256


def passage(header: str, body: str) -> str:
    """A document as the encoder reads it."""
    return f"{header}\n{body}" if header else body


def sample_pairs(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """So many pairs at most, in their order: what is never trained on need not be mined for."""
    if len(pairs) <= most:
        return list(pairs)
    rows = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:most])
    return [pairs[row] for row in rows]


def mine_rows(
    pairs: Sequence[Pair],
    ranked: Collection,
    views: Sequence[tuple[str, str]],
    clusters: Int[np.ndarray, " documents"],
    trainable: np.ndarray,
    index: ChunkIndex,
    teacher: CachedEncoder,
    *,
    k: int,
    seed: int,
) -> tuple[list[PairRow], dict[str, Any]]:
    """Training rows: each pair with `k` documents that look like its answer and are not.

    Candidates are what words and vectors rank highest among the training documents; those that
    the teacher finds nearly as similar as the answer are taken for unlabelled answers. Where too
    few are left, random training documents fill up.

    Args:
        pairs: Query and answer.
        ranked: The documents and their passages.
        views: Header and body of each document.
        clusters: Documents of one cluster answer each other's queries.
        trainable: True for the documents of the training side.
        index: Ranks by words.
        teacher: Ranks by vectors, and filters.
        k: Negatives a pair; 0 gives none.
        seed: Of the random ones.

    Returns:
        The rows, and figures for the report.
    """
    number = {document: row for row, document in enumerate(ranked.documents)}
    answers = np.array([number[pair.document] for pair in pairs])
    if k == 0:
        rows = [
            PairRow(pair.query, passage(pair.header, pair.body), int(clusters[answer]))
            for pair, answer in zip(pairs, answers, strict=True)
        ]
        return rows, {"mined": 0, "filtered": 0, "filter_rate": 0.0, "per_query": 0}
    vectors = teacher.encode(ranked.passages, title="Encoding passages")
    asked = teacher.encode([pair.query for pair in pairs], "query", title="Encoding queries")
    candidates, scores, positive = _candidates(
        pairs, answers, asked, vectors, ranked, clusters, trainable, index, number
    )
    mined = mine(candidates, scores, positive, k=k, margin=_MARGIN)

    generator = np.random.default_rng(seed)
    pool = np.flatnonzero(trainable)
    rows: list[PairRow] = []
    for pair, answer, negatives in zip(pairs, answers, mined.rows, strict=True):
        others = pool[clusters[pool] != clusters[answer]]
        chosen = [
            int(negative) if negative >= 0 else int(generator.choice(others))
            for negative in negatives
        ]
        rows.append(
            PairRow(
                pair.query,
                passage(pair.header, pair.body),
                int(clusters[answer]),
                tuple(passage(*views[row]) for row in chosen),
                tuple(int(clusters[row]) for row in chosen),
            )
        )
    return rows, {
        "mined": int((mined.rows >= 0).sum()),
        "considered": mined.considered,
        "filtered": mined.filtered,
        "filter_rate": round(mined.filter_rate, 4),
        "per_query": k,
        "margin": _MARGIN,
    }


def _candidates(
    pairs: Sequence[Pair],
    answers: Int[np.ndarray, " pairs"],
    asked: Float[np.ndarray, "pairs dim"],
    vectors: Float[np.ndarray, "passages dim"],
    ranked: Collection,
    clusters: Int[np.ndarray, " documents"],
    trainable: np.ndarray,
    index: ChunkIndex,
    number: dict[str, int],
) -> tuple[Int[np.ndarray, "pairs c"], Float[np.ndarray, "pairs c"], Float[np.ndarray, " pairs"]]:
    """The highest of both rankers, the teacher's scores of them, and those of the answers."""
    order = np.argsort(ranked.owner, kind="stable")
    starts = np.searchsorted(ranked.owner[order], np.arange(len(ranked.documents)))
    width = 2 * _CANDIDATES
    rows = np.full((len(pairs), width), -1, dtype=np.int64)
    scores = np.full((len(pairs), width), -np.inf, dtype=np.float32)
    positive = np.empty(len(pairs), dtype=np.float32)
    with track("Mining negatives", len(pairs), "queries") as task:
        for start in range(0, len(pairs), _BLOCK):
            block = asked[start : start + _BLOCK] @ vectors[order].T
            similarity = np.maximum.reduceat(block, starts, axis=1)
            for offset, own in enumerate(similarity):
                row = start + offset
                answer = answers[row]
                positive[row] = own[answer]
                allowed = trainable & (clusters != clusters[answer])
                reachable = np.where(allowed, own, -np.inf)
                dense = np.argsort(-reachable, kind="stable")[:_CANDIDATES]
                words = [
                    number[hit.document] for hit in index.lexical(pairs[row].query, _CANDIDATES)
                ]
                found = [
                    document
                    for document in dict.fromkeys([*dense.tolist(), *words])
                    if allowed[document]
                ]
                rows[row, : len(found)] = found
                scores[row, : len(found)] = own[found]
                task.advance()
    return rows, scores, positive


def row_to_json(row: PairRow) -> list[Any]:
    """A training row as plain values."""
    return [row.query, row.document, row.key, list(row.negatives), list(row.negative_keys)]


def row_from_json(values: list[Any]) -> PairRow:
    """What `row_to_json` gave, as a training row."""
    return PairRow(values[0], values[1], values[2], tuple(values[3]), tuple(values[4]))
