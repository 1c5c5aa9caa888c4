"""Exact search over vectors that are mostly zeros: learned words (SPLADE), concepts, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float, Int

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_SCORES_AT_ONCE = 1 << 23  # 32 MiB in single precision


class SparseIndex:
    """Documents as rows of a CSR matrix, ranked by inner product.

    Args:
        vectors: One document a row; used, not copied.

    Raises:
        InputError: When a value is NaN or infinite.
    """

    def __init__(self, vectors: csr_array) -> None:
        _check_finite("document", vectors)
        self.vectors = vectors
        self.documents, self.dim = _shape(vectors)
        # Its columns are rows of this one: a query with few dimensions touches few of them.
        self._by_dimension = vectors.T.tocsr()

    def __len__(self) -> int:
        return self.documents

    def search(
        self, queries: csr_array, k: int
    ) -> tuple[Float[np.ndarray, "queries k"], Int[np.ndarray, "queries k"]]:
        """The `k` documents with the highest inner product with each query.

        Exact: documents that share no dimension with a query have the score 0 and stand where that
        belongs, above negative scores.

        Args:
            queries: One a row.
            k: How many documents; all of them when there are fewer.

        Returns:
            Scores, highest first, and the rows that they belong to; equal scores stand in the order
            of the rows.

        Raises:
            InputError: When the dimensions of both sides differ, or a value is NaN or infinite.
        """
        count, dim = _shape(queries)
        if dim != self.dim:
            raise InputError(
                f"The queries have {dim} dimensions, the index has {self.dim}.",
                "Make both with the same model.",
            )
        _check_finite("query", queries)
        k = min(k, len(self))
        # A float, so that the sign of a count can be turned round.
        kind = np.result_type(queries.dtype, self.vectors.dtype, np.float32)
        scores, rows = np.empty((count, k), dtype=kind), np.empty((count, k), dtype=np.int64)
        block = max(1, _SCORES_AT_ONCE // max(1, len(self)))
        for start in range(0, count, block):
            part = queries[start : start + block].astype(kind)
            found = (part @ self._by_dimension).toarray()
            order = np.argsort(-found, axis=1, kind="stable")[:, :k]
            rows[start : start + block] = order
            scores[start : start + block] = np.take_along_axis(found, order, axis=1)
        return scores, rows


def _shape(vectors: csr_array) -> tuple[int, int]:
    return cast("tuple[int, int]", vectors.shape)


def _check_finite(name: str, vectors: csr_array) -> None:
    if not np.isfinite(vectors.data).all():
        raise InputError(f"The {name} vectors hold numbers that are not finite.")
