"""Pairs of query and passage made out of the structure of plain documents (ICT, BFS, WLP).

A bi-encoder needs pairs of a query and the passage that answers it. Most owners of documents have
none, and masked language modelling, which needs none, makes a poor retriever. Three tasks make
pairs of any pages that link to each other: a sentence asks for the passage that it was taken out of
(inverse cloze), a sentence of a page's first section for another section of the page (body first),
and such a sentence for a section of a page that links to it (link prediction). An encoder is
pretrained on their mix, against the other passages of each batch; few labels follow.
"""

from __future__ import annotations

from isometry.corpora.pairs.structure import BodyFirst, InverseCloze, LinkPrediction, Mix
from isometry.encoders.surgery.bag_of_words import bag_of_words
from isometry.encoders.surgery.fresh_layers import fresh_layers
from isometry.encoders.text import TextEncoder
from isometry.systems.pages_study import (
    STAGES,
    PagesRun,
    PagesScale,
    by_masked_words,
    by_structure,
    data,
    measure,
    tuned,
    words,
)
from isometry.systems.system import Arm, Gate, System

MIX = Mix((InverseCloze(), BodyFirst(), LinkPrediction()), (1.0, 1.0, 1.0))


def body(run: PagesRun) -> TextEncoder:
    """Word vectors of the pretrained encoder below layers that know nothing yet."""
    return fresh_layers(run.encoder(), run.scale.layers, run.seed)


def bag(run: PagesRun) -> TextEncoder:
    """The mean of the same word vectors, and two dense layers that know nothing yet."""
    encoder = run.encoder()
    return bag_of_words(encoder, encoder.dim, encoder.dim, run.seed)


system = System(
    title="Retrieval pretraining: pairs out of the structure of pages (ICT, BFS, WLP)",
    arxiv="2002.03932",
    claim="Before the same few labels, pairs that the structure of pages gives make a much better"
    " retriever than masked words of the same pages or nothing do; their mix is no worse than any"
    " one task, and beside BM25 it finds more than BM25 alone.",
    differs="Python's manual stands in for Wikipedia, the questions of its FAQ, which is trained"
    " on in no way, for those of SQuAD and Natural Questions, and 200 headings with the text below"
    " them for labelled pairs. MiniLM has learned retrieval from a billion pairs already: of it"
    " the word and position vectors are kept, frozen, and two layers are drawn anew, so that no"
    " arm has seen a pair. Vectors are means compared by the cosine at a temperature of 0.05; the"
    " paper takes products of projected [CLS] states. Sections of the passage's page, and of the"
    " page that asks, are no negatives of a BFS or WLP query. There is no correction by log Q, as"
    " a batch holds no section twice and the rest is nearly uniform. Labels that follow"
    " pretraining have a lower rate of their own, as in the paper, the one that validation prefers"
    " for labels alone: an earlier run at one rate for both was stopped after its test had shown"
    " what it undid (mix .244, masked words .193). For time, the small run trains on the first 96"
    " tokens of a section, and searches the answers and 1,000 other sections; an earlier one, on"
    " 128 and among 2,000, took longer than an hour (mix .421, masked words .290). Words search"
    " these whole, vectors the first 256 tokens of each."
    " How much both count is chosen by headings of held-out pages: people wrote them, and the"
    " sections that are searched for them do not show them. That it beats BM25 alone, as the paper"
    " claims, is not asked of minutes of training. The full scale is a longer one on the same"
    " manual, since no published set keeps Wikipedia's links.",
    data=data,
    measure=measure,
    arms={
        "words": Arm("BM25", words),
        "none": Arm("the labels alone", lambda run: tuned(run, body(run)), STAGES[1:]),
        "mlm": Arm("masked words, then the labels", by_masked_words(body), STAGES),
        "ict": Arm("inverse cloze, then the labels", by_structure(body, InverseCloze()), STAGES),
        "bfs": Arm("body first, then the labels", by_structure(body, BodyFirst()), STAGES),
        "wlp": Arm("links, then the labels", by_structure(body, LinkPrediction()), STAGES),
        "mix": Arm("a third of each, then the labels", by_structure(body, MIX), STAGES),
        "bow-mlp": Arm("as mix, without a transformer", by_structure(bag, MIX), STAGES),
    },
    baseline="mlm",
    method="mix",
    gates=(
        Gate("recall@10", 0.10, "mlm"),
        Gate("recall@10", 0.10, "none"),
        Gate("recall@10", -0.01, "ict"),
        Gate("recall@10", -0.01, "bfs", arm="ict"),
        Gate("recall@10", -0.01, "wlp", arm="ict"),
        Gate("recall@10, with words", 0.02, "words"),
        Gate("recall@10, no labels", 0.10, "mlm", report_only=True),
        Gate("recall@10", 0.0, "bow-mlp", report_only=True),
        Gate("recall@10", 0.0, "words", report_only=True),
    ),
    scales={
        "miniature": PagesScale(
            model="packaged:minilm", steps={"pretraining": 2, "fine-tuning": 2}, seeds=1,
            layers=1, batch=8, sections=500, rounds=1, query_tokens=16, document_tokens=32,
            labelled=16, asked=8, others=8,
        ),
        "small": PagesScale(
            model="packaged:minilm", steps={"pretraining": 80, "fine-tuning": 20},
            rates=(3e-4, 1e-3), document_tokens=96, others=1_000,
        ),
        "full": PagesScale(
            model="google-bert/bert-base-uncased",
            steps={"pretraining": 2_000, "fine-tuning": 100}, rates=(5e-5, 1e-4, 3e-4),
            gpu_gib=70, hub=("google-bert/bert-base-uncased",), layers=12, batch=256, rounds=40,
            query_tokens=64, document_tokens=288,
        ),
    },
)  # fmt: skip
