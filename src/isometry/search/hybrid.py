"""A search by vectors, by words, or by both fused: documents, each with its best passage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from isometry.search.fusion import standard_score_fusion

if TYPE_CHECKING:
    from isometry.search.explanation import Contribution, Parts
    from isometry.search.lancedb import Hit
    from isometry.search.passages import Passages
    from isometry.search.view import Found

Mode = Literal["hybrid", "dense", "lexical"]
Side = Literal["dense", "lexical"]


@dataclass(frozen=True, slots=True)
class Result:
    """One document that a search found.

    Attributes:
        document: Its id.
        score: Higher is better; comparable within one search only.
        title: Its heading path.
        text: The passage that matched best.
        start: Where the passage begins in the document's body, in characters.
        end: Where it ends.
        dense_rank: Its rank by vectors, from 1; None when it was not among the candidates.
        lexical_rank: Its rank by words.
    """

    document: str
    score: float
    title: str
    text: str
    start: int
    end: int
    dense_rank: int | None
    lexical_rank: int | None


@dataclass(frozen=True)
class HybridSearch:
    """What both sides found for a query, and the documents that are best by both.

    Attributes:
        passages: What was searched.
        query: What was looked for.
        mode: By which sides.
        vector: The query's; None where only words were asked.
        by_vectors: The best row of each document that was found, with its score.
        by_words: Those of the other side.
        depth: How many of each side are fused.
        dense_weight: How much vectors count.
        k: How many documents at most.
    """

    passages: Passages
    query: str
    mode: Mode
    vector: Float[np.ndarray, " dim"] | None
    by_vectors: Found
    by_words: Found
    depth: int
    dense_weight: float
    k: int

    @classmethod
    def run(
        cls,
        passages: Passages,
        query: str,
        vector: Float[np.ndarray, " dim"] | None,
        k: int,
        mode: Mode,
        *,
        depth: int,
        dense_weight: float,
    ) -> HybridSearch:
        """Searches.

        Args:
            passages: As they are now: a snapshot, which all of this is asked of.
            query: What is looked for.
            vector: The query's; None for words alone.
            k: How many documents at most.
            mode: By vectors, by words, or by both.
            depth: How many candidates of each side are fused.
            dense_weight: How much vectors count in it; see `standard_score_fusion`.
        """
        # So many are fused as were when it was evaluated; who wants more gets others behind them.
        limit = max(k, depth) if mode == "hybrid" else k
        nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        by_vectors = nothing if vector is None else passages.rank_dense(vector, limit)
        if vector is not None and not vector.any():
            # A table knows no token of some queries: all documents are as like them.
            by_vectors = nothing
        by_words = nothing if mode == "dense" else passages.rank_lexical(query, limit)
        return cls(passages, query, mode, vector, by_vectors, by_words, depth, dense_weight, k)

    @cached_property
    def dense(self) -> list[tuple[str, float]]:
        """The documents by vectors, best first."""
        return self._documents(self.by_vectors)

    @cached_property
    def lexical(self) -> list[tuple[str, float]]:
        """The documents by words, best first."""
        return self._documents(self.by_words)

    def _documents(self, found: Found) -> list[tuple[str, float]]:
        numbers, scores = found
        return list(zip(self.passages.names(numbers), scores.tolist(), strict=True))

    @cached_property
    def best(self) -> list[tuple[str, float]]:
        """The documents that were found, best first."""
        if self.mode != "hybrid":
            return (self.dense or self.lexical)[: self.k]
        lowest = min((score for _, score in self._fused), default=0.0)
        behind = [(name, lowest - place) for place, name in enumerate(self._behind, 1)]
        return [*self._fused, *behind][: self.k]

    @cached_property
    def _fused(self) -> list[tuple[str, float]]:
        dense, lexical = self.dense[: self.depth], self.lexical[: self.depth]
        return standard_score_fusion(dense, lexical, self.dense_weight, self.depth)

    @cached_property
    def _behind(self) -> dict[str, tuple[int, Side]]:
        """Documents that were found but not fused, with their better rank and whose it is.

        In the order of that rank, so that more results begin as fewer do. A side of weight 0 has
        none. They have no scores that compare: each gets 1 less than the one before.
        """
        sides: list[tuple[Side, list[tuple[str, float]], float]] = [
            ("dense", self.dense, self.dense_weight),
            ("lexical", self.lexical, 1 - self.dense_weight),
        ]
        ranks: list[tuple[int, Side, str]] = [
            (rank, side, document)
            for side, found, weight in sides
            for rank, (document, _) in enumerate(found[self.depth :], self.depth + 1)
            if weight
        ]
        fused = {document for document, _ in self._fused}
        behind: dict[str, tuple[int, Side]] = {}
        for rank, side, document in sorted(ranks):
            if document not in fused:
                behind.setdefault(document, (rank, side))
        return behind

    def results(self) -> list[Result]:
        """The best documents, each with its best passage."""
        return [self._result(hit) for hit in self._hits()]

    def explained(
        self, encode: Callable[[Sequence[str]], Float[np.ndarray, "names dim"]]
    ) -> list[tuple[Result, list[Contribution]]]:
        """The same, each with named contributions that sum to its score; see `Space.explain`.

        Args:
            encode: Makes the vectors of concepts out of their names.
        """
        from isometry.search.explanation import Contribution

        sides: list[tuple[Parts, float, int]] = []
        if self.vector is not None and self.dense:
            sides.append((self._parts_of_vectors(self.vector, encode), self.dense_weight, 0))
        if self.mode != "dense":
            missing = max(0, self.depth - len(self.lexical))
            sides.append((self._parts_of_words(), 1 - self.dense_weight, missing))

        def explain(hit: Hit) -> list[Contribution]:
            if self.mode != "hybrid":
                return [part for parts, _, _ in sides for part in parts.explain(hit.document)]
            if hit.document in self._behind:
                rank, side = self._behind[hit.document]
                return [Contribution(side, f"rank {rank}, behind what is fused", hit.score)]
            return [
                part
                for parts, weight, missing in sides
                for part in parts.explain_fused(hit.document, weight, missing)
            ]

        return [(self._result(hit), explain(hit)) for hit in self._hits()]

    def _weighed(self, found: Found) -> Found:
        """What of a side is fused, or all of one that is alone."""
        most = self.depth if self.mode == "hybrid" else len(found[0])
        return found[0][:most], found[1][:most]

    def _parts_of_vectors(
        self,
        vector: Float[np.ndarray, " dim"],
        encode: Callable[[Sequence[str]], Float[np.ndarray, "names dim"]],
    ) -> Parts:
        from isometry.search.explanation import Parts, concept_names

        numbers, scores = self._weighed(self.by_vectors)
        hits = self.passages.fetch((numbers, scores))
        names = concept_names(self.query, [hit.title for hit in hits], [hit.text for hit in hits])
        documents = [document for document, _ in self.dense[: len(numbers)]]
        own = self.passages.vectors(numbers)
        return Parts.of_vectors(documents, scores, own, vector, names, encode(names))

    def _parts_of_words(self) -> Parts:
        from isometry.search.explanation import Parts, query_words

        numbers, scores = self._weighed(self.by_words)
        words = query_words(self.query)
        alone = self.passages.word_scores(list(words), numbers) * np.array(list(words.values()))
        documents = [document for document, _ in self.lexical[: len(numbers)]]
        return Parts.of_words(documents, scores, list(words), alone)

    def _hits(self) -> list[Hit]:
        # Where both found a document, the passage that the vectors chose is shown.
        row = {
            document: number
            for side, (numbers, _) in (
                (self.lexical, self.by_words),
                (self.dense, self.by_vectors),
            )
            for (document, _), number in zip(side, numbers.tolist(), strict=True)
        }
        chosen = np.array([row[document] for document, _ in self.best], dtype=np.int64)
        return self.passages.fetch((chosen, np.array([score for _, score in self.best])))

    @cached_property
    def _ranks(self) -> tuple[dict[str, int], dict[str, int]]:
        """The rank of every document by vectors and by words, from 1."""
        dense, lexical = (
            {document: rank for rank, (document, _) in enumerate(side, 1)}
            for side in (self.dense, self.lexical)
        )
        return dense, lexical

    def _result(self, hit: Hit) -> Result:
        dense, lexical = self._ranks
        return Result(
            hit.document,
            hit.score,
            hit.title,
            hit.text,
            hit.start,
            hit.end,
            dense.get(hit.document),
            lexical.get(hit.document),
        )
