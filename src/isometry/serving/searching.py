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
            return _shortened(index, dimensions)


def _shortened(index: ChunkIndex, dimensions: int) -> OtherVectors:
    """The index in fewer dimensions; it is kept on the index, and goes with that state."""
    kept: OrderedDict[int, OtherVectors] = index.__dict__.setdefault("_shortened", OrderedDict())
    if dimensions not in kept:
        numbers = np.arange(len(index.rows))
        if isinstance(index, LayeredIndex):
            # It lives until the next write only; its table for longer.
            below = np.arange(len(index.base.rows))
            table = _shortened(index.base, dimensions).vectors(below)
            over = shorten(index.over_vectors, dimensions)
            numbers = np.flatnonzero(~index.hidden)
            vectors = np.concatenate([table, over])[numbers]
        else:
            vectors = shorten(index.vectors(numbers), dimensions)
        kept[dimensions] = OtherVectors(index, numbers, vectors)
    kept.move_to_end(dimensions)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    return kept[dimensions]
