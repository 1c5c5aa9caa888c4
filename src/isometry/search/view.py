"""A table's vectors in memory: compared one by one where they are few, a graph where many."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from isometry.core.errors import InputError
from isometry.core.files import hash_file, read_json
from isometry.core.progress import say, track
from isometry.core.writing import atomic_folder, write_json

if TYPE_CHECKING:
    from usearch.index import Index

# From names among `_rowid`, `document`, `position` and `vector` to a table with these columns.
Read = Callable[[list[str]], pa.Table]
# Numbers of rows with their scores.
Found = tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]

# So many vectors are compared in about a millisecond; a graph would take many seconds to build.
_COMPARED = 20_000
# Chosen for a recall@10 of at least 0.99 among 100,000 chunks, which benchmarks/search.py measures.
_CONNECTIVITY = 16
_EXPANSION = 128
_CANDIDATES = 128

_GRAPH = "vectors.usearch"
_SEAL = "view.json"
_BATCH = 2048


@dataclass(frozen=True)
class Rows:
    """The rows of a table of chunks, by row id: which chunk of which document each is.

    Attributes:
        ids: The row ids, ascending; a row's number is its place among them.
        documents: The document's id of each row.
        positions: The chunk's number in its document.
    """

    ids: Int[np.ndarray, " rows"]
    documents: pa.StringArray
    positions: Int[np.ndarray, " rows"]

    @classmethod
    def read(cls, read: Read) -> Rows:
        """Reads the rows of a table.

        Args:
            read: From names of columns to the table with them, `_rowid` among them.
        """
        table = _by_id(read(["_rowid", "document", "position"]))
        return cls(
            table["_rowid"].to_numpy(),
            table["document"].combine_chunks(),
            table["position"].to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def names(self, numbers: Int[np.ndarray, " found"]) -> list[str]:
        """The documents of the rows with these numbers."""
        return self.documents.take(pa.array(numbers)).to_pylist()

    def numbers(self, ids: Int[np.ndarray, " found"]) -> Int[np.ndarray, " found"]:
        """The numbers of the rows with these ids; all of them must be there."""
        return np.searchsorted(self.ids, ids)

    def by_document(self, best: Callable[[int], Found], k: int, first: int = 0) -> Found:
        """The best row of each of the `k` best documents.

        Args:
            best: From a number to that many rows of the highest scores, or to all. Which ones it
                takes of those that share the lowest score may vary.
            k: How many documents at most.
            first: How many rows to ask for at first, if that is more than two a document.

        Returns:
            Numbers of rows and scores, best first; equal scores by document id, then position.
        """

        def candidates(limit: int) -> Candidates:
            rows, scores = best(limit)
            documents = self.documents.take(pa.array(rows)).to_pylist()
            return Candidates(rows, documents, self.positions[rows], scores)

        return best_of_documents(candidates, k, first)


@dataclass(frozen=True)
class Candidates:
    """Rows that may be the best of their documents.

    Attributes:
        numbers: Theirs.
        documents: The document of each.
        positions: The chunk's number in its document.
        scores: Higher is better.
    """

    numbers: Int[np.ndarray, " rows"]
    documents: list[str]
    positions: Int[np.ndarray, " rows"]
    scores: Float[np.ndarray, " rows"]


def best_of_documents(best: Callable[[int], Candidates], k: int, first: int = 0) -> Found:
    """The best row of each of the `k` best documents.

    Args:
        best: As in `Rows.by_document`.
        k: How many documents at most.
        first: How many rows to ask for at first, if that is more than two a document.

    Returns:
        Numbers of rows and scores, best first; equal scores by document id, then position.
    """
    if k < 1:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    limit = max(first, 2 * k)
    while True:
        rows = best(limit)
        scores = rows.scores
        found = sorted(
            zip(
                (-scores).tolist(),
                rows.documents,
                rows.positions.tolist(),
                range(len(scores)),
                strict=True,
            )
        )
        places: dict[str, int] = {}
        for _, document, _, place in found:
            places.setdefault(document, place)
            if len(places) == k:
                break
        kept = np.fromiter(places.values(), dtype=np.int64)
        # Rows beyond the limit may share the lowest score, so it decides nothing yet.
        certain = len(kept) == k and scores[kept[-1]] > scores.min()
        if certain or len(scores) < limit:
            return rows.numbers[kept].astype(np.int64), scores[kept]
        limit *= 4


def first_shown(rank: Callable[[int], Found], shown: Bool[np.ndarray, " rows"], k: int) -> Found:
    """The best documents among those that may be shown.

    Args:
        rank: From a number to the best row of that many documents, best first, or of all.
        shown: Which rows may be; all or none of a document's.
        k: How many documents at most.
    """
    limit = k
    while True:
        numbers, scores = rank(limit)
        kept = shown[numbers]
        enough = int(kept.sum())
        if enough >= k or len(numbers) < limit:
            return numbers[kept][:k], scores[kept][:k]
        # As many as it takes, if they lie further down as densely as so far.
        limit = max(2 * limit + k - enough, min(8 * limit, limit * k // max(1, enough)))


class VectorView:
    """The vectors of one version of a table, ready to be searched; make one by `open`.

    Up to 20,000 vectors are compared one by one: exact, and nothing to build. More are searched in
    a graph, which misses a few of the true neighbours; `benchmarks/search.py` measures how many.
    Scores are the inner products of the float32 vectors either way. One thread builds the graph,
    since only then the same vectors make the same graph: the same table gives the same hits.

    In memory it needs `4 * dim` bytes a vector, a graph about 150 more, and twice as much while it
    is built. A graph that was saved is mapped, and shared by all processes that search it. Safe to
    use from several threads.

    Attributes:
        rows: Which chunk each row is.

    Reference:
        Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
        Hierarchical Navigable Small World graphs", TPAMI 2020.
    """

    def __init__(self, rows: Rows, searched: _Compared | _Graph) -> None:
        self.rows = rows
        self._searched = searched

    @classmethod
    def open(
        cls,
        folder: Path | None,
        version: str,
        read: Read,
        rows: Rows | None = None,
        *,
        build: bool = True,
    ) -> VectorView | None:
        """Opens the graph that was saved for this version, or builds and saves it.

        One that is damaged, or was made for another version or with other settings, is never used;
        those of other versions are removed when one is saved. Where nothing can be written, the
        graph stays in memory.

        Args:
            folder: Where graphs are saved, each in a folder of its own; None where they are not.
            version: Names the content of the table: another content, another name. It becomes the
                name of a folder.
            read: From names of columns to the table with them, always the same rows; `vector` has
                lists of float32 of a fixed length, or nulls.
            rows: What `Rows.read` gives, where it has been read before.
            build: Whether to build a graph that is not there, which takes a minute for 100,000
                vectors; without it there is no view then.
        """
        rows = Rows.read(read) if rows is None else rows
        graph = None if folder is None else _load(folder / version, len(rows))
        if graph is not None:
            return cls(rows, _Graph(graph))
        if not build and len(rows) > _COMPARED:
            return None
        table = _by_id(read(["_rowid", "vector"]))
        count = len(table) - table["vector"].null_count
        if count <= _COMPARED:
            return cls(rows, _Compared.read(table))
        graph = _build(table, count)
        if folder is not None:
            _save(graph, folder / version, len(rows))
        return cls(rows, _Graph(graph))

    def search(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """The documents whose chunks have the highest inner product with a vector.

        Args:
            vector: The query's vector, of length 1 where the cosine is meant.
            k: How many documents at most.

        Returns:
            The number of each document's best row, and its score, best first; equal scores by
            document id.
        """
        query = np.ascontiguousarray(vector, dtype=np.float32)
        first = max(_CANDIDATES, 3 * k) if isinstance(self._searched, _Graph) else 0
        return self.rows.by_document(lambda limit: self._searched.nearest(query, limit), k, first)


@dataclass(frozen=True)
class _Compared:
    """Vectors that are compared with the query one by one."""

    numbers: Int[np.ndarray, " vectors"]
    vectors: Float[np.ndarray, "vectors dim"]

    @classmethod
    def read(cls, table: pa.Table) -> _Compared:
        batches = list(_batches(table))
        dim = table.schema.field("vector").type.list_size
        return cls(
            np.concatenate([np.empty(0, dtype=np.int64), *(numbers for numbers, _ in batches)]),
            np.concatenate([np.empty((0, dim), dtype=np.float32), *(each for _, each in batches)]),
        )

    def nearest(self, query: Float[np.ndarray, " dim"], limit: int) -> Found:
        # Not a matrix product: its sums depend on where a row stands, and equal vectors must get
        # equal scores.
        scores = np.vecdot(self.vectors, query)
        if limit >= len(scores):
            return self.numbers, scores
        kept = np.argpartition(scores, -limit)[-limit:]
        return self.numbers[kept], scores[kept]


@dataclass(frozen=True)
class _Graph:
    """Vectors in a graph; the keys are numbers of rows."""

    index: Index

    def nearest(self, query: Float[np.ndarray, " dim"], limit: int) -> Found:
        wanted = min(limit, len(self.index))
        found = self.index.search(query, wanted, threads=1)
        if len(found.keys) < wanted:
            # Not every vector is always reached over the edges.
            found = self.index.search(query, wanted, threads=1, exact=True)
        # The distance is 1 - inner product.
        return found.keys.astype(np.int64), 1 - found.distances


def _by_id(table: pa.Table) -> pa.Table:
    ids = table["_rowid"].to_numpy()
    return table if (ids[1:] > ids[:-1]).all() else table.take(np.argsort(ids))


def _batches(table: pa.Table) -> Iterator[Found]:
    """The vectors of a table with the numbers of their rows, some at a time."""
    first = 0
    for batch in table.to_batches(max_chunksize=_BATCH):
        column = batch["vector"]
        numbers = first + np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        yield numbers, column.flatten().to_numpy().reshape(len(numbers), column.type.list_size)
        first += len(batch)


def _build(table: pa.Table, count: int) -> Index:
    from usearch.index import Index

    graph = Index(
        ndim=table.schema.field("vector").type.list_size,
        metric="ip",
        dtype="f32",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION,
        enable_key_lookups=False,
    )
    with track("Indexing vectors", count, "vectors") as task:
        for numbers, vectors in _batches(table):
            graph.add(numbers, vectors, threads=1)
            task.advance(len(numbers))
    return graph


def _seal(folder: Path, rows: int) -> dict[str, Any]:
    """What must be true of a saved graph before it is used."""
    return {
        "rows": rows,
        "connectivity": _CONNECTIVITY,
        "expansion": _EXPANSION,
        "sha256": hash_file(folder / _GRAPH),
    }


def _save(graph: Index, folder: Path, rows: int) -> None:
    try:
        with atomic_folder(folder) as temporary:
            graph.save(temporary / _GRAPH)
            write_json(temporary / _SEAL, _seal(temporary, rows))
    except InputError as error:
        say(f"{error.message} The index of vectors stays in memory.")
        return
    for seal in folder.parent.glob(f"[!.]*/{_SEAL}"):
        if seal.parent != folder:
            shutil.rmtree(seal.parent, ignore_errors=True)


def _load(folder: Path, rows: int) -> Index | None:
    """The saved graph, mapped; none where there is none, or it is not what was saved."""
    from usearch.index import Index

    try:
        # usearch follows whatever it finds in a file, so a damaged one must not reach it.
        if read_json(folder / _SEAL) != _seal(folder, rows):
            return None
        return Index.restore(folder / _GRAPH, view=True, enable_key_lookups=False)
    except (InputError, OSError, RuntimeError):
        return None
