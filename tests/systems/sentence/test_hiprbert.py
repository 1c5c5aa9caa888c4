from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from isometry.encoders.text import TextEncoder
from isometry.evaluation.pair_scores import pair_scores
from isometry.learners.concept_similarity import ConceptSimilarity
from isometry.systems import hierarchy_study
from isometry.systems.hierarchy_study import HeldTerms, HierarchyScale, Terms, data, measure
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Splits


@pytest.fixture(scope="module")
def system() -> AnySystem:
    return importlib.import_module("isometry.systems.sentence.hiprbert").system


@pytest.fixture(scope="module")
def scale(tiny_folder: Path) -> HierarchyScale:
    return HierarchyScale(
        model=str(tiny_folder), steps={"names": 2}, precision="float32", held=200, compared=30,
        pairs=4, anchors=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def splits(scale: HierarchyScale) -> Splits[Terms, HeldTerms]:
    return data(scale)


def test_sides_share_neither_terms_nor_names_nor_subtrees(
    splits: Splits[Terms, HeldTerms],
) -> None:
    sides = [set(splits.train.names), set(splits.validation.names), set(splits.test.names)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    for held in (splits.validation, splits.test):
        assert 150 < len(held.names) < 330
        learnt = {name.casefold() for own in splits.train.names.values() for name in own}
        assert not learnt & {name.casefold() for name in held.names.values()}
        assert {pair.concept for pair in held.pairs} <= set(held.names)
        # Nothing that is trained on stands below two held-out terms on every way up.
        parents = nx.DiGraph(splits.train.edges)
        for concept in list(splits.train.names)[:2000]:
            above = set(parents.successors(concept))
            assert not above or not above <= set(held.names)


def test_distances_of_compared_terms_are_steps_without_the_root(
    splits: Splits[Terms, HeldTerms],
) -> None:
    graph = nx.Graph(splits.train.edges)
    assert "HP:0000118" not in graph and "HP:0000478" in graph
    names = list(splits.test.names)
    compared = splits.test.compared
    assert set(compared.apart.tolist()) == {1, 2, 3, 4, 5, 6, 7}
    for row in range(40):
        near = nx.single_source_shortest_path_length(graph, names[compared.first[row]], cutoff=6)
        assert near.get(names[compared.second[row]], 7) == compared.apart[row]


def test_the_organ_system_of_a_term_is_what_it_alone_stands_below(
    splits: Splits[Terms, HeldTerms],
) -> None:
    graph = nx.DiGraph(splits.train.edges)
    tops = {node for node in graph if not graph.out_degree(node)}
    assert 20 < len(tops) < 30
    held = splits.test
    for concept, system in zip(held.names, held.systems, strict=True):
        own = tops & {concept, *nx.descendants(graph, concept)}
        assert system == (own.pop() if len(own) == 1 else "")
    assert "" in held.systems and len(set(held.systems)) > 5


def test_all_arms_see_as_many_names_and_only_the_method_sees_distances(
    system: AnySystem,
    scale: HierarchyScale,
    splits: Splits[Terms, HeldTerms],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, int] = {}
    learners: dict[str, Any] = {}

    def fit(run: Any, stage: str, learner: ConceptSimilarity, rows: list, order: list) -> None:
        trained = [[rows[row] for row in batch] for batch in order]
        assert {row.concept for batch in trained for row in batch} <= set(splits.train.names)
        seen[run._folder.name] = sum(map(len, trained))
        learners[run._folder.name] = learner
        losses = learner.loss(learner.collate(trained[0]))
        assert np.isfinite(losses["loss"].item())
        run.steps[stage] = len(order)

    monkeypatch.setattr(Run, "fit", fit)
    for name in ("synonyms", "one threshold", "hiprbert"):
        run = Run(
            scale, splits.train, splits.validation, seed=0, rate=1e-4, folder=tmp_path / name,
            shared=tmp_path,
        )  # fmt: skip
        system.arms[name].make(run)
    assert len(set(seen.values())) == 1
    assert learners["synonyms"].graded is None
    assert {learner.synonyms.thresholds for learner in learners.values()} == {(scale.synonyms,)}
    assert learners["one threshold"].graded.levels == (3,)
    assert learners["one threshold"].graded.thresholds == (0.4,)
    assert learners["hiprbert"].graded.levels == scale.levels
    assert learners["hiprbert"].graded.thresholds == scale.thresholds
    distances = learners["hiprbert"].distances
    known = distances(["HP:0000478", "HP:0000478", "HP:0000707"])
    assert known.tolist() == [[0, 0, 6], [0, 0, 6], [6, 6, 0]]
    # What is farther apart than any level is so too, and not unknown.
    several = distances(list(splits.train.names)[:60])
    assert several.min() == 0 and several.max() == 7


def test_figures_by_hand(
    system: AnySystem,
    scale: HierarchyScale,
    splits: Splits[Terms, HeldTerms],
    tmp_path: Path,
) -> None:
    run = Run(
        scale, splits.train, splits.validation, seed=0, rate=1e-4, folder=tmp_path / "run",
        shared=tmp_path,
    )  # fmt: skip
    encoder, held = run.encoder(), splits.test
    figures = {name: np.atleast_1d(value) for name, value in measure(run, encoder, held).items()}
    named = encoder.encode(list(held.names.values()), tokens=scale.tokens)
    first, second, apart = held.compared.first, held.compared.second, held.compared.apart
    for kind, far in (("far", {4, 5, 6}), ("unrelated", {7})):
        rows = [row for row, steps in enumerate(apart.tolist()) if steps in {1, 2} | far]
        gold = (apart[rows] < 3).astype(float)
        scores = pair_scores(named[first[rows]], named[second[rows]], gold)
        assert np.mean(figures[f"auc, near from {kind}"]) == pytest.approx(scores["auc"])
    assert len(figures["spearman with nearness"]) == 20
    # The nearer, the higher the cosine.
    for group in (0, 7):
        some = slice(group, None, 20)
        scores = pair_scores(named[first[some]], named[second[some]], -apart[some].astype(float))
        assert figures["spearman with nearness"][group] == pytest.approx(scores["spearman"])
    assert figures["spearman with nearness"].mean() > 0.1
    pair = held.pairs[0]
    cosines = named @ encoder.encode([pair.synonym], tokens=scale.tokens)[0]
    right = list(held.names)[int(cosines.argmax())] == pair.concept
    assert figures["synonym found"][0] == right


def test_vectors_are_computed_in_the_precision_of_the_record(
    scale: HierarchyScale, splits: Splits[Terms, HeldTerms], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[Any] = []
    encode = TextEncoder.encode

    def look(encoder: TextEncoder, texts: Any, **settings: Any) -> np.ndarray:
        seen.append(settings)
        return encode(encoder, texts, **settings)

    monkeypatch.setattr(TextEncoder, "encode", look)
    half = replace(scale, precision="bfloat16")
    run = Run(
        half, splits.train, splits.validation, seed=0, rate=1e-4, folder=tmp_path / "run",
        shared=tmp_path,
    )  # fmt: skip
    measure(run, run.encoder(), splits.test)
    assert seen and all(settings == {"tokens": 16, "precision": "bfloat16"} for settings in seen)


def test_few_labels_tell_what_lies_apart_and_none_where_nothing_does() -> None:
    random = np.random.default_rng(0)
    systems = [name for name in "abc" for _ in range(30)] + ["rare"] * 5 + [""] * 20
    centers = {name: random.normal(size=8) for name in {*systems}}
    apart = np.stack([centers[name] + 0.1 * random.normal(size=8) for name in systems])
    scores = hierarchy_study._organ_systems(apart.astype(np.float32), systems)
    assert len(scores) == 10 and scores.min() > 0.95
    noise = random.normal(size=apart.shape).astype(np.float32)
    assert hierarchy_study._organ_systems(noise, systems).mean() < 0.5


def test_organ_systems_are_told_of_terms_without_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    whole = hierarchy_study.probe

    def look(vectors: Any, labels: Any, others: Any, answers: Any) -> Any:
        asked.append((len(vectors), len(others)))
        return whole(vectors, labels, others, answers)

    monkeypatch.setattr(hierarchy_study, "probe", look)
    named = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    hierarchy_study._organ_systems(named, [name for name in "abc" for _ in range(30)])
    assert set(asked) == {(15, 75)}
