"""Searching a Space with a query that the server's engine encoded, in any nested width."""

from __future__ import annotations

import threading
from collections import OrderedDict
from copy import copy

import numpy as np
from jaxtyping import Float

from isometry.search.filters import Filter
from isometry.search.hybrid import Mode, Result
from isometry.search.lancedb import ChunkIndex
from isometry.search.other_vectors import OtherVectors
from isometry.search.overlay import LayeredIndex
from isometry.serving.model import shorten
from isometry.space import Space

# Tables of shortened vectors that are kept: a Space has few nested widths.
_KEPT = 8


class Searcher:
    """Searches Spaces; safe to use from several threads."""

    def __init__(self) -> None:
        self._cut: OrderedDict[tuple[ChunkIndex, int], OtherVectors] = OrderedDict()
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

    def _index(self, index: ChunkIndex, dimensions: int) -> OtherVectors:
        """The index in fewer dimensions, made on first use."""
        with self._cutting:
            if isinstance(index, LayeredIndex):
                # It lives until the next write only; its table for longer.
                below = np.arange(len(index.base.rows))
                table = self._table(index.base, dimensions).vectors(below)
                over = shorten(index.over_vectors, dimensions)
                shown = np.flatnonzero(~index.hidden)
                return OtherVectors(index, shown, np.concatenate([table, over])[shown])
            return self._table(index, dimensions)

    def _table(self, index: ChunkIndex, dimensions: int) -> OtherVectors:
        key = (index, dimensions)
        if key not in self._cut:
            numbers = np.arange(len(index.rows))
            self._cut[key] = OtherVectors(
                index, numbers, shorten(index.vectors(numbers), dimensions)
            )
        self._cut.move_to_end(key)
        while len(self._cut) > _KEPT:
            self._cut.popitem(last=False)
        return self._cut[key]
