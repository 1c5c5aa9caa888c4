"""A cascade: the first of a cheap ranking, put in order by a scorer that reads both texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.search.fusion import standard_score_fusion

Ranking = Sequence[tuple[str, float]]
Scorer = Callable[[list[tuple[str, str]]], Float[np.ndarray, " pairs"]]


def rerank(
    queries: Sequence[str],
    rankings: Sequence[Ranking],
    texts: Mapping[str, str],
    score: Scorer,
    *,
    depth: int = 50,
    weight: float = 1.0,
) -> list[list[tuple[str, float]]]:
    """Puts the first documents of each ranking into a new order.

    All pairs of all queries are scored in one call, so that the scorer can batch them by length.

    Args:
        queries: The text of each query.
        rankings: For each query, the ids of documents with their scores, best first; from any
            first stage.
        texts: The text of each document that is within `depth` of a ranking.
        score: Query and document -> how well they fit, higher is better; `CrossEncoder.score`, say.
        depth: So many of each ranking are scored. The rest stays behind them in its order.
        weight: How much the scorer counts, from 0 to 1; the first stage's own score counts the
            rest, both as standard scores over the documents within `depth`.

    Returns:
        For each query, the documents of its ranking in their new order. Those within `depth` carry
        the scorer's own score, or the weighted sum where `weight` is below 1; equal ones stay in
        the order of the first stage. The rest carries the first stage's scores, shifted so that the
        best of them lies 1 below the lowest before it: sorting by score keeps this order.

    Raises:
        InputError: When a text is missing, or the scorer gives NaN or infinity.
        ValueError: When `depth` is not positive, `weight` lies outside 0 to 1, or there are not as
            many rankings as queries or scores as pairs.
    """
    if depth < 1:
        raise ValueError(f"depth must be positive, not {depth}")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie within 0 and 1, not {weight}")
    pairs: list[tuple[str, str]] = []
    for query, ranking in zip(queries, rankings, strict=True):
        for document, _ in ranking[:depth]:
            if document not in texts:
                raise InputError(f"The text of the document {document!r} is missing.")
            pairs.append((query, texts[document]))
    scores = np.asarray(score(pairs), dtype=np.float64) if pairs else np.empty(0)
    if scores.shape != (len(pairs),):
        raise ValueError(f"the scorer gave {scores.shape} for {len(pairs)} pairs")
    if not np.isfinite(scores).all():
        query, text = pairs[int(np.flatnonzero(~np.isfinite(scores))[0])]
        raise InputError(f"The scorer gave NaN or infinity for {query[:40]!r} and {text[:40]!r}.")
    ordered: list[list[tuple[str, float]]] = []
    start = 0
    for ranking in rankings:
        first, rest = ranking[:depth], ranking[depth:]
        names = [document for document, _ in first]
        own = list(zip(names, scores[start : start + len(first)].tolist(), strict=True))
        start += len(first)
        fused = own if weight == 1 else standard_score_fusion(own, first, weight, depth=len(first))
        by_document = dict(fused)
        # Sorting is stable: equal scores stay in the order of the first stage.
        head = sorted(
            ((name, by_document[name]) for name in names), key=lambda item: item[1], reverse=True
        )
        shift = head[-1][1] - 1 - rest[0][1] if rest else 0.0
        ordered.append(head + [(document, value + shift) for document, value in rest])
    return ordered
