"""Lexical and dense search over a table of chunks, both by LanceDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.core.files import atomic_folder

if TYPE_CHECKING:
    from lancedb.table import Table

_TABLE = "chunks"
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

    Both searches return documents, each with its best chunk, and are exact: the same index gives
    the same hits in the same order, equal scores ordered by document id. Safe to use from several
    threads.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

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
        from lancedb.index import FTS

        failures: list[BaseException] = []

        def checked() -> Iterator[pa.RecordBatch]:
            try:
                for batch in batches:
                    _check_vectors(batch)
                    yield batch
            except BaseException as error:
                failures.append(error)
                raise

        with atomic_folder(folder) as temporary:
            try:
                table = lancedb.connect(temporary).create_table(
                    _TABLE,
                    pa.RecordBatchReader.from_batches(schema, checked()),
                    # Only nulls remain after the check; Lance counts them as bad vectors.
                    on_bad_vectors="null",
                )
            except Exception:
                # What went wrong in the other thread arrives here as the text of its traceback.
                if failures:
                    raise failures[0] from None
                raise
            table.create_index(
                "text",
                config=FTS(
                    base_tokenizer=lexical.base_tokenizer,
                    language=lexical.language,
                    stem=lexical.stem,
                    remove_stop_words=lexical.remove_stop_words,
                    ascii_folding=lexical.ascii_folding,
                ),
                wait_timeout=timedelta(hours=1),
            )
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> ChunkIndex:
        """Opens the table that `create` left in a folder.

        Raises:
            InputError: When there is none, or it is damaged.
        """
        import lancedb

        if not (folder / f"{_TABLE}.lance").is_dir():
            raise InputError(f"There is no index in {folder}.")
        try:
            table = lancedb.connect(folder).open_table(_TABLE)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"The index in {folder} is damaged: {error}") from error
        return cls(table)

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

    def lexical(self, query: str, k: int) -> list[Hit]:
        """The documents that share terms with a query, by BM25.

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

        def best(limit: int) -> pa.Table:
            found = self._table.search(match).select([*_FIELDS, "_score"]).limit(limit)
            return found.to_arrow()

        return self._by_document(best, k)

    def dense(self, vector: Float[np.ndarray, " dim"], k: int) -> list[Hit]:
        """The documents whose chunks have the highest inner product with a vector.

        Every vector is compared; chunks without one are left out.

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

        def best(limit: int) -> pa.Table:
            search = LanceVectorQueryBuilder(self._table, vector.astype(np.float32), "vector")
            search = search.distance_type("dot").select([*_FIELDS, "_distance"]).limit(limit)
            found = search.to_arrow()
            # Lance's "dot" distance is 1 - inner product.
            scores = 1 - found["_distance"].to_numpy()
            return found.drop_columns("_distance").append_column("_score", pa.array(scores))

        return self._by_document(best, k)

    def _by_document(self, best: Callable[[int], pa.Table], k: int) -> list[Hit]:
        """The best chunk of each of the `k` best documents.

        Args:
            best: From a number to that many chunks of the highest scores. Which chunks it takes of
                those that share the lowest score may vary from call to call.
            k: How many documents to return at most.
        """
        if k < 1:
            return []
        limit = 2 * k
        while True:
            rows = best(limit).to_pylist()
            rows.sort(key=lambda row: (-row["_score"], row["document"], row["position"]))
            first: dict[str, dict] = {}
            for row in rows:
                first.setdefault(row["document"], row)
            hits = list(first.values())[:k]
            # Chunks beyond the limit may share the lowest score, so it decides nothing yet.
            certain = len(hits) == k and hits[-1]["_score"] > rows[-1]["_score"]
            if certain or len(rows) < limit:
                return [
                    Hit(score=row["_score"], **{field: row[field] for field in _FIELDS})
                    for row in hits
                ]
            limit *= 4


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
