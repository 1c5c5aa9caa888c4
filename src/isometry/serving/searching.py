"""Searching a Space with a query that the server's engine encoded, in any nested width."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from copy import copy

import numpy as np
from jaxtyping import Float, Int

from isometry.search.filters import Filter
from isometry.search.hybrid import Mode, Result
from isometry.search.lancedb import ChunkIndex
from isometry.search.other_vectors import OtherVectors
from isometry.search.overlay import LayeredIndex
from isometry.serving.model import shorten
from isometry.space import Space

# Vectors that are read at once.
_READ = 8192
# Searches of fewer dimensions at a time.
_THREADS = 4


class Searcher:
    """Searches Spaces; safe to use from several threads.

    Attributes:
        threads: Where searches of fewer dimensions belong: while one waits for its table, the
            threads of all others are free.
    """

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(_THREADS, "fewer dimensions")
        # That takes long: one table at a time, while those that are there are searched.
        self._making = threading.Lock()
        self._looking = threading.Lock()

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

    def close(self) -> None:
        """Lets the threads end."""
        self.threads.shutdown(wait=False)

    def _index(self, index: ChunkIndex, dimensions: int) -> OtherVectors:
        """The index in fewer dimensions, made on first use."""
        found = self._kept(index, dimensions)
        if found is not None:
            return found
        with self._making:
            return self._kept_or_made(index, dimensions)

    def _kept_or_made(self, index: ChunkIndex, dimensions: int) -> OtherVectors:
        found = self._kept(index, dimensions)
        if found is not None:
            return found
        self._make_room(index, dimensions)
        numbers = np.arange(len(index.rows))
        if isinstance(index, LayeredIndex):
            # It lives until the next write only; its table for longer.
            below = np.arange(len(index.base.rows))
            table = self._kept_or_made(index.base, dimensions).vectors(below)
            over = shorten(index.over_vectors, dimensions)
            numbers = np.flatnonzero(~index.hidden)
            vectors = np.concatenate([table, over])[numbers]
        else:
            vectors = _shortened(index, numbers, dimensions)
        made = OtherVectors(index, numbers, vectors)
        with self._looking:
            _tables(index)[dimensions] = made
        return made

    def _kept(self, index: ChunkIndex, dimensions: int) -> OtherVectors | None:
        with self._looking:
            tables = _tables(index)
            if dimensions in tables:
                tables.move_to_end(dimensions)
            return tables.get(dimensions)

    def _make_room(self, index: ChunkIndex, dimensions: int) -> None:
        """Lets go what was not used for longest: all that is kept is no larger than the index."""
        with self._looking:
            tables = _tables(index)
            while tables and sum(tables) + dimensions > index.dim:
                tables.popitem(last=False)


def _tables(index: ChunkIndex) -> OrderedDict[int, OtherVectors]:
    """What is kept of an index in fewer dimensions; it is kept on it, and goes with that state."""
    return index.__dict__.setdefault("_shortened", OrderedDict())


def _shortened(
    index: ChunkIndex, numbers: Int[np.ndarray, " rows"], dimensions: int
) -> Float[np.ndarray, "rows cut"]:
    """The first dimensions of an index's vectors, which are never in memory all together."""
    vectors = np.empty((len(numbers), dimensions), dtype=np.float32)
    for start in range(0, len(numbers), _READ):
        rows = slice(start, start + _READ)
        vectors[rows] = shorten(index.vectors(numbers[rows]), dimensions)
    return vectors
