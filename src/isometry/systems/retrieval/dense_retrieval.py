"""A ladder from counting words to re-ranking, every rung measured on people's own questions.

The survey orders dense retrieval on four axes: architecture, training, indexing, integration. This
climbs along them: BM25; a bi-encoder as it is; both fused; the encoder tuned on headings and the
text below them, with the other sections of a batch as negatives; with sections that BM25 confuses
beside them; and with those of them left out that are likely answers. The last encoder's vectors
are then stored in fewer bytes, and its first results read once more by a cross-encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from isometry.compression.precision import round_trip
from isometry.compression.product_quantization import fit_product_quantizer
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.jobs.ranking import Rankings, fused_rankings, tune_fusion
from isometry.learners.pairwise_ranking import ListwiseRanking
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.systems.arms import contrast
from isometry.systems.rankers import (
    Asked,
    Ranker,
    by_reading,
    by_stored_vectors,
    by_vectors,
    by_words,
)
from isometry.systems.retrieval_study import FULL, MINIATURE, SMALL, AnyRun, data, measure
from isometry.systems.system import Arm, Gate, System
from isometry.training.negatives import first_negatives

Negatives = Callable[[AnyRun, int], Int[np.ndarray, "pairs k"] | None]


def word_vectors(run: AnyRun) -> Ranker:
    """What goes into the first layer, averaged."""
    encoder = run.encoder()
    del encoder.layers()[:]
    return by_vectors(run.cached(encoder))


def fused(run: AnyRun) -> Ranker:
    """Vectors and words; how much each counts is chosen on validation."""
    dense, held = by_vectors(run.pretrained), run.validation

    def sides(asked: Asked) -> tuple[list[str], Rankings, Rankings]:
        return asked.library.ids, dense(asked), by_words(asked)

    weight, _, _ = tune_fusion(*sides(held), held.relevance, given=True)
    return lambda asked: fused_rankings(*sides(asked), weight)


def confused(run: AnyRun, k: int) -> Int[np.ndarray, "pairs k"]:
    """What BM25 finds."""
    return first_negatives(run.train.candidates, k, run.generator("negatives"))


def denoised(run: AnyRun, k: int) -> Int[np.ndarray, "pairs k"]:
    """What BM25 finds and the pretrained encoder finds clearly worse."""
    return first_negatives(run.train.clear(run.pretrained), k, run.generator("negatives"))


def tuned(run: AnyRun, negatives: Negatives = denoised) -> CachedEncoder:
    """The encoder, trained on headings and sections."""
    scale = run.scale
    encoder = contrast(
        run,
        run.train.rows(negatives(run, scale.negatives)),
        Matryoshka(InfoNCE(0.05, a_to_b=1.0), MRL((run.pretrained.encoder.dim,))),
        batch=scale.batch,
        query_tokens=scale.query_tokens,
        document_tokens=scale.document_tokens,
    )
    return run.cached(encoder)


def codes(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """What product quantization with 48 bytes gives back, with as many codes as it can learn."""
    quantizer = fit_product_quantizer(vectors, 48, codes=min(256, len(vectors) // 39))
    return quantizer.decode(quantizer.encode(vectors))


def reranked(run: AnyRun) -> Ranker:
    """The tuned encoder, then a cross-encoder that was trained on the same headings."""
    scale, encoder = run.scale, tuned(run)
    reader = CrossEncoder.from_encoder(run.encoder(), run.seed)
    rows = run.train.lists(denoised(run, scale.candidates))
    order = run.batches("rerank", [(row.positive, row.query) for row in rows], scale.lists)
    run.fit("rerank", ListwiseRanking(reader, tokens=scale.pair_tokens), rows, order)
    score = partial(reader.score, tokens=scale.pair_tokens, precision=scale.precision)
    return by_reading(encoder, score, depth=scale.depth, weight=0.5)


system = System(
    title="Dense text retrieval: a measured ladder from BM25 to re-ranking",
    arxiv="2211.14876",
    claim="An encoder tuned on headings alone, with denoised negatives, finds the answers to"
    " people's questions more often than words do, and more often than it did before.",
    differs="Sections of Python's documentation, their headings and the questions of its FAQ stand"
    " in for MS MARCO, and MiniLM for BERT. No cross-encoder that was trained on relevance is at"
    " hand to denoise: the pretrained encoder leaves out what it finds more than 95 % as similar"
    " as the section itself. The cross-encoder that re-ranks learns from the same headings; its"
    " score counts half. Words search whole sections; in the small run vectors are of each one's"
    " first 256 tokens alone. The arms below the last encoder train it once more, to the same"
    " weights. Exact search against brute force and graphs against exact search are tests of their"
    " parts, named in the checklist; the full scale is longer training on the same corpus.",
    data=data,
    measure=measure,
    arms={
        "words": Arm("BM25", lambda _: by_words),
        "word vectors": Arm("the encoder without its layers", word_vectors),
        "zero-shot": Arm("the encoder as it is", lambda run: by_vectors(run.pretrained)),
        "fused": Arm("zero-shot and BM25, weighed on validation", fused),
        "in-batch": Arm(
            "tuned on headings", lambda run: by_vectors(tuned(run, lambda *_: None)), ("contrast",)
        ),
        "bm25 negatives": Arm(
            "tuned, against what BM25 finds too", lambda run: by_vectors(tuned(run, confused)),
            ("contrast",),
        ),
        "denoised": Arm(
            "tuned, likely answers left out", lambda run: by_vectors(tuned(run)), ("contrast",)
        ),
        "int8": Arm(
            "denoised; the first 100 by int8, their order by the vectors",
            lambda run: by_stored_vectors(
                tuned(run), partial(round_trip, precision="int8"), rescored=True
            ),
            ("contrast",),
        ),
        "pq": Arm(
            "denoised; by 48 bytes a vector", lambda run: by_stored_vectors(tuned(run), codes),
            ("contrast",),
        ),
        "re-ranked": Arm("denoised; the first 50 read again", reranked, ("contrast", "rerank")),
    },
    baseline="zero-shot",
    method="denoised",
    gates=(
        Gate("recall@10", 0.0, "zero-shot"),
        Gate("recall@10", 0.05, "words"),
        Gate("recall@10", -0.01, "zero-shot", arm="fused"),
        Gate("recall@10", -0.01, "words", arm="fused"),
        Gate("recall@10", -0.01, "denoised", arm="int8"),
        Gate("mrr@10", 0.0, "in-batch", arm="bm25 negatives", report_only=True),
        Gate("mrr@10", 0.0, "bm25 negatives", arm="denoised", report_only=True),
        Gate("recall@10", -0.01, "denoised", arm="pq", report_only=True),
        Gate("mrr@10", 0.0, "denoised", arm="re-ranked", report_only=True),
    ),
    scales={"miniature": MINIATURE, "small": SMALL, "full": FULL},
)  # fmt: skip
