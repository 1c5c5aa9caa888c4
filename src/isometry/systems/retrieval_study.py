"""What a ladder of retrieval methods stands on: questions that people asked, and headings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from isometry.corpora.packaged.python_documentation import FAQ, python_documentation
from isometry.corpora.pairs.structure import HeadingSection, Pair, build_pairs
from isometry.encoders.cached import CachedEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.learners.pairwise_ranking import CandidatesRow
from isometry.learners.two_towers import PairRow
from isometry.systems.rankers import Asked, Library, Ranker
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.negatives import clearly_worse

# Whole pages, so that no answer lies on both sides; their 50 questions choose, the others test.
VALIDATED = (f"{FAQ}library.rst.txt", f"{FAQ}general.rst.txt")
CANDIDATES = 30


@dataclass(frozen=True, kw_only=True)
class RetrievalScale(Scale):
    """Settings of retrieval.

    Attributes:
        asked: How many questions choose, and how many test; all of them when `None`.
        others: How many sections are searched beside the answers; all of them when `None`.
        passages: How many passages of a section have vectors, from its beginning.
        pairs: How many headings are trained on; all of them when `None`.
        batch: Headings a step.
        negatives: Negatives of a heading, where there are any.
        lists: Headings a step of the re-ranker.
        candidates: Wrong sections beside each of them.
        query_tokens: Where training cuts headings.
        document_tokens: Where training cuts sections.
        pair_tokens: Where the re-ranker cuts both together.
        depth: How many sections are re-ranked.
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
        """The sections, without any heading."""
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
        clear = clearly_worse(np.take_along_axis(scores, found, axis=1), scores.diagonal())
        return np.where(clear, found, -1)

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


def data(scale: RetrievalScale) -> Splits[Headings, Asked]:
    """Python's documentation, the questions of its FAQ, and the headings of all other pages."""
    source = python_documentation()
    group = {document.id: document.group for document in source.documents}
    sides: tuple[list[str], list[str]] = ([], [])
    for query, relevant in source.relevance.items():
        chooses = all(group[document] in VALIDATED for document in relevant)
        sides[not chooses].append(query)
    judged = [
        {source.queries[query]: source.relevance[query] for query in side[: scale.asked]}
        for side in sides
    ]
    texts = {each.id: (each.header(), each.body()) for each in source.documents}
    library = Library.of(scale.model, scale.passages, texts, judged, scale.others)
    validation, test = (Asked.of(library, side) for side in judged)
    asking = [document for document in source.documents if not document.group.startswith(FAQ)]
    pairs, _ = build_pairs(asking, [HeadingSection()], seed=0)
    return Splits(Headings(scale.model, pairs[: scale.pairs]), validation, test)


AnyRun = Run[RetrievalScale, Headings, Asked]


def measure(_: AnyRun, ranker: Ranker, asked: Asked) -> Figures:
    """Recall and reciprocal rank of each question."""
    return score_rankings(ranker(asked).order, asked.relevance, ("recall@10", "mrr@10"))


FULL = RetrievalScale(
    model="google-bert/bert-base-uncased",
    steps={"contrast": 2_000, "rerank": 1_000},
    rates=(1e-5, 2e-5, 5e-5),
    gpu_gib=40,
    hub=("google-bert/bert-base-uncased",),
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
    asked=3,
    others=40,
    pairs=24,
    batch=4,
    lists=2,
    query_tokens=16,
    document_tokens=32,
    pair_tokens=64,
    depth=3,
)
