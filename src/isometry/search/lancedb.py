"""Lexical and dense search over a table of chunks, both by LanceDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from isometry.core.errors import InputError
from isometry.core.writing import atomic_folder
from isometry.search.versions import VIEWS
from isometry.search.view import Found, Rows, VectorView

if TYPE_CHECKING:
    from lancedb.table import Table

TABLE = "chunks"
_FIELDS = ["document", "title", "position", "start", "end", "text"]

# The languages of Lance's Snowball stemmers, by ISO 639-1.
_STEMMERS = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hu": "Hungarian",
    "it": "Italian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "nn": "Norwegian",
    "no": "Norwegian",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "ta": "Tamil",
    "tr": "Turkish",
}
# No spaces between words: a dictionary finds them.
_UNSPACED = {"ja", "ko", "zh"}
# Scripts with vowel and tone marks that are no letters to Unicode: cutting at whatever is no letter
# would cut these words in pieces.
# fmt: off
_MARKED = {"as", "bn", "bo", "dz", "gu", "hi", "km", "kn", "lo", "ml", "mr", "my", "ne", "or", "pa",
           "sa", "si", "ta", "te", "th"}
# fmt: on


def chunk_schema(dim: int) -> pa.Schema:
    """The columns of a table of chunks.

    `document` is the document's id and `position` the chunk's number in it; `start` and `end` are
    character offsets in the document's body; `text` is what is searched and encoded. `vector` has
    length 1, or is null everywhere where the index is lexical only.

    Args:
        dim: The length of the vectors.
    """
    return pa.schema(
        [
            ("document", pa.string()),
            ("title", pa.string()),
            ("position", pa.int32()),
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("text", pa.string()),
            ("vector", pa.list_(pa.float32(), dim)),
        ]
    )


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found, with its best chunk.

    Attributes:
        document: The document's id.
        score: BM25, or the inner product.
        position: The chunk's number in the document.
        start: Where the chunk starts in the document's body, in characters.
        end: Where it ends.
        title: The document's title.
        text: The chunk's text.
    """

    document: str
    score: float
    position: int
    start: int
    end: int
    title: str
    text: str


@dataclass(frozen=True)
class Lexical:
    """How text becomes the terms of the lexical index; queries are treated the same.

    Terms are lower case; those longer than 40 bytes are left out.

    Attributes:
        language: Whose stemmer and stop words are used, by English name.
        stem: Whether words are reduced to their stems.
        remove_stop_words: Whether very common words are left out; not every language has a list.
        base_tokenizer: `simple` cuts at everything that is neither letter nor digit; `icu` finds
            words by Unicode's rules and dictionaries; `icu/split` does both.
        ascii_folding: Whether accents are dropped, after stemming.
    """

    language: str = "English"
    stem: bool = True
    remove_stop_words: bool = True
    base_tokenizer: Literal["simple", "icu", "icu/split"] = "simple"
    ascii_folding: bool = True

    @classmethod
    def for_language(cls, iso: str) -> Lexical:
        """The treatment that suits a language.

        Words are stemmed, and stop words left out, where Lance has a stemmer for the language.
        Languages without spaces, and those whose script has marks that are no letters, are cut
        into words by ICU.

        Args:
            iso: The language's ISO 639-1 code.
        """
        known = iso in _STEMMERS
        return cls(
            language=_STEMMERS.get(iso, "English"),
            stem=known,
            remove_stop_words=known,
            base_tokenizer=(
                "icu" if iso in _MARKED else "icu/split" if iso in _UNSPACED else "simple"
            ),
        )


class ChunkIndex:
    """A Lance table of chunks with a full text index; make one by `create` or `open`.

    One that lies in no folder has no place for the graph of its vectors: where they are many, Lance
    compares them, or `prepare_view` makes a graph in memory.

    Both searches return documents, each with its best chunk: the same index gives the same hits in
    the same order, equal scores ordered by document id. Safe to use from several threads.
    """

    def __init__(self, table: Table, folder: Path | None) -> None:
        self._table = table
        self._folder = folder
        self._opening = Lock()

    @classmethod
    def create(
        cls, folder: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, lexical: Lexical
    ) -> ChunkIndex:
        """Writes chunks to a new table, as they come, and indexes their text.

        Args:
            folder: Where the table lies; appears when all is done and replaces what was there.
            batches: Chunks; they are drawn in another thread.
            schema: What `chunk_schema` gives.
            lexical: How their text is indexed.

        Raises:
            InputError: When a vector has values that are not finite, or the disk is full.
        """
        import lancedb

        with atomic_folder(folder) as temporary:
            table = write_checked(
                lambda reader: lancedb.connect(temporary).create_table(
                    TABLE, reader, on_bad_vectors=BAD_VECTORS
                ),
                batches,
                schema,
            )
            index_text(table, lexical)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, version: int | None = None) -> ChunkIndex:
        """Opens the table that `create` left in a folder.

        Args:
            folder: Where the table lies.
            version: The version to stay at, whatever is written meanwhile; the latest when `None`.

        Raises:
            InputError: When there is no such table or version, or it is damaged.
        """
        import lancedb

        if not (folder / f"{TABLE}.lance").is_dir():
            raise InputError(f"There is no index in {folder}.")
        try:
            table = lancedb.connect(folder).open_table(TABLE)
            if version is not None:
                table.checkout(version)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"The index in {folder} is damaged: {error}") from error
        return cls(table, folder)

    @cached_property
    def version(self) -> int:
        """The version of the table that is searched."""
        return self._table.version

    @cached_property
    def chunks(self) -> int:
        """How many chunks the index holds."""
        return self._table.count_rows()

    @cached_property
    def documents(self) -> int:
        """How many documents they belong to."""
        table = self._table.search().select(["document"]).to_arrow()
        return len(table["document"].unique())

    @cached_property
    def dim(self) -> int:
        """The length of the vectors."""
        return self._table.schema.field("vector").type.list_size

    @property
    def rows(self) -> Rows:
        """Which chunk of which document each row is, read on first use."""
        with self._opening:
            return self._rows

    @cached_property
    def _rows(self) -> Rows:
        return Rows.read(self._read)

    @property
    def view(self) -> VectorView | None:
        """The vectors in memory, opened on first use; none where they are many and unprepared."""
        with self._opening:
            return self._view

    @cached_property
    def _view(self) -> VectorView | None:
        return self._open_view(build=False)

    def prepare_view(self) -> None:
        """Builds and saves what makes dense search fast; takes a minute for 100,000 chunks."""
        view = self._open_view(build=True)
        with self._opening:
            self._view = view

    def _open_view(self, *, build: bool) -> VectorView | None:
        folder = None if self._folder is None else self._folder / VIEWS
        return VectorView.open(folder, str(self.version), self._read, self._rows, build=build)

    def _read(self, columns: list[str]) -> pa.Table:
        return self._table.search().select(columns).to_arrow()

    @contextmanager
    def snapshot(self) -> Iterator[ChunkIndex]:
        """This index, which stays at its version anyway."""
        yield self

    def names(self, numbers: Int[np.ndarray, " rows"]) -> list[str]:
        """The documents of the chunks in these rows."""
        return self.rows.names(numbers)

    def lexical(self, query: str, k: int) -> list[Hit]:
        """The documents that share terms with a query; see `rank_lexical`."""
        return self.fetch(self.rank_lexical(query, k))

    def dense(self, vector: Float[np.ndarray, " dim"], k: int) -> list[Hit]:
        """The documents whose chunks have the highest inner product; see `rank_dense`."""
        return self.fetch(self.rank_dense(vector, k))

    def rank_lexical(self, query: str, k: int) -> Found:
        """The best row of each document that shares terms with a query, by BM25.

        Any of the query's terms may match, and a term counts as often as the query repeats it.
        Nothing in the query is an operator: quotes, `AND` or `*` are just text. Lance's variant
        of BM25 is Lucene's with the factor `k1 + 1`, over the statistics of all chunks: a term's
        weight is `ln(1 + (N - n + 0.5) / (n + 0.5))`, times
        `f (k1 + 1) / (f + k1 (1 - b + b length / mean length))`, with k1 = 1.2 and b = 0.75.

        Args:
            query: What somebody typed.
            k: How many documents to return at most.

        Reference:
            Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
        """
        from lancedb.query import MatchQuery

        # Half a surrogate pair cannot be a term.
        valid = query.encode("utf-8", errors="replace").decode("utf-8")
        match = MatchQuery(valid, "text")  # pyright: ignore[reportCallIssue]
        rows = self.rows

        # Fetching text costs more than finding it, so that is left to the end.
        def best(limit: int) -> Found:
            found = self._table.search(match).select(["_rowid", "_score"]).limit(limit).to_arrow()
            return rows.numbers(found["_rowid"].to_numpy()), found["_score"].to_numpy()

        return rows.by_document(best, k)

    def rank_dense(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """The best row of each document by the inner product with a vector.

        Chunks without a vector are left out. Few vectors are all compared; many are searched in
        the graph that `prepare_view` saved, or compared by Lance where there is none.

        Args:
            vector: The query's vector, of length 1 where the cosine is meant.
            k: How many documents to return at most.

        Raises:
            InputError: When the vector's length is not the index's.
        """
        from lancedb.query import LanceVectorQueryBuilder

        if vector.shape != (self.dim,):
            raise InputError(
                f"The query has {vector.size} dimensions, the index {self.dim}.",
                "Encode queries with the model that made the index.",
            )
        if self.view is not None:
            return self.view.search(vector, k)
        rows = self.rows

        def best(limit: int) -> Found:
            search = LanceVectorQueryBuilder(self._table, vector.astype(np.float32), "vector")
            found = search.distance_type("dot").select(["_rowid", "_distance"]).limit(limit)
            table = found.to_arrow()
            # Lance's "dot" distance is 1 - inner product.
            return rows.numbers(table["_rowid"].to_numpy()), 1 - table["_distance"].to_numpy()

        return rows.by_document(best, k)

    def fetch(self, found: Found) -> list[Hit]:
        """The chunks in these rows, in their order."""
        numbers, scores = found
        if not len(numbers):
            return []
        ids = self.rows.ids[numbers].tolist()
        table = self._table.take_row_ids(ids).select(_FIELDS).with_row_id().to_arrow()
        chunks = {row.pop("_rowid"): row for row in table.to_pylist()}
        return [
            Hit(score=score, **chunks[row]) for row, score in zip(ids, scores.tolist(), strict=True)
        ]

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """The stored vectors of the chunks in these rows, which have one."""
        ids = self.rows.ids[numbers].tolist()
        table = self._table.take_row_ids(ids).select(["vector"]).with_row_id().to_arrow()
        values = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dim)
        place = {row: number for number, row in enumerate(table["_rowid"].to_pylist())}
        return values[[place[row] for row in ids]]

    def of_document(self, document: str) -> Int[np.ndarray, " chunks"]:
        """The rows of a document's chunks, by position; none where there is no such document."""
        numbers = self.of_documents([document])
        return numbers[np.argsort(self.rows.positions[numbers])]

    def of_documents(self, documents: Collection[str]) -> Int[np.ndarray, " chunks"]:
        """The rows of these documents' chunks, ascending."""
        names = pa.array(documents, pa.string())
        found = pc.is_in(self.rows.documents, names)  # pyright: ignore[reportAttributeAccessIssue]
        return np.flatnonzero(found.to_numpy(zero_copy_only=False))

    def word_scores(
        self, words: Sequence[str], numbers: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows words"]:
        """The BM25 of each word alone, for the chunks in these rows."""
        from lancedb.query import MatchQuery

        ids = self.rows.ids[numbers].tolist()
        scores = np.zeros((len(ids), len(words)))
        if not ids:
            return scores
        place = {row: number for number, row in enumerate(ids)}
        rows = f"_rowid IN ({', '.join(map(str, ids))})"
        for column, word in enumerate(words):
            match = MatchQuery(word, "text")  # pyright: ignore[reportCallIssue]
            search = self._table.search(match).where(rows)
            found = search.select(["_rowid", "_score"]).limit(len(ids)).to_arrow()
            scores[[place[row] for row in found["_rowid"].to_pylist()], column] = found["_score"]
        return scores


_T = TypeVar("_T")
# Only nulls remain after the check; Lance counts them as bad vectors.
BAD_VECTORS: Literal["null"] = "null"


def write_checked(
    write: Callable[[pa.RecordBatchReader], _T],
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
) -> _T:
    """Lets Lance draw batches, and refuses vectors with values that are not finite.

    Args:
        write: Gives what it is given to Lance, which draws the batches in another thread.
        batches: Chunks.
        schema: What `chunk_schema` gives.

    Raises:
        InputError: When a vector has values that are not finite.
    """
    failures: list[BaseException] = []

    def checked() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                _check_vectors(batch)
                yield batch
        except BaseException as error:
            failures.append(error)
            raise

    try:
        return write(pa.RecordBatchReader.from_batches(schema, checked()))
    except Exception:
        # What went wrong in the other thread arrives here as the text of its traceback.
        if failures:
            raise failures[0] from None
        raise


def index_text(table: Table, lexical: Lexical) -> None:
    """Indexes the text of all chunks from scratch, in place of the index that there may be."""
    from lancedb.index import FTS

    table.create_index(
        "text",
        config=FTS(
            base_tokenizer=lexical.base_tokenizer,
            language=lexical.language,
            stem=lexical.stem,
            remove_stop_words=lexical.remove_stop_words,
            ascii_folding=lexical.ascii_folding,
        ),
        replace=True,
        wait_timeout=timedelta(hours=1),
    )


def _check_vectors(batch: pa.RecordBatch) -> None:
    """Refuses vectors with values that are not finite; null vectors pass."""
    vectors = batch.column("vector")
    values = vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        documents = batch.column("document").filter(vectors.is_valid())
        raise InputError(
            f"A vector of document '{documents[int(broken.argmax())]}' has values that are not"
            " finite.",
            "The encoder overflows on this text; run it in float32.",
        )
