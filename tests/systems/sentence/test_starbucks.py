from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from isometry.corpora.packaged.word_pairs import WordPairs
from isometry.corpora.pairs.definitions import Definition
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Diagonal, Matryoshka, Random2D
from isometry.systems.catalogue import find
from isometry.systems.nested_study import (
    Held,
    NestedRun,
    NestedScale,
    Rows,
    alone,
    measure,
    measure_what_there_is,
)
from isometry.systems.run import Run
from isometry.training.trainer import Batches, Trainer
from isometry.training.unique_batches import unique_batches

SIZES = ((1, 8), (2, 32))
TOKENS = 16
STEPS = 6
# Ten of WordSim-353's pairs.
PAIRS = WordPairs(
    [
        "tiger",
        "tiger",
        "book",
        "computer",
        "computer",
        "plane",
        "train",
        "telephone",
        "media",
        "drug",
    ],
    [
        "cat",
        "tiger",
        "paper",
        "keyboard",
        "internet",
        "car",
        "car",
        "communication",
        "radio",
        "abuse",
    ],
    np.array([7.35, 10.0, 7.46, 7.62, 7.58, 5.77, 6.31, 7.5, 7.42, 6.85]),
)


@pytest.fixture
def rows(pairs: list[tuple[str, str]]) -> Rows:
    return [Definition(words, code, str(row)) for row, (words, code) in enumerate(pairs[:40])]


@pytest.fixture
def run(rows: Rows, tiny_folder: Path, tmp_path: Path) -> NestedRun:
    scale = NestedScale(
        model=str(tiny_folder), steps={"contrast": STEPS}, rates=(1e-3,), precision="float32",
        trained=40, held=8, sizes=SIZES, layers=2, widths=(8,), batch=8, tokens=TOKENS,
    )  # fmt: skip
    folders = {"folder": tmp_path / "run", "shared": tmp_path / "shared"}
    return Run(scale, rows, Held(rows[:8], PAIRS), seed=3, rate=1e-3, **folders)


@pytest.mark.parametrize("place", [1, 2])
def test_a_size_alone_is_trained_as_the_encoder_that_was_cut_to_it_before(
    run: NestedRun, rows: Rows, tiny: TextEncoder, tmp_path: Path, place: int
) -> None:
    layer, dim = SIZES[place - 1]
    alone_here = alone("", place).make(run)
    assert len(alone_here.layers()) == layer
    small = truncate(tiny, layer, dim)
    before = small.encode([row.text for row in rows])
    freeze_below(small, 0)
    for part in list(small.model)[1:]:
        part.requires_grad_(False)  # the cut is no layer of the model
    learner = TwoTowers(
        small, Matryoshka(InfoNCE(0.05), MRL((dim,))), query_tokens=TOKENS, document_tokens=TOKENS
    )
    train = [PairRow(row.text, row.entry, row.key) for row in rows]
    order = list(unique_batches([(row.key, row.query) for row in train], 8, STEPS, 3))
    Trainer(learner, Batches(train, order), tmp_path / "small", learning_rate=1e-3).run()

    with torch.no_grad():
        batch = alone_here.collate([row.text for row in rows], "document")
        found = alone_here.pooled_layers(batch)[layer - 1][:, :dim].numpy()
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    expected = small.encode([row.text for row in rows])
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(expected - before).max() > 0.02


def test_every_size_is_judged_by_the_encoder_that_is_cut_to_it(
    run: NestedRun, rows: Rows, tiny: TextEncoder
) -> None:
    found = measure(run, tiny, Held(rows, PAIRS))
    expected: list[np.ndarray] = []
    for size in SIZES:
        small = truncate(tiny, *size)
        asked = small.encode([row.text for row in rows], "query", tokens=TOKENS)
        answers = small.encode([row.entry for row in rows], tokens=TOKENS)
        scores = asked @ answers.T
        ahead = scores - np.diag(scores)[:, None]
        # Of two rows with the same word the first one counts as found first.
        tied = np.tril(abs(ahead) <= 1e-6, -1)
        ranks = ((ahead > 1e-6) | tied).sum(axis=1) + 1
        expected.append(np.where(ranks <= 10, 1 / ranks, 0.0))
    np.testing.assert_allclose(found["mrr@10, size 1 of 2"], expected[0])
    np.testing.assert_allclose(found["mrr@10, whole"], expected[1])
    np.testing.assert_allclose(found["mrr@10, shallow"], expected[0])
    assert found["share of the whole at size 1 of 2"] == pytest.approx(
        expected[0].mean() / expected[1].mean()
    )
    assert abs(expected[0] - expected[1]).max() > 0.1


def test_an_encoder_with_fewer_layers_is_judged_at_the_sizes_that_it_has(
    run: NestedRun, rows: Rows, tiny: TextEncoder
) -> None:
    held = Held(rows, PAIRS)
    whole = measure_what_there_is(run, tiny, held)
    assert whole.keys() == measure(run, tiny, held).keys()
    shallow = measure_what_there_is(run, truncate(tiny, 1), held)
    assert list(shallow) == ["mrr@10, size 1 of 2"]
    size = "mrr@10, size 1 of 2"
    np.testing.assert_allclose(shallow[size], whole[size], atol=1e-6)
    assert run.scale.sizes == SIZES


@pytest.mark.parametrize("slug", ["2dmse", "starbucks"])
def test_the_gates_stand_at_every_scale(slug: str) -> None:
    """Sizes are other at the full scale; a gate on a figure that is missing there fails late."""
    (entry,) = find(slug)
    for scale in entry.load().scales.values():
        assert len(scale.sizes) == 6


def test_word_pairs_are_compared_at_half_the_layers_by_vectors_cut_and_then_compared(
    run: NestedRun, rows: Rows, tiny: TextEncoder
) -> None:
    held = Held(rows, PAIRS)
    found = measure(run, tiny, held)
    layer, dim = SIZES[0]
    cosines = []
    for encoder in (tiny, truncate(tiny, layer, dim)):
        first, second = (encoder.encode(side) for side in (PAIRS.first, PAIRS.second))
        cosines.append((first * second).sum(axis=1))
    whole, half = (spearmanr(values, PAIRS.gold).statistic for values in cosines)
    assert found["word pairs, whole"] == pytest.approx(whole)
    share = found["word pairs, share of the whole at size 1 of 2"]
    assert share == pytest.approx(half / whole) and abs(half - whole) > 0.01


@pytest.mark.parametrize("slug", ["2dmse", "starbucks"])
def test_arms_are_trained_under_the_plans_that_they_name(
    slug: str, run: NestedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: dict[str, Any] = {}
    orders: list[Any] = []
    current = ""

    def fit(_: Any, stage: str, learner: TwoTowers, rows: Any, order: Any) -> None:
        assert stage == "contrast" and len(rows) == 40
        plans[current] = learner.objective.plan
        orders.append(order)

    monkeypatch.setattr(Run, "fit", fit)
    (entry,) = find(slug)
    system = entry.load()
    for name, arm in system.arms.items():
        current = name
        if arm.stages:
            arm.make(run)
    assert all(order == orders[0] for order in orders)
    assert plans["last layer"] == MRL((32,))
    drawn = plans["2dmse"]
    assert isinstance(drawn, Random2D) and (drawn.layers, drawn.seed, drawn.distil) == (2, 3, 1.0)
    assert drawn.dims == (8,)
    # The widths of 2DMSE's page, or those of the sizes that Starbucks serves; the whole is one.
    assert plans["matryoshka"] == MRL((8, 32))
    if slug == "starbucks":
        assert plans["starbucks"] == Diagonal(SIZES) and Diagonal(SIZES).distil == 0.3
        for place in (1, 2):
            assert plans[f"size {place} alone"] == MRL((SIZES[place - 1][1],))
    gates = [(gate.metric, system.arm_of(gate), gate.versus) for gate in system.gates]
    assert (
        gates[0]
        == {
            "2dmse": ("mrr@10, shallow", "2dmse", "matryoshka"),
            "starbucks": ("mrr@10, size 1 of 6", "starbucks", "2dmse"),
        }[slug]
    )
