"""Late interaction: a vector a token, and for each of a query's the best of a document's."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

_SCORES_AT_ONCE = 1 << 23  # 32 MiB in single precision


def max_sim(
    query: Float[np.ndarray, "t d"],
    document: Float[np.ndarray, "s d"],
    query_mask: Bool[np.ndarray, " t"] | None = None,
    document_mask: Bool[np.ndarray, " s"] | None = None,
) -> float:
    """The sum over a query's tokens of the highest inner product with a document's token.

    Khattab and Zaharia (2020), "ColBERT: Efficient and Effective Passage Search via Contextualized
    Late Interaction over BERT", equation 3.

    Args:
        query: The vectors of its tokens, of length 1 where the cosine is meant.
        document: Likewise.
        query_mask: True for the tokens that count; all of them when `None`.
        document_mask: Likewise. ColBERT leaves out punctuation here.

    Raises:
        ValueError: When a side has no token that counts.

    Example:
        >>> max_sim(np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]]))
        1.8
    """
    return float(
        max_sims(
            query[None],
            document[None],
            None if query_mask is None else query_mask[None],
            None if document_mask is None else document_mask[None],
        )[0, 0]
    )


def max_sims(
    queries: Float[np.ndarray, "q t d"],
    documents: Float[np.ndarray, "n s d"],
    query_mask: Bool[np.ndarray, "q t"] | None = None,
    document_mask: Bool[np.ndarray, "n s"] | None = None,
) -> Float[np.ndarray, "q n"]:
    """`max_sim` of every query with every document, padded to one number of tokens a side.

    Memory is bounded: one query meets a block of documents at a time.

    Args:
        queries: As above.
        documents: As above.
        query_mask: False where a query is padded; all True when `None`.
        document_mask: Likewise.

    Raises:
        ValueError: As above.
    """
    query_mask = np.ones(queries.shape[:2], dtype=bool) if query_mask is None else query_mask
    if document_mask is None:
        document_mask = np.ones(documents.shape[:2], dtype=bool)
    for name, mask in (("query", query_mask), ("document", document_mask)):
        if not mask.any(axis=1).all():
            row = int(np.flatnonzero(~mask.any(axis=1))[0])
            raise ValueError(f"{name} {row} has no token that counts")
    count, tokens, dim = documents.shape
    scores = np.empty((len(queries), count), dtype=np.result_type(queries, documents))
    block = max(1, _SCORES_AT_ONCE // max(1, queries.shape[1] * tokens))
    for start in range(0, count, block):
        part, mask = documents[start : start + block], document_mask[start : start + block]
        flat = part.reshape(-1, dim).T
        for row, (query, counts) in enumerate(zip(queries, query_mask, strict=True)):
            products = (query[counts] @ flat).reshape(-1, *mask.shape)
            best = np.where(mask, products, -np.inf).max(axis=2)
            scores[row, start : start + block] = best.sum(axis=0)
    return scores
