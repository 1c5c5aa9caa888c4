"""What is searched, what is asked of it, and what ranks: by words, by vectors, by reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from isometry.compression.rescoring import search_with_rescoring
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import documents_of_passages, rank_documents
from isometry.jobs.ranking import (
    DEPTH,
    Collection,
    Rankings,
    build_index,
    collection,
    dense_rankings,
    lexical_rankings,
    passages_of,
    reread_rankings,
)
from isometry.search.lancedb import ChunkIndex, Lexical
from isometry.search.reranking import Scorer

Judged = Mapping[str, Mapping[str, int]]
"""For each query, the grade of every document that answers it."""


@dataclass(frozen=True)
class Library:
    """Documents that are searched by words, all of them, and by the vectors of their beginnings.

    Words cost next to nothing, so they are not made a weaker rival than they are.

    Attributes:
        model: Whose tokenizer cuts passages.
        most: How many passages of a document have vectors, from its beginning.
        ids: Of the documents.
        texts: Header and body of each.
    """

    model: str
    most: int
    ids: list[str]
    texts: list[tuple[str, str]]

    @classmethod
    def of(
        cls,
        model: str,
        most: int,
        texts: Mapping[str, tuple[str, str]],
        asked: Iterable[Judged],
        others: int | None,
    ) -> Library:
        """The documents that answer, and some others.

        Args:
            model: As above.
            most: As above.
            texts: Header and body of every document, by its id.
            asked: What will be asked.
            others: How many documents are kept beside the answers; all of them when `None`.
        """
        answers = {name for side in asked for judged in side.values() for name in judged}
        kept = answers | set([name for name in texts if name not in answers][:others])
        ids = [name for name in texts if name in kept]
        return cls(model, most, ids, [texts[name] for name in ids])

    @cached_property
    def _passages(self) -> pa.Table:
        return passages_of(TextEncoder.load(self.model), self.ids, self.texts)

    @cached_property
    def collection(self) -> Collection:
        """The passages that have vectors."""
        first = np.flatnonzero(self._passages.column("position").to_numpy() < self.most)
        return collection(self.ids, self._passages.take(first))

    @cached_property
    def _index(self) -> tuple[TemporaryDirectory[str], ChunkIndex]:
        """The folder goes when this does."""
        folder = TemporaryDirectory(prefix="isometry-")
        index = build_index(Path(folder.name) / "index", self._passages, None, Lexical())
        return folder, index

    def by_words(self, queries: list[str], depth: int = DEPTH) -> Rankings:
        """What BM25 finds, each document at its best passage."""
        return lexical_rankings(self._index[1], self.ids, queries, depth)


@dataclass(frozen=True)
class Asked:
    """Questions to a library.

    Attributes:
        library: The documents.
        queries: The questions.
        relevance: For each, the grade of every document number that answers it.
    """

    library: Library
    queries: list[str]
    relevance: list[dict[int, int]]

    @classmethod
    def of(cls, library: Library, judged: Judged) -> Asked:
        """Questions with their answers by name, all of which the library has."""
        number = {name: row for row, name in enumerate(library.ids)}
        relevance = [
            {number[name]: grade for name, grade in own.items()} for own in judged.values()
        ]
        return cls(library, list(judged), relevance)

    @cached_property
    def by_words(self) -> Rankings:
        """What BM25 finds, which is the same for every model that is measured."""
        return self.library.by_words(self.queries)


Ranker = Callable[[Asked], Rankings]


def by_words(asked: Asked) -> Rankings:
    """BM25."""
    return asked.by_words


def by_vectors(encoder: CachedEncoder) -> Ranker:
    """The inner products of vectors, all of them."""
    return lambda asked: dense_rankings(encoder, asked.library.collection, asked.queries)


def by_stored_vectors(
    encoder: CachedEncoder,
    store: Callable[[Float[np.ndarray, "n dim"]], Float[np.ndarray, "n dim"]],
    *,
    rescored: bool = False,
) -> Ranker:
    """Vectors of questions against what a store gives back for those of passages.

    Args:
        encoder: Whose vectors.
        store: All passages' vectors -> what is left of them.
        rescored: Whether the first `DEPTH` passages are ordered by the vectors themselves.
    """

    def rank(asked: Asked) -> Rankings:
        found = asked.library.collection
        vectors = encoder.encode(found.passages)
        stored, queries = store(vectors), encoder.encode(asked.queries, "query")
        if not rescored:
            return Rankings(*rank_documents(queries, stored, found.owner, DEPTH))
        rows, scores = search_with_rescoring(
            queries, vectors, lambda some: some @ stored.T, k=DEPTH, depth=DEPTH
        )
        return Rankings(*documents_of_passages(rows, scores, found.owner))

    return rank


def by_reading(encoder: CachedEncoder, score: Scorer, *, depth: int, weight: float) -> Ranker:
    """Vectors, and what they find first read once more; see `reread_rankings`."""
    return lambda asked: reread_rankings(
        encoder, asked.library.collection, asked.queries, score, depth=depth, weight=weight
    )
