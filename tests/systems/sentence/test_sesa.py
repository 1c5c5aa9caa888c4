from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.corpora.concept_vocabulary import ConceptVocabulary
from isometry.corpora.pairs.related_glosses import glosses_of
from isometry.encoders.counts import ExplicitSemanticAnalysis, TfIdf
from isometry.learners.concept_towers import ConceptTowers
from isometry.systems import concept_study
from isometry.systems.concept_study import ConceptScale, Pairs, data, measure
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
def splits(scale: ConceptScale) -> Splits[Pairs, Pairs]:
    return data(scale)


def run_of(
    scale: ConceptScale, splits: Splits[Pairs, Pairs], folder: Path, seed: int = 0
) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation,
        seed=seed, rate=1e-2, folder=folder / "own", shared=folder,
    )  # fmt: skip


def test_no_synset_stands_on_two_sides(splits: Splits[Pairs, Pairs], scale: ConceptScale) -> None:
    sides = (splits.train.pairs, splits.validation.pairs, splits.test.pairs)
    assert [len(side) for side in sides] == [scale.trained, scale.held, scale.held]
    keys = [item.above[0] for side in sides for item in glosses_of(side)]
    assert len(set(keys)) == len(keys)
    assert len({item.text for side in sides for item in glosses_of(side)}) == len(keys)
    vocabulary = splits.train.vocabulary
    assert splits.test.vocabulary == vocabulary
    marks = vocabulary.marks(glosses_of(splits.train.pairs))
    files = [key.startswith("noun.") for key in vocabulary.keys]
    assert marks.sum(axis=0).min() > 0
    hypernyms = marks[:, [not file for file in files]].sum(axis=0)
    assert len(hypernyms) == scale.concepts
    assert hypernyms.min() >= scale.least and hypernyms.max() <= 0.25 * len(marks)
    # An item has one lexicographer file.
    assert (marks[:, files].sum(axis=1) == 1).all()
    assert len(set(vocabulary.names)) == len(vocabulary.names)


def test_trained_arms_differ_in_what_they_learn_from_alone(
    system: AnySystem, scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fitted: dict[str, tuple[ConceptTowers, Any, Any]] = {}
    current = ""

    def fit(_: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        assert stage == "heads" and len(order) == scale.steps[stage]
        fitted[current] = learner, rows, order

    monkeypatch.setattr(Run, "fit", fit)
    names = [name for name, arm in system.arms.items() if arm.stages]
    texts = [pair.query.text for pair in splits.train.pairs]
    for current in names:
        torch.manual_seed(0)
        run = run_of(scale, splits, tmp_path)
        model = system.arms[current].make(run)
        # What is served reads vectors as what is trained does.
        learner, rows, _ = fitted[current]
        with torch.no_grad():
            expected = learner.head(torch.from_numpy(np.stack([row.query for row in rows])))
        served = model([], run.pretrained.encode(texts))
        np.testing.assert_allclose(served, expected.numpy(), atol=1e-5)
    ranked = {name: learner.ranking is not None for name, (learner, _, _) in fitted.items()}
    assert [name for name, own in ranked.items() if not own] == ["tags alone"]
    weights = {
        name: learner.tag_weight
        for name, (learner, _, _) in fitted.items()
        if learner.tagging is not None
    }
    assert weights == {"sesa, light tags": 1.0, "sesa": 5.0, "tags alone": 1.0}
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
    scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path
) -> None:
    run, held = run_of(scale, splits, tmp_path), splits.test
    items = glosses_of(held.pairs)
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
    named = ConceptVocabulary(parents, parents, parents)
    found = measure(run, pairs, Pairs(held.pairs, named))
    assert np.asarray(found["mrr@10"]).tolist() == [1.0] * 60
    assert np.asarray(found["mrr@10, largest concepts alone"]).tolist() == [1.0] * 60
    own = np.asarray(found["mrr@10 over the encoder's own"])
    assert own.shape == (60,) and (own >= 0).all() and own.mean() > 0.2


def test_explanations_sum_to_the_score_and_few_concepts_find_less(
    scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path
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


def test_what_has_no_concept_in_common_is_not_found(
    scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path
) -> None:
    run, held = run_of(scale, splits, tmp_path), splits.test
    shape = (2 * len(held.pairs), len(held.vocabulary.keys))
    nothing = measure(run, lambda *_: np.zeros(shape), held)
    # All scores are the same: by their rows, the first ten pairs would be found.
    assert np.max(nothing["mrr@10"]) == np.max(nothing["mrr@10, largest concepts alone"]) == 0
    apart = np.zeros(shape)
    apart[::2, 0], apart[1::2, 1] = 1, 1
    assert np.max(measure(run, lambda *_: apart, held)["mrr@10"]) == 0


def test_contributions_are_named_by_their_concepts(
    scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[Any] = []
    explain = concept_study.contributions

    def look(query: Any, document: Any, names: Any, *, top: int) -> Any:
        seen.append(names)
        return explain(query, document, names, top=top)

    monkeypatch.setattr(concept_study, "contributions", look)
    run, held = run_of(scale, splits, tmp_path), splits.validation
    measure(run, lambda *_: held.marks, held)
    assert seen == [held.vocabulary.names] * len(held.pairs)


def test_a_head_on_another_device_gets_its_vectors_there(
    system: AnySystem, scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Run, "fit", lambda _, stage, learner, *__: learner.to("meta"))
    run = run_of(scale, splits, tmp_path)
    model = system.arms["sesa"].make(run)
    # Its values are nowhere, so they cannot come back; but they were computed.
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        model([], run.pretrained.encode(["a gloss"]))


def test_esa_takes_the_articles_that_validation_prefers(
    system: AnySystem, scale: ConceptScale, splits: Splits[Pairs, Pairs], tmp_path: Path
) -> None:
    vocabulary, glosses = splits.train.vocabulary, glosses_of(splits.train.pairs)
    marks = splits.train.marks
    long = [
        " ".join([text, *(glosses[row].text for row in np.flatnonzero(marks[:, tag]))])
        for tag, text in enumerate(vocabulary.texts)
    ]
    every = [
        ExplicitSemanticAnalysis(
            TfIdf([*splits.train.texts, *articles], sublinear=sublinear), articles
        )
        for articles in (list(vocabulary.texts), long)
        for sublinear in (False, True)
    ]
    taken: set[int] = set()
    for start in range(0, 60, 12):
        few = Pairs(splits.validation.pairs[start : start + 12], vocabulary)
        run = run_of(scale, Splits(splits.train, few, splits.test), tmp_path)

        def figure(model: Any, run: Any = run, few: Pairs = few) -> float:
            return float(np.mean(system.measure(run, model, few)["mrr@10"]))

        tried = [figure(lambda own, _, each=each: each.encode(own).toarray()) for each in every]
        assert figure(system.arms["esa"].make(run)) == max(tried)
        if tried.count(max(tried)) == 1:
            taken.add(tried.index(max(tried)))
    # Neither the first nor the last one always.
    assert len(taken) > 1
    run, validation = run_of(scale, splits, tmp_path), splits.validation
    esa = system.arms["esa"].make(run)
    active = esa(validation.texts, np.empty((120, 0)))
    assert active.shape == (120, len(vocabulary.keys))
    assert active.min() >= 0 and 0 < active.max() <= 1
    known = measure(run, esa, validation)
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
