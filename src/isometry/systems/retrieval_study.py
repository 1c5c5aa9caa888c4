"""What a ladder of retrieval methods stands on: questions that people asked, and headings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float, Int

from isometry.compression.rescoring import search_with_rescoring
from isometry.corpora.packaged.python_documentation import python_documentation
from isometry.corpora.pairs.structure import HeadingSection, Pair, build_pairs
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import rank_documents, score_rankings
from isometry.jobs.ranking import (
    DEPTH,
    Collection,
    Rankings,
    build_index,
    collection,
    dense_rankings,
    lexical_rankings,
    passages_of,
)
from isometry.learners.pairwise_ranking import CandidatesRow
from isometry.learners.two_towers import PairRow
from isometry.search.lancedb import ChunkIndex, Lexical
from isometry.search.reranking import Scorer, rerank
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.negatives import mine

# Whole pages, so that no answer lies on both sides; their 50 questions choose, the others test.
VALIDATED = ("faq/library.rst.txt", "faq/general.rst.txt")
CANDIDATES = 30
# No passage has more characters than this, however long its words are.
_CHARACTERS = 4096


@dataclass(frozen=True, kw_only=True)
class RetrievalScale(Scale):
    """Settings of retrieval.

    Attributes:
        asked: How many questions choose, and how many test; all of them when `None`.
        others: How many sections are searched beside the answers; all of them when `None`.
        passages: How many passages of a section are read, from its beginning.
        pairs: How many headings are trained on; all of them when `None`.
        batch: Headings a step.
        negatives: Negatives of a heading, where there are any.
        lists: Headings a step of the re-ranker.
        candidates: Wrong sections beside each of them.
        query_tokens: Where training cuts headings.
        document_tokens: Where training cuts sections.
        pair_tokens: Where the re-ranker cuts both together.
        depth: How many sections are re-ranked.
        width: The dimensions of the model's vectors.
    """

    asked: int | None = None
    others: int | None = None
    passages: int = 1
    pairs: int | None = None
    batch: int = 32
    negatives: int = 1
    lists: int = 8
    candidates: int = 3
    query_tokens: int = 24
    document_tokens: int = 128
    pair_tokens: int = 160
    depth: int = 50
    width: int = 384


@dataclass(frozen=True)
class Library:
    """Documents that are searched, by words or by vectors, in the same passages.

    Attributes:
        model: Whose tokenizer cuts passages.
        most: How many passages of a document are kept, from its beginning.
        ids: Of the documents.
        texts: Header and body of each.
    """

    model: str
    most: int
    ids: list[str]
    texts: list[tuple[str, str]]

    @cached_property
    def collection(self) -> Collection:
        """The passages."""
        clipped = [(header, body[: self.most * _CHARACTERS]) for header, body in self.texts]
        chunks = passages_of(TextEncoder.load(self.model), self.ids, clipped)
        first = np.flatnonzero(chunks.column("position").to_numpy() < self.most)
        return collection(self.ids, chunks.take(first))

    @cached_property
    def _index(self) -> tuple[TemporaryDirectory[str], ChunkIndex]:
        """The folder goes when this does."""
        folder = TemporaryDirectory(prefix="isometry-")
        chunks = self.collection.chunks
        return folder, build_index(Path(folder.name) / "index", chunks, None, Lexical())

    def by_words(self, queries: list[str], depth: int = DEPTH) -> Rankings:
        """What BM25 finds."""
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


@dataclass(frozen=True)
class Headings:
    """Headings with the text below them, none of it of the pages that answer questions.

    Attributes:
        model: Whose tokenizer cuts passages.
        pairs: One a section.
    """

    model: str
    pairs: list[Pair]

    @cached_property
    def library(self) -> Library:
        """The sections, without any heading, as training shows them."""
        bodies = [("", pair.body) for pair in self.pairs]
        return Library(self.model, 1, [pair.document for pair in self.pairs], bodies)

    @cached_property
    def candidates(self) -> Int[np.ndarray, "pairs candidates"]:
        """The sections that share most words with each heading, without its own; -1 is padding."""
        order = self.library.by_words([pair.query for pair in self.pairs], CANDIDATES + 1).order
        return np.where(order == np.arange(len(order))[:, None], -1, order)

    def clear(self, teacher: CachedEncoder) -> Int[np.ndarray, "pairs candidates"]:
        """The candidates that a teacher finds clearly worse than the heading's own section."""
        asked = teacher.encode([pair.query for pair in self.pairs], "query")
        scores = asked @ teacher.encode([pair.body for pair in self.pairs]).T
        found = self.candidates
        kept = mine(
            found, np.take_along_axis(scores, found, axis=1), scores.diagonal(), k=found.shape[1]
        ).rows
        same = (found[:, :, None] == kept[:, None, :]).any(axis=2)
        return np.where(same, found, -1)

    def lists(self, negatives: Int[np.ndarray, "pairs k"]) -> list[CandidatesRow]:
        """What a re-ranker trains on."""
        return [
            CandidatesRow(pair.query, pair.body, tuple(self.pairs[row].body for row in own))
            for pair, own in zip(self.pairs, negatives, strict=True)
        ]

    def rows(self, negatives: Int[np.ndarray, "pairs k"] | None = None) -> list[PairRow]:
        """What a bi-encoder trains on; sections with the same text answer each other's headings."""
        if negatives is None:
            return [PairRow(pair.query, pair.body, pair.body) for pair in self.pairs]
        wrong = [tuple(self.pairs[row].body for row in own) for own in negatives]
        return [
            PairRow(pair.query, pair.body, pair.body, bodies, bodies)
            for pair, bodies in zip(self.pairs, wrong, strict=True)
        ]


def first_negatives(
    candidates: Int[np.ndarray, "pairs candidates"], k: int
) -> Int[np.ndarray, "pairs k"]:
    """The first candidates of each pair; where there are too few, any other pairs' documents."""
    generator = np.random.default_rng(0)
    rows = np.empty((len(candidates), k), dtype=np.int64)
    for pair, own in enumerate(candidates):
        found = own[own >= 0][:k]
        others = generator.permutation(len(candidates))
        unused = others[(others != pair) & ~np.isin(others, found)]
        rows[pair] = np.concatenate([found, unused])[:k]
    return rows


def data(scale: RetrievalScale) -> Splits[Headings, Asked]:
    """Python's documentation, the questions of its FAQ, and the headings of all other pages."""
    source = python_documentation()
    group = {document.id: document.group for document in source.documents}
    sides: tuple[list[str], list[str]] = ([], [])
    for query, relevant in source.relevance.items():
        chooses = all(group[document] in VALIDATED for document in relevant)
        sides[not chooses].append(query)
    chosen = [side[: scale.asked] for side in sides]
    answers = {
        document for side in chosen for query in side for document in source.relevance[query]
    }
    others = [document.id for document in source.documents if document.id not in answers]
    kept = answers | set(others[: scale.others])
    documents = [document for document in source.documents if document.id in kept]
    number = {document.id: row for row, document in enumerate(documents)}
    library = Library(
        scale.model,
        scale.passages,
        list(number),
        [(document.header(), document.body()) for document in documents],
    )
    validation, test = (
        Asked(
            library,
            [source.queries[query] for query in side],
            [
                {number[document]: grade for document, grade in source.relevance[query].items()}
                for query in side
            ],
        )
        for side in chosen
    )
    asking = [document for document in source.documents if not document.group.startswith("faq/")]
    pairs, _ = build_pairs(asking, [HeadingSection()], seed=0)
    return Splits(Headings(scale.model, pairs[: scale.pairs]), validation, test)


AnyRun = Run[RetrievalScale, Headings, Asked]
Ranker = Callable[[Asked], Rankings]


def measure(_: AnyRun, ranker: Ranker, asked: Asked) -> Figures:
    """Recall and reciprocal rank of each question."""
    return score_rankings(ranker(asked).order, asked.relevance, ("recall@10", "mrr@10"))


def by_words(asked: Asked) -> Rankings:
    """BM25."""
    return asked.library.by_words(asked.queries)


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
        return of_passages(rows, scores, found.owner)

    return rank


def by_reading(first: Ranker, score: Scorer, *, depth: int, weight: float) -> Ranker:
    """A first stage, the beginning of whose results is read once more; see `rerank`."""

    def rank(asked: Asked) -> Rankings:
        found, ids = first(asked), asked.library.ids
        shown = np.unique(found.order[:, :depth])
        shown = shown[shown >= 0]
        openings = asked.library.collection.first_passages(shown)
        texts = dict(zip([ids[row] for row in shown], openings, strict=True))
        lists = [
            [(ids[row], value) for row, value in found.found(query)]
            for query in range(len(asked.queries))
        ]
        number = {document: row for row, document in enumerate(ids)}
        order, scores = np.full_like(found.order, -1), np.zeros_like(found.scores)
        ordered = rerank(asked.queries, lists, texts, score, depth=depth, weight=weight)
        for query, ranking in enumerate(ordered):
            order[query, : len(ranking)] = [number[document] for document, _ in ranking]
            scores[query, : len(ranking)] = [value for _, value in ranking]
        return Rankings(order, scores)

    return rank


def of_passages(
    rows: Int[np.ndarray, "queries k"],
    scores: Float[np.ndarray, "queries k"],
    owner: Int[np.ndarray, " passages"],
) -> Rankings:
    """Ranked passages -> ranked documents, each at its best passage; -1 is padding."""
    order, best = np.full_like(rows, -1), np.zeros(scores.shape)
    for query, found in enumerate(rows):
        documents = owner[found[found >= 0]]
        first = np.sort(np.unique(documents, return_index=True)[1])
        order[query, : len(first)] = documents[first]
        best[query, : len(first)] = scores[query, first]
    return Rankings(order, best)


FULL = RetrievalScale(
    model="google-bert/bert-base-uncased",
    steps={"contrast": 2_000, "rerank": 1_000},
    rates=(1e-5, 2e-5, 5e-5),
    gpu_gib=40,
    hub=("google-bert/bert-base-uncased",),
    width=768,
    passages=16,
    batch=256,
    negatives=4,
    lists=32,
    candidates=7,
    document_tokens=256,
    pair_tokens=288,
)
SMALL = RetrievalScale(model="packaged:minilm", steps={"contrast": 40, "rerank": 40}, rates=(2e-5,))
MINIATURE = RetrievalScale(
    model="packaged:minilm",
    steps={"contrast": 2, "rerank": 2},
    seeds=1,
    asked=5,
    others=80,
    pairs=40,
    batch=8,
    lists=4,
    query_tokens=16,
    document_tokens=32,
    pair_tokens=64,
    depth=3,
)
