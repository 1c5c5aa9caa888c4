from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isometry.evaluation.nested import layer_vectors
from isometry.learners.layer_pooling import PooledClasses, PooledPairs
from isometry.objectives.infonce import InfoNCE
from isometry.pooling.multi_layer import last_layer
from isometry.systems.pooling_study import (
    BOTH,
    CLASSES,
    FILE,
    LENGTH,
    PART,
    TASKS,
    WORDS,
    LayerScale,
    Poolers,
    Texts,
    data,
    layers_of,
    measure,
)
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Splits

STATES = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def system() -> AnySystem:
    return importlib.import_module("isometry.systems.sentence.pooling_attention").system


@pytest.fixture(scope="module")
def scale(tiny_folder: Path) -> LayerScale:
    return LayerScale(
        model=str(tiny_folder), steps=dict.fromkeys(TASKS, 1), precision="float32", trained=80,
        held=60, pairs=9, latents=2, heads=2, head_dim=4, batch=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def splits(scale: LayerScale) -> Splits[Texts, Texts]:
    return data(scale)


def run_of(
    scale: LayerScale, splits: Splits[Texts, Texts], folder: Path, seed: int = 0
) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation,
        seed=seed, rate=1e-2, folder=folder / "own", shared=folder,
    )  # fmt: skip


def test_no_synset_stands_on_two_sides_and_choices_see_no_word_pairs(
    splits: Splits[Texts, Texts],
) -> None:
    sides = (splits.train, splits.validation, splits.test)
    keys = [{row.key for row in (*side.words, *side.glosses)} for side in sides]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert [len(side.pairs) for side in sides] == [0, 0, 2]


def test_classes_are_what_wordnet_says(splits: Splits[Texts, Texts]) -> None:
    train, test = splits.train, splits.test
    for side in (train, test):
        parts = Counter(row.key[-1] for row in side.glosses)
        assert set(parts) == set("nvar") and len(set(parts.values())) == 1
        labels = side.labels()
        assert [("nvar"[label]) for label in labels[PART]] == [row.key[-1] for row in side.glosses]
        assert [side.known[label] for label in labels[FILE]] == side.files
    # Buckets are by the training texts' lengths, a quarter or so in each, longer ones later.
    found = train.labels()[LENGTH]
    assert min(Counter(found).values()) > len(found) / 8
    lengths = [len(row.text.split()) for row in train.glosses]
    for one, other, first, second in zip(lengths, lengths[1:], found, found[1:], strict=False):
        assert (one < other) <= (first <= second) and (one == other) <= (first == second)
    assert (train.bounds, train.known) == (test.bounds, test.known)


def test_layers_are_those_of_the_encoder(
    tiny: Any, scale: LayerScale, splits: Splits[Texts, Texts], tmp_path: Path
) -> None:
    texts = ["a small animal", "to run", "a small animal"]
    found = layers_of(run_of(scale, splits, tmp_path), texts)
    assert found.shape == (3, 2, 32)
    np.testing.assert_allclose(
        found, layer_vectors(tiny, texts, tokens=scale.tokens).transpose(1, 0, 2), atol=1e-5
    )


def test_the_control_sees_the_last_layer_alone() -> None:
    found = last_layer(STATES)
    assert found.shape == STATES.shape
    assert all(np.array_equal(found[:, layer], STATES[:, -1]) for layer in range(3))


def test_arms_differ_in_their_pooler_and_what_it_sees_alone(
    system: AnySystem, scale: LayerScale, splits: Splits[Texts, Texts], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fitted: dict[str, dict[str, tuple[Any, Any, Any]]] = {}
    current = ""

    def fit(_: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        assert len(order) == scale.steps[stage]
        fitted.setdefault(current, {})[stage] = learner, rows, order

    monkeypatch.setattr(Run, "fit", fit)
    for name, arm in system.arms.items():
        current = name.removesuffix(", for words")
        known = set(fitted.get(current, ()))
        arm.make(run_of(scale, splits, tmp_path))
        assert set(fitted[current]) - known == set(arm.stages)
    sizes = {
        name: [sum(part.numel() for part in each.pooler.parameters()) for each, *_ in own.values()]
        for name, own in fitted.items()
    }
    assert sizes["last layer"] == sizes["multi-layer"]
    assert sizes["layer mix"] == [3] * 4
    assert [a - b for a, b in zip(sizes["multi-layer"], sizes["multi-layer, no order"],
                                  strict=False)] == [2 * 32] * 3  # fmt: skip
    for task in TASKS:
        method, rows, order = fitted["multi-layer"][task]
        control, theirs, same = fitted["last layer"][task]
        assert order == same
        if task == WORDS:
            assert np.array_equal(theirs[5].query[0], rows[5].query[-1])
            assert np.array_equal(theirs[5].document[0], rows[5].document[-1])
            assert not np.array_equal(rows[5].query[0], rows[5].query[-1])
        else:
            assert [row.label for row in theirs] == [row.label for row in rows]
            assert np.array_equal(theirs[5].layers[0], rows[5].layers[-1])
        for one, other in zip(method.parameters(), control.parameters(), strict=True):
            assert torch.equal(one, other)
        # Heads begin alike, whatever pooler is before them.
        if task != WORDS:
            for own in fitted.values():
                assert torch.equal(own[task][0].head.weight, method.head.weight)


def test_figures_of_poolers_that_know(
    scale: LayerScale, splits: Splits[Texts, Texts], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    held = splits.test
    labels = held.labels()
    code: dict[str, int] = {}
    for row, each in enumerate(held.words):
        code[each.text] = code[each.entry] = row

    class First(nn.Module):
        """The lowest layer, which the texts below are written into."""

        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, layers: Tensor) -> Tensor:
            return layers[0]

    def layers(_: Any, texts: Any) -> np.ndarray:
        gloss = {each.text: row for row, each in enumerate(held.glosses)}
        rows = np.zeros((len(texts), 2, 400), dtype=np.float32)
        for row, text in enumerate(texts):
            rows[row, 0, code.get(text, 100)] = 1
            if text in gloss:
                rows[row, 0, 200 + labels[PART][gloss[text]]] = 2
            if text in code:
                rows[row, 0, 300 + labels[FILE][code[text]]] = 3
        return rows

    monkeypatch.setattr("isometry.systems.pooling_study.layers_of", layers)
    heads: dict[str, nn.Module] = {task: nn.Linear(400, 40, bias=False) for task in TASKS[1:]}
    for task, start in ((PART, 200), (FILE, 300), (LENGTH, 200)):
        nn.init.zeros_(heads[task].weight)  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            heads[task].weight[:, start : start + 40] = torch.eye(40)  # pyright: ignore[reportIndexIssue]
    model = Poolers(
        lambda states: states,
        PooledPairs(First(), InfoNCE()),
        {task: PooledClasses(First(), head) for task, head in heads.items()},
    )
    found = {
        name: np.asarray(value)
        for name, value in measure(run_of(scale, splits, tmp_path), model, held).items()
        if name not in held.pairs
    }
    assert found["mrr@10"].tolist() == [1.0] * len(held.words)
    assert found[PART].tolist() == [1.0] * len(held.glosses)
    assert found[FILE].tolist() == [1.0] * len(held.words)
    # The head of the length told the part of speech.
    right = np.array(labels[PART]) == np.array(labels[LENGTH])
    assert found[LENGTH].tolist() == right.tolist()
    assert found[BOTH].tolist() == ((1 + right) / 2).tolist()


def test_the_gates_are_those_of_the_page(system: AnySystem) -> None:
    decide = [gate for gate in system.gates if not gate.report_only]
    assert [
        (gate.metric, system.arm_of(gate), gate.at_least, gate.versus) for gate in decide
    ] == [
        ("part of speech and length", "multi-layer", 0.03, "last layer"),
        ("mrr@10", "multi-layer, for words", -0.01, "last layer, for words"),
    ]  # fmt: skip
    small = system.scales["small"]
    assert (small.seeds, small.batch) == (3, 128)
    assert (small.latents, small.heads, small.head_dim) == (8, 4, 32)
    assert small.steps == dict.fromkeys(TASKS, 200)


def test_poolers_of_words_are_compared_at_the_rate_that_is_best_for_words(
    system: AnySystem,
) -> None:
    for gate in system.gates:
        for name in filter(None, (system.arm_of(gate), gate.versus)):
            words = gate.metric in ("mrr@10", "simlex-999", "wordsim-353")
            assert system.chooser(name).metric == ("mrr@10" if words else BOTH), name
    for name, arm in system.arms.items():
        assert arm.stages == ((WORDS,) if name.endswith(", for words") else CLASSES)
