"""A re-ranker pretrained without labels: which of two word sets represents a passage better (PROP).

Cross-encoders need many relevance labels, and masked language modelling does not resemble
relevance. PROP makes pairs that do out of documents alone: it draws two sets of words from a
passage's smoothed language model, the query likelihood of classical retrieval, and calls the
likelier one the better query. A cross-encoder learns to prefer it, beside masked words of the
passage. It can then order what BM25 finds at once, or after a few labels more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import nn

from isometry.corpora.curation.dirichlet_lm import DirichletLM
from isometry.corpora.pairs.representative_words import RepresentativeWordPairs
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.pairwise_ranking import PairwiseRanking, PreferenceRow
from isometry.objectives.preference import Preference
from isometry.systems.reranking_study import (
    Held,
    Rerankers,
    RerankingScale,
    Training,
    measure,
    read_manual,
    tuned,
    unchanged,
)
from isometry.systems.run import Run
from isometry.systems.system import Arm, Gate, Splits, System


@dataclass(frozen=True, kw_only=True)
class PropScale(RerankingScale):
    """Settings of PROP.

    Attributes:
        passages: How many passages are pretrained on; all of them when `None`.
        sets: Pairs of word sets for each of them.
        held: How many held-out passages give a pair, in validation and in the test.
        batch: Pairs a step of pretraining.
    """

    passages: int | None = None
    sets: int = 1
    held: int = 400
    batch: int = 16


PropRun = Run[PropScale, Training, Held]


def data(scale: PropScale) -> Splits[Training, Held]:
    """Word sets of passages, judged by the language models of the training passages."""
    manual = read_manual(scale)
    model = DirichletLM.fit(manual.passages["train"])

    def pairs(side: str, passages: int | None, each: int = 1) -> list[PreferenceRow]:
        # One for each side: how much is trained on must not change what is measured on.
        rng = random.Random(side)
        maker = RepresentativeWordPairs(model, per_document=each)
        texts = rng.sample(manual.passages[side], len(manual.passages[side]))
        return [
            PreferenceRow(" ".join(better), " ".join(worse), text)
            for text in texts[:passages]
            for better, worse in maker.sets(text, rng)
        ]

    headings = manual.labelled.candidates(scale.negatives)[: scale.labelled]
    return Splits(
        Training(pairs("train", scale.passages, scale.sets), headings),
        Held(manual.validation, pairs("validation", scale.held)),
        Held(manual.test, pairs("test", scale.held)),
    )


def pretrained(objective: nn.Module | None) -> Callable[[PropRun], Rerankers]:
    """An arm that learns masked words of the passages, and the objective beside them."""

    def make(run: PropRun) -> Rerankers:
        pairs = run.train.pairs
        encoder = CrossEncoder.from_encoder(run.encoder(), run.seed)
        head = MaskedLMHead.over(cast("nn.Embedding", encoder.model.get_input_embeddings()))
        learner = PairwiseRanking(encoder, objective, head, tokens=run.scale.tokens, seed=run.seed)
        order = run.batches("pretraining", [(row.document,) for row in pairs], run.scale.batch)
        run.fit("pretraining", learner, pairs, order)
        return tuned(run, encoder)

    return make


STAGES = ("pretraining", "fine-tuning")
system = System(
    title="PROP: re-rankers pretrained to tell representative words of a text from others",
    arxiv="2010.10137",
    claim="Without any label it orders what BM25 finds better than a cross-encoder that was"
    " pretrained on masked words alone, whose ranking head has learned nothing.",
    differs="MiniLM and Python's manual, cut into passages, stand in for BERT-base and Wikipedia or"
    " MS MARCO, and questions of its FAQ for Robust04 and others. Pairs are compared by the"
    " logistic loss instead of the hinge. Words are not stemmed, and dropout is off. Fine-tuning"
    " takes 50 headings that were taken off their sections. Each scale has one learning rate, so"
    " validation decides nothing. A model that was pretrained for minutes need not beat BM25, which"
    " stands beside it. The full scale trains BERT-base longer on the same manual.",
    data=data,
    measure=measure,
    arms={
        "bm25": Arm("the order of the first stage", unchanged),
        "mlm": Arm("masked words alone; its ranking head is untrained", pretrained(None), STAGES),
        "rop": Arm("representative words and masked words", pretrained(Preference()), STAGES),
    },
    baseline="mlm",
    method="rop",
    gates=(
        Gate("mrr@10, zero-shot", 0.0, "mlm"),
        Gate("pairwise accuracy", 0.65),
        Gate("mrr@10, fine-tuned", 0.0, "mlm", report_only=True),
        Gate("mrr@10, zero-shot", 0.0, "bm25", report_only=True),
        Gate("mrr@10, zero-shot with BM25", 0.0, "bm25", report_only=True),
        Gate("mrr@10, fine-tuned with BM25", 0.0, "bm25", report_only=True),
    ),
    scales={
        "miniature": PropScale(
            model="packaged:minilm", steps={"pretraining": 2, "fine-tuning": 2}, seeds=1,
            pages=12, passages=24, held=12, asked=4, questions=6, labelled=6, negatives=2,
            batch=4, lists=2, depth=6,
        ),
        "small": PropScale(
            model="packaged:minilm", steps={"pretraining": 300, "fine-tuning": 25},
            rates=(1e-4,), passages=7_500,
        ),
        "full": PropScale(
            model="google-bert/bert-base-uncased", steps={"pretraining": 1_500, "fine-tuning": 25},
            rates=(2e-5,), gpu_gib=40, hub=("google-bert/bert-base-uncased",), sets=4,
            batch=40, passage_tokens=470, tokens=512, depth=100,
        ),
    },
)  # fmt: skip
