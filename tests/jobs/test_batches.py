"""What a fit trains on, and what it says of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from isometry.corpora.pairs.tasks import Pair
from isometry.encoders.text import TextEncoder
from isometry.jobs.batching import make_batches, read_rows
from isometry.learners.two_towers import TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka


class Teacher:
    def encode(self, texts: Any, role: str = "document", **_: Any) -> np.ndarray:
        random = np.random.default_rng(len(role))
        vectors = random.normal(size=(len(texts), 3))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Ranked:
    documents = tuple(f"d{row}" for row in range(24))

    def first_passages(self, rows: np.ndarray) -> list[str]:
        return [self.documents[row] for row in rows]


def test_as_many_are_said_to_be_left_out_as_training_hides(tiny: TextEncoder) -> None:
    ranked: Any = Ranked()
    teacher: Any = Teacher()
    pairs = [Pair(f"query {name}", name, "", name, "heading") for name in Ranked.documents]
    # Four epochs; two documents a cluster.
    made = make_batches(pairs, ranked, np.arange(24) // 2, teacher, size=6, steps=16, seed=0)
    rows = read_rows(made)
    towers = TwoTowers(
        tiny, Matryoshka(InfoNCE(0.05), MRL((tiny.dim,))), query_tokens=8, document_tokens=8
    )
    hidden = 0
    for batch in made["order"]:
        same = towers.collate([rows[row] for row in batch])["same"]
        hidden += int(same.sum()) - len(batch)
    facts = made["facts"]
    assert facts["unlabelled_answers"] == hidden > 0
    assert facts["share"] == round(hidden / facts["candidates"], 4)
