"""The three ways of retrieving, compared on one collection: by words, by vectors, by both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from isometry.core.progress import say, track
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.views.chunks import chunk
from isometry.evaluation.retrieval import METRICS, rank_documents, score_rankings
from isometry.evaluation.significance import grouped_bootstrap
from isometry.search.fusion import USUAL_WEIGHT, choose_weight, standard_score_fusion
from isometry.search.lancedb import ChunkIndex, Lexical, chunk_schema
from isometry.search.reranking import Scorer, rerank

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from isometry.encoders.cached import CachedEncoder
    from isometry.encoders.encoder import Encoder
    from isometry.encoders.static import StaticEncoder

DEPTH = 100
# So many given queries move the weight half of the way to what they prefer.
PRIOR_GIVEN = 50.0
MOST_CHUNKS = 256
# Of an encoder that has no limit of its own: one vector cannot say what more than this says.
PASSAGE_TOKENS = 256
_GRID = tuple(step / 10 for step in range(11))

PerQuery = dict[str, Float[np.ndarray, " queries"]]


@dataclass(frozen=True)
class Rankings:
    """What was found for each query, best first.

    Attributes:
        order: Document numbers; -1 where fewer were found.
        scores: Of the documents in `order`; 0 where there is none.
    """

    order: Int[np.ndarray, "queries depth"]
    scores: Float[np.ndarray, "queries depth"]

    def found(self, query: int) -> list[tuple[int, float]]:
        """Document numbers and scores of one query."""
        kept = self.order[query] >= 0
        return list(
            zip(self.order[query][kept].tolist(), self.scores[query][kept].tolist(), strict=True)
        )

    def to_table(self) -> pa.Table:
        """One row a query, for a file."""
        return pa.table({"order": list(self.order), "scores": list(self.scores)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Rankings:
        """What `to_table` gave."""
        columns = (table.column(name).to_pylist() for name in ("order", "scores"))
        order, scores = (np.array(column) for column in columns)
        return cls(order, scores)


@dataclass(frozen=True)
class Collection:
    """Documents cut into the passages that are ranked.

    Attributes:
        documents: The ids of all documents.
        chunks: One row a passage, in the schema of the index, without vectors.
        owner: The document number of each passage, ascending.
        cut_off: How many documents were too long for the most passages a document may have.
    """

    documents: list[str]
    chunks: pa.Table
    owner: Int[np.ndarray, " passages"]
    cut_off: int = 0

    @property
    def passages(self) -> list[str]:
        """What is encoded and searched."""
        return self.chunks.column("text").to_pylist()

    @property
    def size(self) -> int:
        """How many documents have passages here."""
        return len(np.unique(self.owner))

    def only(self, keep: Bool[np.ndarray, " documents"]) -> Collection:
        """The passages of some of the documents, which keep their numbers."""
        if keep.all():
            return self
        rows = np.flatnonzero(keep[self.owner])
        return replace(self, chunks=self.chunks.take(rows), owner=self.owner[rows])

    def first_passages(self, documents: Int[np.ndarray, " some"]) -> list[str]:
        """The passage that each of these documents, by its number, begins with."""
        # Passages stand in the order of their documents.
        rows = np.searchsorted(self.owner, documents)
        return self.chunks.column("text").take(rows).to_pylist()


def cut_into_passages(
    documents: Sequence[str], texts: Sequence[tuple[str, str]], tokenizer: Tokenizer, tokens: int
) -> pa.Table:
    """Cuts each (header, body) into passages that the encoder reads to the end.

    Args:
        documents: The ids.
        texts: Header and body of each.
        tokenizer: The encoder's, without truncation.
        tokens: The encoder's limit, less its prompt.
    """
    names = [name for name in chunk_schema(1).names if name != "vector"]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    cut_off = 0
    with track("Cutting into passages", len(documents), "documents") as task:
        for document, (header, body) in zip(documents, texts, strict=True):
            # A token holds four characters or so: this bounds the work on one enormous text.
            clipped = body[: MOST_CHUNKS * tokens * 16]
            pieces = chunk(clipped, header, tokenizer, tokens=tokens, stride=tokens // 8)
            cut_off += len(pieces) > MOST_CHUNKS
            for position, piece in enumerate(pieces[:MOST_CHUNKS]):
                row = (document, header, position, piece.start, piece.end, piece.text)
                for name, value in zip(names, row, strict=True):
                    columns[name].append(value)
            task.advance()
    if cut_off:
        say(
            f"{cut_off:,} of {len(documents):,} documents have more than {MOST_CHUNKS} passages:"
            " what is beyond is not searched."
        )
    return pa.table(columns, schema=pa.schema([chunk_schema(1).field(name) for name in names]))


def passages_of(
    encoder: Encoder, documents: Sequence[str], texts: Sequence[tuple[str, str]]
) -> pa.Table:
    """Cuts documents into passages of the length that an encoder reads, its prompt counted.

    What reads texts of any length gets passages of `PASSAGE_TOKENS`.
    """
    tokenizer = encoder.tokenizer
    prompt = encoder.prompts["document"]
    room = (encoder.max_tokens or PASSAGE_TOKENS) - len(
        tokenizer.encode(prompt, add_special_tokens=False).ids
    )
    return cut_into_passages(documents, texts, tokenizer, room)


def collection(documents: Sequence[str], chunks: pa.Table) -> Collection:
    """Puts documents and their passages together."""
    number = {document: row for row, document in enumerate(documents)}
    owner = np.array([number[name] for name in chunks.column("document").to_pylist()])
    positions = chunks.column("position").to_numpy()
    return Collection(list(documents), chunks, owner, int((positions == MOST_CHUNKS - 1).sum()))


def build_index(
    folder: Path, chunks: pa.Table, vectors: Float[np.ndarray, "passages dim"] | None, how: Lexical
) -> ChunkIndex:
    """Writes passages, with vectors or without, as a searchable table."""
    schema = chunk_schema(1 if vectors is None else vectors.shape[1])
    return ChunkIndex.create(folder, rows_of(chunks, vectors, schema), schema, how)


def rows_of(
    chunks: pa.Table,
    vectors: Float[np.ndarray, "passages dim"] | None,
    schema: pa.Schema,
    size: int = 4096,
) -> Iterator[pa.RecordBatch]:
    """Passages and their vectors, block by block, as an index holds them."""
    kind = schema.field("vector").type
    for start in range(0, chunks.num_rows, size):
        part = chunks.slice(start, size)
        if vectors is None:
            vector = pa.nulls(part.num_rows, kind)
        else:
            flat = pa.array(vectors[start : start + size].ravel(), pa.float32())
            vector = pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
        yield from part.append_column("vector", vector).cast(schema).combine_chunks().to_batches()


def lexical_rankings(
    index: ChunkIndex, documents: Sequence[str], queries: Sequence[str], depth: int = DEPTH
) -> Rankings:
    """What words find."""
    number = {document: row for row, document in enumerate(documents)}
    order = np.full((len(queries), depth), -1, dtype=np.int64)
    scores = np.zeros((len(queries), depth))
    with track("Searching by words", len(queries), "queries") as task:
        for row, query in enumerate(queries):
            hits = index.lexical(query, depth)
            order[row, : len(hits)] = [number[hit.document] for hit in hits]
            scores[row, : len(hits)] = [hit.score for hit in hits]
            task.advance()
    return Rankings(order, scores)


def dense_rankings(
    encoder: CachedEncoder, ranked: Collection, queries: Sequence[str], depth: int = DEPTH
) -> Rankings:
    """What vectors find."""
    vectors = encoder.encode(ranked.passages, title="Encoding passages")
    asked = encoder.encode(queries, "query", title="Encoding queries")
    order, scores = rank_documents(asked, vectors, ranked.owner, depth)
    return Rankings(order, np.where(order >= 0, scores, 0.0))


def found_by_vectors(
    encoder: CachedEncoder | StaticEncoder,
    ranked: Collection,
    queries: Sequence[str],
    depth: int = DEPTH,
) -> Rankings:
    """What a search by vectors finds: nothing for a query of which a table knows no token."""
    vectors = encoder.encode(ranked.passages, title="Encoding passages")
    asked = encoder.encode(queries, "query", title="Encoding queries")
    order, scores = rank_documents(asked, vectors, ranked.owner, depth)
    order[~asked.any(axis=1)] = -1
    return Rankings(order, np.where(order >= 0, scores, 0.0))


def asked_documents(
    queries: Sequence[str],
    relevance: Sequence[Mapping[int, int]],
    views: Sequence[tuple[str, str]],
) -> Int[np.ndarray, " queries"]:
    """For each query the document that says the same, unless it is an answer; -1 for none.

    Where queries are documents, as in data sets of duplicate questions, each finds itself first.
    """
    number: dict[str, int] = {}
    for row, (_, body) in enumerate(views):
        number.setdefault(normalize(body), row)
    rows = [number.get(normalize(query), -1) for query in queries]
    answers = zip(rows, relevance, strict=True)
    return np.array([-1 if row in known else row for row, known in answers], dtype=np.int64)


def without(found: Rankings, documents: Int[np.ndarray, " queries"]) -> Rankings:
    """Rankings of the usual depth without one document of each query; -1 for none."""
    kept = (found.order != documents[:, None]) | (found.order < 0)
    places = np.argsort(~kept, axis=1, kind="stable")[:, :DEPTH]
    order, scores = (
        np.take_along_axis(np.where(kept, part, blank), places, axis=1)
        for part, blank in ((found.order, -1), (found.scores, 0.0))
    )
    return Rankings(order, scores)


def fused_rankings(
    documents: Sequence[str], dense: Rankings, lexical: Rankings, dense_weight: float
) -> Rankings:
    """Both fused, as `Space.search` does it."""
    depth = dense.order.shape[1]
    order = np.full_like(dense.order, -1)
    scores = np.zeros_like(dense.scores)
    number = {document: row for row, document in enumerate(documents)}
    for row in range(len(order)):
        vectors, words = (
            [(documents[document], score) for document, score in side.found(row)]
            for side in (dense, lexical)
        )
        fused = standard_score_fusion(vectors, words, dense_weight, depth)[:depth]
        order[row, : len(fused)] = [number[document] for document, _ in fused]
        scores[row, : len(fused)] = [score for _, score in fused]
    return Rankings(order, scores)


def reread_rankings(
    encoder: CachedEncoder,
    ranked: Collection,
    queries: Sequence[str],
    score: Scorer,
    *,
    depth: int,
    weight: float,
) -> Rankings:
    """What vectors find, the first of it read again, each document at the passage that was found.

    Args:
        encoder: Whose vectors.
        ranked: What is searched.
        queries: What asks.
        score: Reads query and passage; see `rerank`.
        depth: How many documents of each query are read.
        weight: How much the reading counts, from 0 to 1; the vectors count the rest.
    """
    found = dense_rankings(encoder, ranked, queries)
    vectors, passages = encoder.encode(ranked.passages), ranked.passages
    texts: dict[str, str] = {}
    lists: list[list[tuple[str, float]]] = []
    for query, asked in enumerate(encoder.encode(queries, "query")):
        own: list[tuple[str, float]] = []
        for document, value in found.found(query):
            # Passages stand in the order of their documents.
            start, end = np.searchsorted(ranked.owner, [document, document + 1])
            best = start + int((vectors[start:end] @ asked).argmax())
            texts[str(best)] = passages[best]
            own.append((str(best), value))
        lists.append(own)
    order, scores = np.full_like(found.order, -1), np.zeros_like(found.scores)
    for query, ranking in enumerate(
        rerank(queries, lists, texts, score, depth=depth, weight=weight)
    ):
        order[query, : len(ranking)] = [ranked.owner[int(passage)] for passage, _ in ranking]
        scores[query, : len(ranking)] = [value for _, value in ranking]
    return Rankings(order, scores)


def tune_fusion(
    documents: Sequence[str],
    dense: Rankings,
    lexical: Rankings,
    relevance: Sequence[Mapping[int, int]],
    *,
    given: bool,
    metric: str = "ndcg@10",
) -> tuple[float, float | None, list[dict[str, float]]]:
    """Chooses how much vectors count beside words, shrunk towards the usual weight.

    Queries that were made from the documents share their words, and prefer words more than people
    do: on each of three corpora with people's queries the usual weight was the better one
    (docs/ablations.md). They choose nothing.

    Args:
        documents: All ids.
        dense: What vectors find.
        lexical: What words find.
        relevance: The answers of each query.
        given: Whether people gave the queries.
        metric: What counts.

    Returns:
        The weight, the one before it was shrunk, and the score at each weight tried.
    """
    grid = [
        (
            weight,
            score_rankings(fused_rankings(documents, dense, lexical, weight).order, relevance)[
                metric
            ],
        )
        for weight in _GRID
    ]
    chosen, best = choose_weight(grid, PRIOR_GIVEN) if given else (USUAL_WEIGHT, None)
    return (
        round(chosen, 4),
        best,
        [{"dense_weight": weight, metric: float(scores.mean())} for weight, scores in grid],
    )


def mean_score(rankings: Rankings, relevance: Sequence[Mapping[int, int]]) -> float:
    """Mean nDCG@10."""
    return float(score_rankings(rankings.order, relevance, ("ndcg@10",))["ndcg@10"].mean())


def row_of(system: str, scores: PerQuery) -> dict[str, Any]:
    """One line of a results table."""
    return {"system": system, **_means(scores)}


def row_against(
    model: str, mode: str, scores: PerQuery, first: PerQuery, groups: Sequence[int]
) -> dict[str, Any]:
    """One line of a comparison: figures, and the difference of nDCG@10 to the first model's.

    Args:
        model: What it is called.
        mode: How it ranked: "dense", "lexical" or "hybrid".
        scores: Of every query.
        first: Those of the first model in the same mode.
        groups: As in `difference`.
    """
    return {
        "model": model,
        "mode": mode,
        **_means(scores),
        **difference(first["ndcg@10"], scores["ndcg@10"], groups),
        "queries": len(scores["ndcg@10"]),
        "groups": len(set(groups)),
    }


def _means(scores: PerQuery) -> dict[str, float]:
    return {metric: float(scores[metric].mean()) for metric in METRICS}


def differences(
    what: str, mode: str, before: PerQuery, after: PerQuery, groups: Sequence[int]
) -> list[dict[str, Any]]:
    """After minus before for every metric, each as `difference` gives it."""
    return [
        {
            "what": what,
            "mode": mode,
            "metric": metric,
            **difference(before[metric], after[metric], groups),
        }
        for metric in METRICS
    ]


def difference(
    before: Float[np.ndarray, " queries"],
    after: Float[np.ndarray, " queries"],
    groups: Sequence[int],
) -> dict[str, float | None]:
    """After minus before, `low` and `high` of its `grouped_bootstrap` interval.

    Args:
        before: A metric of every query.
        after: The same of another ranking.
        groups: What each query belongs to. What belongs to one page says nothing about others:
            then there is no interval.
    """
    found = asdict(grouped_bootstrap(before, after, groups))
    return found if len(set(groups)) > 1 else {**found, "low": None, "high": None}
