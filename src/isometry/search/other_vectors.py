"""A table's chunks compared by other vectors than its own: cut ones, or another encoder's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, Int

from isometry.core.errors import InputError
from isometry.search.lancedb import ChunkIndex, Hit
from isometry.search.view import Found, Rows


class OtherVectors(ChunkIndex):
    """A table of the same chunks, with vectors in memory that are all compared: exact.

    Args:
        index: The table.
        numbers: Which of its rows can be found, ascending.
        vectors: Theirs, of length 1.
    """

    def __init__(
        self,
        index: ChunkIndex,
        numbers: Int[np.ndarray, " shown"],
        vectors: Float[np.ndarray, "shown dim"],
    ) -> None:
        # What is open stays open: this is the same table.
        super().__init__(index._table, index._folder)
        self._index = index
        self._numbers = numbers
        self._vectors = vectors
        # Not that of the table.
        self.__dict__["dim"] = vectors.shape[1]

    @property
    def rows(self) -> Rows:
        """Those of the table."""
        return self._index.rows

    def rank_dense(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """The best row of each document by the inner product with a vector; exact.

        Raises:
            InputError: When the vector's length is not that of these vectors.
        """
        if vector.shape != (self.dim,):
            raise InputError(f"The query has {vector.size} dimensions, the index {self.dim}.")
        # Not a matrix product: equal vectors get equal scores.
        scores = np.vecdot(self._vectors, np.ascontiguousarray(vector, dtype=np.float32))

        def best(limit: int) -> Found:
            if limit >= len(scores):
                return self._numbers, scores
            kept = np.argpartition(scores, -limit)[-limit:]
            return self._numbers[kept], scores[kept]

        return self.rows.by_document(best, k)

    def rank_lexical(self, query: str, k: int) -> Found:
        """As the table does."""
        return self._index.rank_lexical(query, k)

    def word_scores(
        self, words: Sequence[str], numbers: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows words"]:
        """As the table does."""
        return self._index.word_scores(words, numbers)

    def fetch(self, found: Found) -> list[Hit]:
        """As the table does."""
        return self._index.fetch(found)

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """The vectors of the chunks in these rows, all of which can be found."""
        return self._vectors[np.searchsorted(self._numbers, numbers)]

    def of_documents(self, documents: Collection[str]) -> Int[np.ndarray, " chunks"]:
        """As the table does."""
        return self._index.of_documents(documents)
