"""What re-rankers stand on: a manual's passages, what BM25 finds, labels, and a new order."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from isometry.corpora.curation.dedup import near_duplicates, normalize
from isometry.corpora.documents import Document
from isometry.corpora.packaged.python_documentation import FAQ, python_documentation
from isometry.corpora.pairs.queries import heading_query, shown
from isometry.corpora.pairs.structure import HeadingSection, Pair, build_pairs
from isometry.corpora.splits import split
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.jobs.ranking import build_index, cut_into_passages
from isometry.learners.pairwise_ranking import CandidatesRow, ListwiseRanking, PreferenceRow
from isometry.search.first_stage import FirstStage, document_of, first_stage
from isometry.search.fusion import standard_score_fusion
from isometry.search.lancedb import Lexical
from isometry.search.reranking import Scorer, rerank
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale

METRIC = "mrr@10"


@dataclass(frozen=True, kw_only=True)
class RerankingScale(Scale):
    """Settings of re-ranking.

    Attributes:
        pages: How many pages are kept beside the FAQ; all of them when `None`.
        asked: How many headings of held-out pages ask in validation.
        questions: How many questions of the FAQ ask in the test; all of them when `None`.
        labelled: How many headings are fine-tuned on.
        negatives: Wrong passages beside the right one of each of them.
        lists: Headings a step of fine-tuning.
        passage_tokens: Where documents are cut into passages.
        tokens: Where query and passage together are cut.
        depth: How many of BM25's documents are put in order.
    """

    pages: int | None = None
    asked: int = 100
    questions: int | None = None
    labelled: int = 50
    negatives: int = 7
    lists: int = 4
    passage_tokens: int = 98
    tokens: int = 128
    depth: int = 20


AnyReranking = TypeVar("AnyReranking", bound=RerankingScale)


@dataclass(frozen=True)
class Training:
    """Preferences to pretrain on, and a few labelled headings."""

    pairs: list[PreferenceRow]
    headings: list[CandidatesRow]


@dataclass(frozen=True)
class Held:
    """Queries whose documents are put in order, and preferences."""

    found: FirstStage
    pairs: list[PreferenceRow]


@dataclass(frozen=True)
class Rerankers:
    """Scorers of query and passage: as pretrained, and fine-tuned on the labels."""

    zero_shot: Scorer
    tuned: Scorer


@dataclass(frozen=True)
class Manual:
    """Python's manual.

    Attributes:
        passages: By side, "train", "validation" and "test", which share no page and no
            near-duplicate. Those of the FAQ are searched and stand on none of them.
        labelled: Headings of training pages.
        validation: Headings of validation pages.
        test: Questions of the FAQ.
    """

    passages: dict[str, list[str]]
    labelled: FirstStage
    validation: FirstStage
    test: FirstStage


def read_manual(scale: RerankingScale) -> Manual:
    """Python's manual and its queries; all of them search all of it.

    A section whose heading asks shows only the headings above its own, as the FAQ's answers do.
    """
    corpus = python_documentation()
    pages = sorted({each.group for each in corpus.documents if not each.group.startswith(FAQ)})
    random.Random(0).shuffle(pages)
    kept = set(pages[: scale.pages])
    documents = [d for d in corpus.documents if d.group in kept or d.group.startswith(FAQ)]
    rest = [each for each in documents if each.group in kept]
    clusters = near_duplicates([f"{each.title}\n{each.body()}" for each in rest])
    sides = split([each.group for each in rest], clusters, {"train": 8, "validation": 1, "test": 1})
    side_of = {each.id: side for each, side in zip(rest, sides, strict=True)}
    headings = _headings(documents)
    # Not all labels are found by BM25: more headings are taken off than are needed.
    asking = {
        side: [pair for pair in headings if side_of.get(pair.document) == side][:most]
        for side, most in (("train", 3 * scale.labelled), ("validation", scale.asked))
    }
    bare = {pair.document: (pair.header, pair.body) for own in asking.values() for pair in own}
    chunks = cut_into_passages(
        [each.id for each in documents],
        [bare.get(each.id, (each.header(), each.body())) for each in documents],
        TextEncoder.load(scale.model).tokenizer,
        scale.passage_tokens,
    )
    passages: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    owners, texts = (chunks.column(name).to_pylist() for name in ("document", "text"))
    for owner, text in zip(owners, texts, strict=True):
        if owner in side_of:
            passages[side_of[owner]].append(text)
    made = {side: {p.query: {p.document: 1} for p in own} for side, own in asking.items()}
    asked = {corpus.queries[name]: judged for name, judged in corpus.relevance.items()}
    test = dict(list(asked.items())[: scale.questions])
    with TemporaryDirectory(prefix="isometry-") as folder:
        index = build_index(Path(folder) / "index", chunks, None, Lexical())
        return Manual(
            passages,
            *(
                first_stage(index, judged, scale.depth)
                for judged in (made["train"], made["validation"], test)
            ),
        )


def _headings(documents: Sequence[Document]) -> list[Pair]:
    """Headings that ask, in random order; their sections keep those above.

    Not those that another section shows, too, because it stands below or is headed alike: it would
    be found and taken for wrong.
    """
    above = {(each.group, part) for each in documents for part in each.context.split(" > ")}
    leaves = {
        each.id: each
        for each in documents
        if each.context and (each.group, each.title) not in above
    }
    uses = Counter(normalize(heading_query(each)) for each in documents)
    made, _ = build_pairs(list(leaves.values()), [HeadingSection()], seed=0)
    pairs = [
        replace(pair, header=leaves[pair.document].context)
        for pair in made
        if uses[normalize(pair.query)] == 1
    ]
    pairs = [pair for pair in pairs if not shown(pair.query, pair.header, pair.body)]
    random.Random(0).shuffle(pairs)
    return pairs


def reranked(
    found: FirstStage, score: Scorer, depth: int
) -> tuple[Float[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
    """MRR@10 of the order that a scorer gives, alone and with as much weight on BM25.

    Args:
        found: What is put in order.
        score: The scorer.
        depth: How many documents of each ranking are.
    """
    alone = rerank(found.queries, found.rankings, found.texts, score, depth=depth)
    both = [
        standard_score_fusion(own, first, 0.5, depth)
        for own, first in zip(alone, found.rankings, strict=True)
    ]
    first, second = (
        score_rankings(
            [[document_of(passage) for passage, _ in ranking] for ranking in rankings],
            found.relevance,
            (METRIC,),
        )[METRIC]
        for rankings in (alone, both)
    )
    return first, second


def tuned(run: Run[AnyReranking, Training, Held], encoder: CrossEncoder) -> Rerankers:
    """A cross-encoder as it is, and what the stage "fine-tuning" makes of it."""
    scale, headings = run.scale, run.train.headings
    zero_shot = copy.deepcopy(encoder)
    order = run.batches("fine-tuning", [(row.query,) for row in headings], scale.lists)
    run.fit("fine-tuning", ListwiseRanking(encoder, tokens=scale.tokens), headings, order)
    settings = {"tokens": scale.tokens, "precision": scale.precision}
    return Rerankers(partial(zero_shot.score, **settings), partial(encoder.score, **settings))


def unchanged(_: Run[AnyReranking, Training, Held]) -> Rerankers:
    """Finds all passages equally good, which leaves them in the order of the first stage."""

    def score(pairs: list[tuple[str, str]]) -> Float[np.ndarray, " pairs"]:
        return np.zeros(len(pairs))

    return Rerankers(score, score)


def measure(run: Run[AnyReranking, Training, Held], model: Rerankers, held: Held) -> Figures:
    """MRR@10 of every query, and which of the pairs are told apart; equal scores count half."""
    figures: dict[str, np.ndarray] = {}
    for stage, score in (("zero-shot", model.zero_shot), ("fine-tuned", model.tuned)):
        alone, both = reranked(held.found, score, run.scale.depth)
        figures |= {f"mrr@10, {stage}": alone, f"mrr@10, {stage} with BM25": both}
    better = model.zero_shot([(row.better, row.document) for row in held.pairs])
    worse = model.zero_shot([(row.worse, row.document) for row in held.pairs])
    return {**figures, "pairwise accuracy": (better > worse) + 0.5 * (better == worse)}
