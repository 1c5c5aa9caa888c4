"""What is not in a table of chunks yet, searched together with it as if it were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from isometry.search.lancedb import ChunkIndex, Hit, Lexical, chunk_schema
from isometry.search.terms import K1, B, terms, terms_and_words
from isometry.search.view import Found, Rows, first_shown

# So many words' numbers of chunks are remembered.
_KNOWN = 4096


def passage_schema() -> pa.Schema:
    """The columns of `chunk_schema` without the vector."""
    schema = chunk_schema(1)
    return schema.remove(schema.get_field_index("vector"))


@dataclass(frozen=True)
class Chunks:
    """The chunks of one document.

    Attributes:
        rows: In the columns of `passage_schema`.
        vectors: Theirs, of length 1.
        lexical: How their text becomes terms.
    """

    rows: pa.Table
    vectors: Float[np.ndarray, "chunks dim"]
    lexical: Lexical

    @cached_property
    def terms(self) -> list[Counter[str]]:
        """How often each chunk has each term."""
        return [Counter(terms(text, self.lexical)) for text in self.rows["text"].to_pylist()]


def _count_matches(index: ChunkIndex, word: str) -> int:
    """How many chunks of a table have a word."""
    from lancedb.query import MatchQuery

    match = MatchQuery(word, "text")  # pyright: ignore[reportCallIssue]
    search = index._table.search(match).select(["_rowid", "_score"])
    return search.limit(max(1, index.chunks)).to_arrow().num_rows


class TableWords:
    """What BM25 must know about the words of a table, asked of Lance; see `rank_lexical`.

    Args:
        index: The table.
        lexical: How its text becomes terms.
    """

    def __init__(self, index: ChunkIndex, lexical: Lexical) -> None:
        self.lexical = lexical
        self._index = index
        self._count = lru_cache(_KNOWN)(lambda word: _count_matches(index, word))

    def weight(self, word: str) -> float:
        """How much a word counts that so many of all chunks have."""
        n = self._count(word)
        return math.log(1 + (self._index.chunks - n + 0.5) / (n + 0.5))

    @cached_property
    def mean_length(self) -> float:
        """The mean number of terms of a chunk: what makes Lance's own score of one chunk true.

        Lance tells its scores only. In the score of one word in one chunk, whose terms can be
        counted, nothing else is unknown.
        """
        for number in range(len(self._index.rows)):
            numbers = np.array([number])
            text = self._index.fetch((numbers, np.zeros(1)))[0].text
            found = terms_and_words(text, self.lexical)
            counts = Counter(term for term, _ in found)
            for term, word in dict(found).items():
                if terms(word, self.lexical) != [term]:
                    continue
                score = float(self._index.word_scores([word], numbers)[0, 0])
                most = self.weight(word) * counts[term] * (K1 + 1)
                # The part of the denominator that depends on the length.
                rest = (most / score - counts[term]) / K1 - (1 - B) if score else 0.0
                if rest > 0:
                    return B * len(found) / rest
        return 1.0


class LayeredIndex(ChunkIndex):
    """A table with documents over it that are not in it yet, or no more; searched like a table.

    Rows of the table keep their numbers, and those over it follow. By vectors it finds just what a
    table of all would find. By words, chunks over the table are cut into terms as Lance does it
    and scored by BM25 with the table's numbers of chunks and its mean length: until they are in the
    table, they do not count in these numbers, and chunks that they replace still do.

    Args:
        base: The table.
        words: What is known about its words.
        over: The chunks of every document that is new or changed.
        hidden: The documents that the table must not show: changed and removed ones.

    Attributes:
        base: The table.
    """

    def __init__(
        self,
        base: ChunkIndex,
        words: TableWords,
        over: Sequence[Chunks],
        hidden: Collection[str],
    ) -> None:
        super().__init__(base._table, base._folder)
        self.base = base
        self._words = words
        self._over = [chunks for chunks in over if chunks.rows.num_rows]
        names = pa.array(sorted(hidden), pa.string())
        found = pc.is_in(base.rows.documents, names)  # pyright: ignore[reportAttributeAccessIssue]
        self._hidden: Bool[np.ndarray, " rows"] = found.to_numpy(zero_copy_only=False)
        self._first = len(base.rows)
        self._top = _stacked(self._over, self._first)

    @property
    def rows(self) -> Rows:
        """Which chunk of which document each row is, hidden ones too; new ones have no row id."""
        return self._all_rows

    @cached_property
    def _all_rows(self) -> Rows:
        base = self.base.rows
        return Rows(
            np.concatenate([base.ids, np.zeros(len(self._top), dtype=base.ids.dtype)]),
            pa.concat_arrays([base.documents.cast(pa.string()), self._top.documents]),
            np.concatenate([base.positions, self._top.positions]),
        )

    @property
    def hidden(self) -> Bool[np.ndarray, " rows"]:
        """Which rows no search shows."""
        return np.concatenate([self._hidden, np.zeros(len(self._top), dtype=bool)])

    @cached_property
    def chunks(self) -> int:
        """How many chunks a search can show."""
        return int((~self.hidden).sum())

    @cached_property
    def documents(self) -> int:
        """How many documents they belong to."""
        return len(self.rows.documents.filter(pa.array(~self.hidden)).unique())

    def rank_dense(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """As `ChunkIndex.rank_dense`, over all."""
        shown = ~self._hidden
        below = first_shown(lambda limit: self.base.rank_dense(vector, limit), shown, k)
        if not self._over:
            return below
        query = np.ascontiguousarray(vector, dtype=np.float32)
        return self._merged(below, np.vecdot(self.over_vectors, query), k)

    def rank_lexical(self, query: str, k: int) -> Found:
        """As `ChunkIndex.rank_lexical`, over all."""
        shown = ~self._hidden
        below = first_shown(lambda limit: self.base.rank_lexical(query, limit), shown, k)
        if not self._over:
            return below
        return self._merged(below, self._bm25(query), k, least=0.0)

    def fetch(self, found: Found) -> list[Hit]:
        """The chunks in these rows, in their order."""
        numbers, scores = found
        low = numbers < self._first
        hits = dict(
            zip(numbers[low].tolist(), self.base.fetch((numbers[low], scores[low])), strict=True)
        )
        rows = self._rows_over.take(numbers[~low] - self._first).to_pylist()
        for number, score, row in zip(
            numbers[~low].tolist(), scores[~low].tolist(), rows, strict=True
        ):
            hits[number] = Hit(score=score, **row)
        return [hits[number] for number in numbers.tolist()]

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """The vectors of the chunks in these rows."""
        low = numbers < self._first
        values = np.empty((len(numbers), self.dim), dtype=np.float32)
        if low.any():
            values[low] = self.base.vectors(numbers[low])
        if not low.all():
            values[~low] = self.over_vectors[numbers[~low] - self._first]
        return values

    def of_documents(self, documents: Collection[str]) -> Int[np.ndarray, " chunks"]:
        """The rows of these documents' chunks, ascending; hidden ones are left out."""
        numbers = super().of_documents(documents)
        return numbers[~self.hidden[numbers]]

    def word_scores(
        self, words: Sequence[str], numbers: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows words"]:
        """The BM25 of each word alone, for the chunks in these rows."""
        low = numbers < self._first
        scores = np.zeros((len(numbers), len(words)))
        scores[low] = self.base.word_scores(words, numbers[low])
        for column, word in enumerate(words):
            if not low.all():
                scores[~low, column] = self._bm25(word)[numbers[~low] - self._first]
        return scores

    @cached_property
    def _rows_over(self) -> pa.Table:
        return pa.concat_tables(
            [passage_schema().empty_table(), *(each.rows for each in self._over)]
        )

    @cached_property
    def over_vectors(self) -> Float[np.ndarray, "over dim"]:
        """The vectors of the chunks that lie over the table, whose rows follow the table's."""
        nothing = np.empty((0, self.dim), dtype=np.float32)
        return np.concatenate([nothing, *(chunks.vectors for chunks in self._over)])

    def _merged(
        self, below: Found, scores: Float[np.ndarray, " over"], k: int, least: float = -math.inf
    ) -> Found:
        """The best documents of both; a document is on one side only."""
        found = np.flatnonzero(scores > least)
        above = self._top.by_document(lambda _: (found, scores[found]), k, len(scores) + 1)
        numbers = np.concatenate([below[0], above[0] + self._first])
        both = np.concatenate([below[1], above[1]])
        names = self.rows.names(numbers)
        order = sorted(range(len(numbers)), key=lambda place: (-both[place], names[place]))[:k]
        return numbers[order], both[order]

    def _bm25(self, query: str) -> Float[np.ndarray, " over"]:
        """The scores of the chunks over the table."""
        asked = terms_and_words(query, self._words.lexical)
        words = dict(asked)
        counts = Counter(term for term, _ in asked)
        scores = np.zeros(self._top.ids.shape, dtype=np.float32)
        row = 0
        for chunks in self._over:
            for own in chunks.terms:
                for term in words.keys() & own.keys():
                    length = own.total() / self._words.mean_length
                    f = own[term]
                    part = f * (K1 + 1) / (f + K1 * (1 - B + B * length))
                    scores[row] += counts[term] * self._words.weight(words[term]) * part
                row += 1
        return scores


def _stacked(over: Sequence[Chunks], first: int) -> Rows:
    """The rows of these chunks, one after the other."""
    documents = [name for chunks in over for name in chunks.rows["document"].to_pylist()]
    positions = [place for chunks in over for place in chunks.rows["position"].to_pylist()]
    return Rows(
        np.arange(first, first + len(documents)),
        pa.array(documents, pa.string()),
        np.array(positions, dtype=np.int32),
    )
