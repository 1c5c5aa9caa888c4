"""What pretraining on the structure of pages stands on: pairs, few labels, people's questions."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from isometry.corpora.curation.dedup import near_duplicates
from isometry.corpora.documents import Document
from isometry.corpora.packaged.python_documentation import FAQ, python_documentation
from isometry.corpora.pairs.structure import (
    Builder,
    HeadingSection,
    InverseCloze,
    LinkPrediction,
    Mix,
    all_pairs,
    build_pairs,
    group_pages,
)
from isometry.corpora.splits import split
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.heads.masked_lm import MaskedLMHead
from isometry.jobs.ranking import Rankings, fused_rankings, tune_fusion
from isometry.learners.masked_language import MaskedLanguage
from isometry.learners.two_towers import PairRow
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.systems.arms import contrast
from isometry.systems.rankers import Asked, Judged, Library, Ranker, by_vectors, by_words
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits

STAGES = ("pretraining", "fine-tuning")


@dataclass(frozen=True, kw_only=True)
class PagesScale(Scale):
    """Settings of pretraining on pages.

    Attributes:
        layers: How many layers the encoder has; they are drawn anew.
        batch: Pairs, or masked sections, a step.
        sections: How many sections are pretrained on; all of them when `None`.
        rounds: How often a task goes over the pages, with other sentences each time.
        query_tokens: Where training cuts queries.
        document_tokens: Where training cuts sections.
        labelled: How many headings are fine-tuned on.
        label_rate: The peak learning rate of these after pretraining, which alone chooses its own.
        asked: How many questions ask in the test, and how many headings in validation; all of
            them when `None`.
        others: How many sections are searched beside their answers; all of them when `None`.
    """

    layers: int = 2
    batch: int = 64
    sections: int | None = None
    rounds: int = 4
    query_tokens: int = 32
    document_tokens: int = 128
    labelled: int = 200
    label_rate: float = 3e-4
    asked: int | None = None
    others: int | None = None


@dataclass(frozen=True)
class Pages:
    """What is pretrained on, and what is fine-tuned on.

    Attributes:
        documents: Sections of pages that link to each other.
        labelled: A few headings of these, with the text below them.
    """

    documents: list[Document]
    labelled: list[PairRow]


class Rankers(NamedTuple):
    """What ranks sections before the labels, and what ranks them after."""

    unlabelled: Ranker
    labelled: Ranker


PagesRun = Run[PagesScale, Pages, Asked]


def data(scale: PagesScale) -> Splits[Pages, Asked]:
    """Python's manual: its pages train, headings of a tenth of them validate, FAQ questions test.

    The FAQ is trained on in no way. Validation needs no question then, and leaves all to the test;
    who has nothing but documents could choose no other way.
    """
    source = python_documentation()
    manual = [each for each in source.documents if not each.group.startswith(FAQ)]
    clusters = near_duplicates([f"{each.title}\n{each.body()}" for each in manual])
    sides = split([each.group for each in manual], clusters, {"train": 9, "validation": 1})
    held = {
        each.id: ("", each.body())
        for each, side in zip(manual, sides, strict=True)
        if side == "validation"
    }
    headings, _ = build_pairs(manual, [HeadingSection()], seed=0)
    random.Random(0).shuffle(headings)
    taught = [pair for pair in headings if pair.document not in held]
    return Splits(
        Pages(
            [each for each in manual if each.id not in held][: scale.sections],
            [PairRow(each.query, each.body, each.document) for each in taught[: scale.labelled]],
        ),
        _asked(
            scale,
            held,
            {pair.query: {pair.document: 1} for pair in headings if pair.document in held},
        ),
        _asked(
            scale,
            {each.id: (each.header(), each.body()) for each in source.documents},
            {text: source.relevance[query] for query, text in source.queries.items()},
        ),
    )


def _asked(scale: PagesScale, texts: dict[str, tuple[str, str]], judged: Judged) -> Asked:
    """As many queries as are wanted, and the sections that they search."""
    few = dict(list(judged.items())[: scale.asked])
    return Asked.of(Library.of(scale.model, 1, texts, [few], scale.others), few)


def structure_rows(
    documents: Sequence[Document], task: Builder | LinkPrediction | Mix, rounds: int, seed: int
) -> list[PairRow]:
    """The pairs of a task as rows to train on.

    A query that is not about its passage alone (BFS, WLP) may be answered by any other section of
    the passage's page, and by any of the page that it is from: these are no negatives.

    Args:
        documents: Sections of pages.
        task: What makes pairs.
        rounds: How often it does.
        seed: Of its choices.
    """
    pages, rng = group_pages(documents), random.Random(seed)
    page_of = {each.id: page for page, sections in pages.items() for each in sections}
    sections = {page: frozenset(each.id for each in own) for page, own in pages.items()}
    return [
        PairRow(
            pair.query,
            f"{pair.header}\n{pair.body}" if pair.header else pair.body,
            pair.document,
            answers=frozenset()
            if pair.task == InverseCloze.name
            else sections[page_of[pair.document]] | sections.get(pair.asker, frozenset()),
        )
        for _ in range(rounds)
        for pair in all_pairs(task, pages, rng)
    ]


def contrast_on(run: PagesRun, encoder: TextEncoder, rows: Sequence[PairRow], stage: str) -> None:
    """Trains an encoder for a stage, against the other passages of each batch."""
    contrast(
        run,
        rows,
        Matryoshka(InfoNCE(0.05, a_to_b=1.0), MRL((encoder.dim,))),
        stage=stage,
        batch=run.scale.batch,
        query_tokens=run.scale.query_tokens,
        document_tokens=run.scale.document_tokens,
        encoder=encoder,
    )


def words(_: PagesRun) -> Rankers:
    """BM25, to which labels are nothing."""
    return Rankers(by_words, by_words)


def tuned(run: PagesRun, encoder: TextEncoder) -> Rankers:
    """The encoder, and what the labelled headings make of it."""
    pretrained = copy.deepcopy(encoder)
    contrast_on(run, encoder, run.train.labelled, "fine-tuning")
    return Rankers(by_vectors(run.cached(pretrained)), by_vectors(run.cached(encoder)))


def _gently(run: PagesRun) -> PagesRun:
    """The same run at the labels' rate: that of pretraining would undo what pretraining gave."""
    labelled = copy.copy(run)
    labelled.rate = run.scale.label_rate
    return labelled


def by_structure(
    start: Callable[[PagesRun], TextEncoder], task: Builder | LinkPrediction | Mix
) -> Callable[[PagesRun], Rankers]:
    """An arm that is pretrained on the pairs of a task."""

    def make(run: PagesRun) -> Rankers:
        encoder = start(run)
        rows = structure_rows(run.train.documents, task, run.scale.rounds, run.seed)
        contrast_on(run, encoder, rows, "pretraining")
        return tuned(_gently(run), encoder)

    return make


def by_masked_words(start: Callable[[PagesRun], TextEncoder]) -> Callable[[PagesRun], Rankers]:
    """An arm that is pretrained to predict masked words of the same sections."""

    def make(run: PagesRun) -> Rankers:
        scale, encoder = run.scale, start(run)
        freeze_below(encoder, 0)
        body: Any = encoder.model[0].model
        head = MaskedLMHead.over(body.get_input_embeddings())
        learner = MaskedLanguage(encoder, head, tokens=scale.document_tokens, seed=run.seed)
        texts = [f"{each.header()}\n{each.body()}" for each in run.train.documents]
        order = run.batches("pretraining", [(row,) for row in range(len(texts))], scale.batch)
        run.fit("pretraining", learner, texts, order)
        return tuned(_gently(run), encoder)

    return make


def measure(run: PagesRun, rankers: Rankers, held: Asked) -> Figures:
    """Recall and reciprocal rank of each query: alone, fused with words, and before the labels.

    How much words count is chosen on validation.
    """

    def sides(asked: Asked) -> tuple[list[str], Rankings, Rankings]:
        return asked.library.ids, rankers.labelled(asked), by_words(asked)

    # Headings may choose as people's questions do: people wrote them, and no section that is
    # searched shows them, so words have no advantage from where they were found.
    weight, _, _ = tune_fusion(*sides(run.validation), run.validation.relevance, given=True)
    found = {
        "": rankers.labelled(held),
        ", with words": fused_rankings(*sides(held), weight),
        ", no labels": rankers.unlabelled(held),
    }
    return {
        f"{metric}{how}": scores
        for how, rankings in found.items()
        for metric, scores in score_rankings(
            rankings.order, held.relevance, ("recall@10", "mrr@10")
        ).items()
    }
