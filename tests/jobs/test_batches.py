"""What a fit trains on, and what it says of it."""

from __future__ import annotations

import zlib
from typing import Any, cast

import numpy as np

from isometry.corpora.curation.dedup import normalize
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


class Reader:
    """Gives every text a direction of its own."""

    def encode(self, texts: Any, *_: Any, **__: Any) -> np.ndarray:
        drawn = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=4) for text in texts]
        return np.array([vector / np.linalg.norm(vector) for vector in drawn])


def test_a_row_knows_what_else_answers_it_and_no_batch_asks_the_same_twice() -> None:
    ranked, teacher, names = cast(Any, Ranked()), cast(Any, Reader()), Ranked.documents
    pairs = [
        Pair(f"Query {n // 4}" if n % 2 else f"query  {n // 4}", names[n % 24], f"Head {n}",
             f"body {n}", "heading")
        for n in range(72)
    ]  # fmt: skip
    clusters = np.arange(24) // 2
    made = make_batches(pairs, ranked, clusters, teacher, size=4, steps=12, seed=0)
    rows, facts = read_rows(made), made["facts"]
    assert 24 < len(rows) == facts["pairs"] < len(pairs)
    number = {f"{pair.header}\n{pair.body}": n for n, pair in enumerate(pairs)}
    place = [number[row.document] for row in rows]
    assert [row.key for row in rows] == [clusters[n % 24] for n in place]
    scores = (
        teacher.encode([row.query for row in rows])
        @ teacher.encode([names[n % 24] for n in place]).T
    )
    expected: list[set[Any]] = [set() for _ in rows]
    for batch in made["order"]:
        assert len({rows[row].key for row in batch}) == len(batch)
        assert len({normalize(rows[row].query) for row in batch}) == len(batch)
        for row in batch:
            expected[row] |= {rows[n].key for n in batch if scores[row, n] > scores[row, row]}
    assert [row.answers for row in rows] == expected
    assert facts["candidates"] == sum(len(batch) * (len(batch) - 1) for batch in made["order"])
