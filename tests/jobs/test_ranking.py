from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from isometry.core.progress import progress_shown
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import METRICS
from isometry.jobs.ranking import (
    MOST_CHUNKS,
    Collection,
    Rankings,
    collection,
    cut_into_passages,
    dense_rankings,
    reread_rankings,
    row_against,
    tune_fusion,
)
from isometry.report.tables import render_comparison
from isometry.search.fusion import USUAL_WEIGHT


def passages() -> Collection:
    """Documents a (2 passages), b, c (3)."""
    names = ["a", "a", "b", "c", "c", "c"]
    chunks = pa.table(
        {
            "document": names,
            "position": [0, 1, 0, 0, 1, 2],
            "text": [f"{name}{row}" for row, name in enumerate(names)],
        }
    )
    return collection(["a", "b", "c"], chunks)


def test_a_part_of_a_collection_keeps_the_numbers_of_its_documents() -> None:
    whole = passages()
    part = whole.only(np.array([True, False, True]))
    assert part.passages == ["a0", "a1", "c3", "c4", "c5"]
    assert part.owner.tolist() == [0, 0, 2, 2, 2]
    assert (part.size, whole.size) == (2, 3)
    assert part.documents == whole.documents
    assert whole.only(np.ones(3, dtype=bool)) is whole


def test_the_first_passage_of_a_document_is_the_one_it_begins_with() -> None:
    whole = passages()
    assert whole.first_passages(np.array([2, 0])) == ["c3", "a0"]
    assert whole.only(np.array([False, True, True])).first_passages(np.array([2])) == ["c3"]


def test_a_line_of_a_comparison_by_hand() -> None:
    zeros = dict.fromkeys(METRICS, np.zeros(4))
    first = {**zeros, "ndcg@10": np.array([0.5, 0.5, 0.5, 0.5])}
    scores = {**zeros, "ndcg@10": np.array([0.7, 0.7, 0.7, 0.7])}
    row = row_against("b", "dense", scores, first, [1, 1, 5, 1])
    assert list(row) == [
        "model", "mode", *METRICS, "difference", "low", "high", "queries", "groups",
    ]  # fmt: skip
    assert row["groups"] == 2
    assert (row["model"], row["mode"], row["queries"]) == ("b", "dense", 4)
    assert row["ndcg@10"] == pytest.approx(0.7) and row["mrr@10"] == 0
    assert [row[name] for name in ("difference", "low", "high")] == pytest.approx([0.2] * 3)
    # One page, or one query, says nothing about others.
    alone = row_against("b", "dense", scores, first, [1, 1, 1, 1])
    assert alone["difference"] == pytest.approx(0.2) and alone["low"] is alone["high"] is None
    table: Any = render_comparison([row, alone])
    assert [*table.columns[-1].cells] == ["+20.0 [+20.0, +20.0]", "+20.0"]


def test_only_peoples_queries_move_the_weight_of_the_fusion() -> None:
    """Words put the answer first, vectors last; that helps words where people asked."""
    names = ["a", "b", "c"]
    order = np.tile([0, 1, 2], (200, 1))
    scores = np.tile([3.0, 2.0, 1.0], (200, 1))
    answers = [{2: 1}] * 200
    dense, lexical = Rankings(order, scores), Rankings(order[:, ::-1], scores)
    weight, best, grid = tune_fusion(names, dense, lexical, answers, given=True)
    assert best is not None and best < 0.5
    assert best < weight < USUAL_WEIGHT
    assert abs(weight - best) < abs(USUAL_WEIGHT - weight)
    made, none, same = tune_fusion(names, dense, lexical, answers, given=False)
    assert (made, none) == (USUAL_WEIGHT, None)
    assert same == grid
    assert grid[0]["ndcg@10"] == 1 and grid[-1]["ndcg@10"] == 0.5


VECTORS = {
    "a0": (1.0, 0.0), "a1": (0.0, 1.0), "b2": (0.6, 0.8), "c3": (0.0, -1.0), "c4": (-1.0, 0.0),
    "c5": (0.8, 0.6), "east": (1.0, 0.0), "north": (0.0, 1.0),
}  # fmt: skip


class Drawn:
    """An encoder to whom every text is a point of a plane."""

    def encode(self, texts: Sequence[str], *_: str, **__: str) -> np.ndarray:
        return np.array([VECTORS[text] for text in texts])


def test_the_first_documents_are_read_at_the_passage_that_was_found() -> None:
    encoder, queries = cast("CachedEncoder", Drawn()), ["east", "north"]
    seen: list[tuple[str, str]] = []

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        seen.extend(pairs)
        return np.array([{"a0": 1.0, "a1": 3.0, "b2": 2.0, "c5": 5.0}[text] for _, text in pairs])

    def read(depth: int, weight: float) -> Rankings:
        seen.clear()
        return reread_rankings(encoder, passages(), queries, score, depth=depth, weight=weight)

    found = read(2, 1.0)
    assert found.order[:, :4].tolist() == [[2, 0, 1, -1], [0, 1, 2, -1]]
    assert seen == [("east", "a0"), ("east", "c5"), ("north", "a1"), ("north", "b2")]
    assert found.scores[0, :2].tolist() == [5.0, 1.0]
    # Those that were not read stay behind, in their order.
    assert (np.diff(found.scores[:, :3]) < 0).all()
    dense = dense_rankings(encoder, passages(), queries)
    assert read(3, 0.0).order.tolist() == dense.order.tolist()
    assert len(seen) == 6


def test_what_is_beyond_the_most_passages_is_said(
    small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = TextEncoder.load(small_folder).tokenizer
    texts = [("", "heap " * 32 * MOST_CHUNKS), ("", "heap " * 32)]
    with progress_shown(True):
        chunks = cut_into_passages(["long", "short"], texts, tokenizer, 32)
    assert chunks["document"].to_pylist().count("long") == MOST_CHUNKS
    assert f"1 of 2 documents have more than {MOST_CHUNKS}" in capsys.readouterr().err
    with progress_shown(True):
        cut_into_passages(["short"], texts[1:], tokenizer, 32)
    assert "more than" not in capsys.readouterr().err
