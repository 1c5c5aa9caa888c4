from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.corpora.readers.concepts import Concepts, ConceptText, Edge
from isometry.learners.concept_towers import ConceptTowers
from isometry.systems.concept_study import (
    ConceptScale,
    Held,
    Item,
    Pair,
    Training,
    Vocabulary,
    data,
    frequent_concepts,
    items_of,
    measure,
    related_glosses,
)
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Splits


@pytest.fixture(scope="module")
def system() -> AnySystem:
    return importlib.import_module("isometry.systems.sentence.sesa").system


@pytest.fixture(scope="module")
def scale(tiny_folder: Path) -> ConceptScale:
    return ConceptScale(
        model=str(tiny_folder), steps={"heads": 2}, precision="float32", trained=300, held=60,
        concepts=20, least=5, batch=16, kept=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def splits(scale: ConceptScale) -> Splits[Training, Held]:
    return data(scale)


def run_of(
    scale: ConceptScale, splits: Splits[Training, Held], folder: Path, seed: int = 0
) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation,
        seed=seed, rate=1e-2, folder=folder / "own", shared=folder,
    )  # fmt: skip


def small_concepts() -> Concepts:
    """A tree: thing over a, b, c; a over a1 to a4; two synsets with one gloss, one alone."""
    up = {"a": "thing", "b": "thing", "c": "thing", "a1": "a", "a2": "a", "a3": "a", "a4": "a"}
    texts = [ConceptText(f"{key}-n", "en", "name", key) for key in ("thing", *up)]
    texts += [
        ConceptText(f"{key}-n", "en", "definition", "the same" if key in "bc" else f"gloss {key}")
        for key in ("thing", *up)
    ]
    texts += [ConceptText("run-v", "en", "definition", "to run")]
    edges = [Edge(f"{key}-n", "is_a", f"{parent}-n") for key, parent in up.items()]
    edges += [Edge(f"{parent}-n", "hyponym", f"{key}-n") for key, parent in up.items()]
    edges += [Edge(f"{key}-n", "category", "noun.a") for key in ("thing", *up)]
    edges += [Edge("a1-n", "part_of", "thing-n"), Edge("a1-n", "derivation", "run-v")]
    return Concepts([*texts, ConceptText("noun.a", "en", "name", "a")], edges)


def test_a_pair_is_linked_by_a_pointer_that_leads_neither_up_nor_down_else_siblings() -> None:
    pairs = related_glosses(small_concepts(), 9)
    found = {frozenset((pair.query.above[0], pair.document.above[0])) for pair in pairs}
    # Of the other three siblings, one has no partner left; b and c have one gloss, so a has none.
    assert frozenset(("a1-n", "thing-n")) in found
    (other,) = found - {frozenset(("a1-n", "thing-n"))}
    assert other < {"a2-n", "a3-n", "a4-n"}
    above = {item.above[0]: item.above for item in items_of(pairs)}
    assert above["a1-n"] == ("a1-n", "a-n", "thing-n", "noun.a")
    assert above["thing-n"] == ("thing-n", "noun.a")


def test_concepts_are_frequent_and_those_of_the_same_glosses_one() -> None:
    def item(*above: str) -> Item:
        return Item("text", (f"own{len(above)}", *above))

    names = ("big", "low", "high", "rare", "other")
    texts = [ConceptText(key, "en", "name", "x" if key == "low" else key) for key in names]
    texts += [ConceptText("low", "en", "definition", "a gloss")]
    texts += [ConceptText(f"noun.{name}", "en", "name", name) for name in ("x", "empty")]
    edges = [Edge("a", "category", "noun.x"), Edge("b", "category", "noun.empty")]
    # "low" and "high" have the same glosses, and "big" has all.
    pairs = [
        Pair(item("low", "high", "big", "noun.x"), item("low", "high", "big", "noun.x")),
        Pair(item("other", "big", "noun.x"), item("rare", "other", "big", "noun.x")),
    ]
    scale = ConceptScale(model="none", steps={}, trained=2, held=1, least=2, most=0.5)
    found = frequent_concepts(Concepts(texts, edges), pairs, scale)
    assert found.keys == ("noun.x", "low", "other")
    assert found.names == ("x (noun.x)", "x (low)", "other")
    assert found.texts == ("x", "x; a gloss", "other")
    assert found.tags(pairs[0].query) == (0, 1)
    assert found.marks(items_of(pairs)).tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1]]
    # The synset itself is no concept above it.
    assert Vocabulary(("a",), ("a",), ("a",)).tags(Item("text", ("a", "b"))) == ()


def test_no_synset_stands_on_two_sides(splits: Splits[Training, Held], scale: ConceptScale) -> None:
    sides = (splits.train.pairs, splits.validation.pairs, splits.test.pairs)
    assert [len(side) for side in sides] == [scale.trained, scale.held, scale.held]
    keys = [item.above[0] for side in sides for item in items_of(side)]
    assert len(set(keys)) == len(keys)
    assert len({item.text for side in sides for item in items_of(side)}) == len(keys)
    vocabulary = splits.train.vocabulary
    assert splits.test.vocabulary == vocabulary
    marks = vocabulary.marks(items_of(splits.train.pairs))
    files = [key.startswith("noun.") for key in vocabulary.keys]
    assert marks.sum(axis=0).min() > 0
    hypernyms = marks[:, [not file for file in files]].sum(axis=0)
    assert len(hypernyms) == scale.concepts
    assert hypernyms.min() >= scale.least and hypernyms.max() <= 0.25 * len(marks)
    # An item has one lexicographer file.
    assert (marks[:, files].sum(axis=1) == 1).all()
    assert len(set(vocabulary.names)) == len(vocabulary.names)


def test_pairs_do_not_depend_on_the_order_of_the_source() -> None:
    concepts = small_concepts()
    turned = Concepts(concepts.texts[::-1], concepts.edges[::-1])
    assert related_glosses(turned, 9) == related_glosses(concepts, 9)
    assert related_glosses(concepts, 1) == related_glosses(concepts, 9)[:1]


def test_trained_arms_differ_in_what_they_learn_from_alone(
    system: AnySystem, scale: ConceptScale, splits: Splits[Training, Held], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fitted: dict[str, tuple[ConceptTowers, Any, Any]] = {}
    current = ""

    def fit(_: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        assert stage == "heads" and len(order) == scale.steps[stage]
        fitted[current] = learner, rows, order

    monkeypatch.setattr(Run, "fit", fit)
    names = [name for name, arm in system.arms.items() if arm.stages]
    for current in names:
        torch.manual_seed(0)
        system.arms[current].make(run_of(scale, splits, tmp_path))
    ranked = {name: learner.ranking is not None for name, (learner, _, _) in fitted.items()}
    assert [name for name, own in ranked.items() if not own] == ["tags alone"]
    weights = {
        name: learner.tag_weight
        for name, (learner, _, _) in fitted.items()
        if learner.tagging is not None and learner.ranking is not None
    }
    assert weights == {"sesa, light tags": 1.0, "sesa": 5.0}
    (first, rows, order), *others = fitted.values()
    values = np.concatenate([row.query for row in rows])
    assert abs(values.mean()) < 0.1 and values.std() == pytest.approx(1, abs=0.1)
    for learner, own, same in others:
        assert same == order
        assert all(np.array_equal(a.query, b.query) for a, b in zip(rows, own, strict=True))
        assert torch.equal(learner.head.rows, first.head.rows)
        assert learner.head.activation == "softplus"
    assert first.head.activation == "identity"
    for batch in order:
        parents = [splits.train.pairs[row].query.above[1] for row in batch]
        assert len(set(parents)) == len(batch) == scale.batch


def test_figures_of_models_that_know(
    scale: ConceptScale, splits: Splits[Training, Held], tmp_path: Path
) -> None:
    run, held = run_of(scale, splits, tmp_path), splits.test
    items = items_of(held.pairs)
    marks = held.vocabulary.marks(items)
    number = {item.text: row for row, item in enumerate(items)}

    def tags(texts: Any, _: Any) -> np.ndarray:
        return marks[[number[text] for text in texts]]

    known = measure(run, tags, held)
    assert set(np.asarray(known["auc"]).tolist()) == {1.0}
    assert known["distance of auc from 0.5"] == 0.5
    assert 0.3 < known["auc over shuffled names"] < 0.7
    told = (marks.sum(axis=0) > 0) & (marks.sum(axis=0) < len(marks))
    assert np.asarray(known["auc"]).shape == (told.sum(),)

    def pairs(texts: Any, _: Any) -> np.ndarray:
        return np.eye(len(held.pairs))[[number[text] // 2 for text in texts]]

    parents = tuple(pair.query.above[1] for pair in held.pairs)
    found = measure(run, pairs, Held(held.pairs, Vocabulary(parents, parents, parents)))
    assert np.asarray(found["mrr@10"]).tolist() == [1.0] * 60
    assert np.asarray(found["mrr@10, largest concepts alone"]).tolist() == [1.0] * 60
    own = np.asarray(found["mrr@10 over the encoder's own"])
    assert own.shape == (60,) and (own >= 0).all() and own.mean() > 0.2


def test_explanations_sum_to_the_score_and_few_concepts_find_less(
    scale: ConceptScale, splits: Splits[Training, Held], tmp_path: Path
) -> None:
    run, held = run_of(scale, splits, tmp_path), splits.validation
    count = len(held.vocabulary.keys)
    mix = np.random.default_rng(0).normal(size=(32, count))

    def project(_: Any, vectors: np.ndarray) -> np.ndarray:
        return vectors @ mix

    figures = measure(run, project, held)
    assert 0 <= figures["error of explanations"] < 1e-6
    whole, few = (
        float(np.mean(figures[name])) for name in ("mrr@10", "mrr@10, largest concepts alone")
    )
    assert 0 < few < whole


def test_esa_takes_the_articles_that_validation_prefers(
    system: AnySystem, scale: ConceptScale, splits: Splits[Training, Held], tmp_path: Path
) -> None:
    run = run_of(scale, splits, tmp_path)
    esa = system.arms["esa"].make(run)
    texts = [item.text for item in items_of(splits.validation.pairs)]
    active = esa(texts, np.empty((len(texts), 0)))
    assert active.shape == (len(texts), len(splits.train.vocabulary.keys))
    assert active.min() >= 0 and 0 < active.max() <= 1
    known = system.measure(run, esa, splits.validation)
    # Counting says something about most concepts, and finds some glosses.
    assert np.mean(known["auc"]) > 0.55
    assert np.mean(known["mrr@10"]) > 0.02


def test_the_gates_are_those_of_the_page(system: AnySystem) -> None:
    decide = [gate for gate in system.gates if not gate.report_only]
    assert [
        (gate.metric, system.arm_of(gate), gate.at_least, gate.versus, gate.lower_is_better)
        for gate in decide
    ] == [
        ("mrr@10", "sesa", 0.10, "esa", False),
        ("mrr@10", "sesa", -0.05, "latent", False),
        ("auc", "sesa", 0.80, None, False),
        ("distance of auc from 0.5", "sesa, no tags", 0.05, None, True),
        ("error of explanations", "sesa", 1e-5, None, True),
    ]
    small = system.scales["small"]
    assert (small.seeds, small.temperature, small.steps) == (3, 0.05, {"heads": 400})
