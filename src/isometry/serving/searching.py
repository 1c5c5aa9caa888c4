"""Searching a Space with a query that the server's engine encoded, in any nested width."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from copy import copy

import numpy as np
from jaxtyping import Float, Int

from isometry.search.filters import Filter
from isometry.search.lancedb import ChunkIndex, Hit
from isometry.search.overlay import LayeredIndex
from isometry.search.view import Found, Rows
from isometry.serving.models import shorten
from isometry.space import Mode, Result, Space

# Tables of shortened vectors that are kept: a Space has few nested widths.
_KEPT = 8


class _CutIndex(ChunkIndex):
    """An index of the same chunks whose vectors are compared in their first dimensions."""

    def __init__(
        self,
        index: ChunkIndex,
        numbers: Int[np.ndarray, " shown"],
        vectors: Float[np.ndarray, "shown cut"],
    ) -> None:
        # What is open stays open: this is the same table.
        super().__init__(index._table, index._folder)
        self._index = index
        self._numbers = numbers
        self._cut = vectors

    @property
    def rows(self) -> Rows:
        """Those of the index."""
        return self._index.rows

    def rank_dense(self, vector: Float[np.ndarray, " cut"], k: int) -> Found:
        """The best row of each document by the cosine of the first dimensions; exact."""
        # Not a matrix product: equal vectors get equal scores.
        scores = np.vecdot(self._cut, vector)

        def best(limit: int) -> Found:
            if limit >= len(scores):
                return self._numbers, scores
            kept = np.argpartition(scores, -limit)[-limit:]
            return self._numbers[kept], scores[kept]

        return self.rows.by_document(best, k)

    def rank_lexical(self, query: str, k: int) -> Found:
        """As the index does."""
        return self._index.rank_lexical(query, k)

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows cut"]:
        """The first dimensions of what is shown in these rows."""
        return self._cut[np.searchsorted(self._numbers, numbers)]

    def of_documents(self, documents: Collection[str]) -> Int[np.ndarray, " chunks"]:
        """As the index does."""
        return self._index.of_documents(documents)

    def fetch(self, found: Found) -> list[Hit]:
        """As the index does."""
        return self._index.fetch(found)


class Searcher:
    """Searches Spaces; safe to use from several threads."""

    def __init__(self) -> None:
        self._cut: OrderedDict[tuple[ChunkIndex, int], _CutIndex] = OrderedDict()
        self._cutting = threading.Lock()

    def search(
        self,
        space: Space,
        query: str,
        vector: Float[np.ndarray, " dim"] | None,
        k: int,
        mode: Mode,
        dimensions: int | None,
        filter: Filter | None = None,
    ) -> list[Result]:
        """What `Space.search` finds.

        Args:
            space: Where to look.
            query: What is looked for.
            vector: The query's whole vector; not needed for words alone.
            k: How many documents at most.
            mode: By vectors, by words, or by both.
            dimensions: How many of the vectors' first dimensions count; all where not given.
            filter: Which documents may be shown.
        """
        if vector is None or dimensions in (None, len(vector)):
            return space.search(query, k, mode, vector=vector, filter=filter)
        if filter is not None:
            # Loaded here, it is there for the next search too.
            _ = space.known
        cut = copy(space)
        cut.__dict__["index"] = self._index(space.index, dimensions)
        short = shorten(vector[None], dimensions)[0]
        return cut.search(query, k, mode, vector=short, filter=filter)

    def _index(self, index: ChunkIndex, dimensions: int) -> _CutIndex:
        """The index in fewer dimensions, made on first use."""
        with self._cutting:
            if isinstance(index, LayeredIndex):
                # It lives until the next write only; its table for longer.
                whole = np.concatenate(
                    [
                        self._table(index.base, dimensions)._cut,
                        shorten(index.over_vectors, dimensions),
                    ]
                )
                shown = np.flatnonzero(~index.hidden)
                return _CutIndex(index, shown, whole[shown])
            return self._table(index, dimensions)

    def _table(self, index: ChunkIndex, dimensions: int) -> _CutIndex:
        key = (index, dimensions)
        if key not in self._cut:
            numbers = np.arange(len(index.rows))
            self._cut[key] = _CutIndex(index, numbers, shorten(index.vectors(numbers), dimensions))
        self._cut.move_to_end(key)
        while len(self._cut) > _KEPT:
            self._cut.popitem(last=False)
        return self._cut[key]
