"""What there is to do in a fit, counted and measured, and the plan that follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isometry.corpora.documents import passage
from isometry.corpora.pairs.tasks import Pair, SummaryBody
from isometry.encoders.sizes import Size
from isometry.encoders.surgery.prompts import prompt_tokens
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retention import gloss_texts
from isometry.jobs.preparation import Prepared
from isometry.jobs.ranking import Collection
from isometry.learners.two_towers import PairRow
from isometry.training.budget import (
    HALF,
    HALF_OR_ALL,
    Workload,
    make_plan,
    suitable_temperature,
)
from isometry.training.plan import Plan

# So many pairs, and tokens of each document, tell how far an encoder spreads its vectors.
_SAMPLE = 64


def plan_for(
    encoder: TextEncoder,
    data: Prepared,
    pairs: Sequence[Pair],
    ranked: Collection,
    served: Collection,
    *,
    minutes: float,
    seed: int,
    spent: float,
    nested: Sequence[Size] = (),
) -> Plan:
    """Measures this machine on a fit's own texts, and plans it.

    Args:
        encoder: The base.
        data: The source, ready.
        pairs: What may be trained on.
        ranked: The documents as the evaluation ranks them.
        served: The documents as the finished Space has them.
        minutes: For everything but the final index.
        seed: Of every random choice.
        spent: Seconds that went by before.
        nested: The smaller sizes to train.
    """
    rows = [PairRow(pair.query, passage(pair.header, pair.body), pair.document) for pair in pairs]
    asked = [query for part in data.questions.values() for query in part.queries]
    number = {document: row for row, document in enumerate(ranked.documents)}
    trained = np.unique([number[pair.document] for pair in pairs])
    lengths = np.array(encoder.lengths(ranked.passages, "document"))
    work = Workload(
        rows=rows,
        passage_tokens=lengths.tolist(),
        first_tokens=lengths[np.searchsorted(ranked.owner, trained)].tolist(),
        query_lengths=encoder.lengths(asked + [row.query for row in rows], "query"),
        queries=max(len(part.queries) for part in data.questions.values()),
        served_tokens=sum(encoder.lengths(served.passages, "document")),
        probe_tokens=sum(encoder.lengths(gloss_texts(), "document")),
        documents=len(data.documents),
        spent=spent,
    )
    drawn = [rows[row] for row in np.random.default_rng(seed).permutation(len(rows))[:_SAMPLE]]
    temperature = suitable_temperature(
        encoder.encode([row.query for row in drawn], "query"),
        encoder.encode(
            [row.document for row in drawn], tokens=_SAMPLE + prompt_tokens(encoder, "document")
        ),
    )
    # A summary is how a person describes the text; a heading or a sentence is part of it.
    own_words = data.given or data.facts["pairs"]["task"] == SummaryBody.name
    return make_plan(
        encoder,
        work,
        minutes=minutes,
        seed=seed,
        temperature=temperature,
        alphas=HALF_OR_ALL if own_words else HALF,
        nested=nested,
    )
