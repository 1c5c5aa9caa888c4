from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.merging.average import average
from isometry.systems import mergers_study, merging_study
from isometry.systems.catalogue import find
from isometry.systems.mergers_study import added, averaged, folded, positioned
from isometry.systems.merging_study import (
    PROPORTIONAL,
    UNIFORM,
    Merged,
    MergingRun,
    ceilings,
    expert,
    experts,
    measure,
    placed,
    probe_losses,
    scored,
    trained,
    weights_of,
)
from isometry.systems.merging_tasks_study import (
    JOINT,
    MINIATURE,
    SMALL,
    TASKS,
    Judged,
    Tasks,
    data,
    scores,
)
from isometry.systems.run import Run
from isometry.systems.system import Splits


@pytest.fixture(scope="module")
def whole() -> Splits[Tasks, Judged]:
    """All that the small scale trains and is judged on."""
    return data(SMALL)


@pytest.fixture
def run(whole: Splits[Tasks, Judged], tiny_folder: Path, tmp_path: Path) -> MergingRun:
    """A few rows of each task, for the tiny model."""
    scale = replace(
        MINIATURE, model=str(tiny_folder), steps={**dict.fromkeys(TASKS, 6), JOINT: 9},
        rates=(2e-2,), precision="float32", batch=8, probe_steps=8, scales=(0.2, 0.6), orders=3,
    )  # fmt: skip
    train = Tasks(
        {task: rows[:40] for task, rows in whole.train.rows.items()},
        {task: rows[:16] for task, rows in whole.train.probe.items()},
    )
    folders = {"folder": tmp_path / "run", "shared": tmp_path / "shared"}
    held = [few(side, 24) for side in (whole.validation, whole.test)]
    return Run(scale, train, held[0], seed=1, rate=2e-2, **folders)


def few(held: Judged, count: int) -> Judged:
    return Judged(held.definitions[:count], held.files[:count], held.adjectives[:count])


def texts_of(rows: list[PairRow]) -> set[str]:
    return {text for row in rows for text in (row.query, row.document, *row.negatives)}


def test_sizes_are_as_unequal_as_the_recipe_says(whole: Splits[Tasks, Judged]) -> None:
    counts = {task: len(rows) for task, rows in whole.train.rows.items()}
    assert counts == {"retrieval": 10_000, "clustering": 1_000, "antonyms": 400}
    assert {len(rows) for rows in whole.train.probe.values()} == {100}
    for held, count in ((whole.validation, SMALL.validated), (whole.test, SMALL.tested)):
        assert len(held.definitions) == len(held.files) == len(held.adjectives) == count
    # As many steps together as the tasks' own models.
    assert SMALL.steps[JOINT] == sum(SMALL.steps[task] for task in TASKS)


def test_no_text_of_a_kind_is_on_two_sides(whole: Splits[Tasks, Judged]) -> None:
    train, probe = (
        {task: texts_of(rows) for task, rows in side.items()}
        for side in (whole.train.rows, whole.train.probe)
    )
    nouns = [side["retrieval"] | side["clustering"] for side in (train, probe)]
    adjectives = [train["antonyms"], probe["antonyms"]]
    for held in (whole.validation, whole.test):
        nouns.append({text for each in held.definitions for text in (each.text, each.entry)})
        adjectives.append(
            {text for each in held.adjectives for text in (each.text, each.similar, each.antonym)}
        )
    for one, other in combinations(range(4), 2):
        assert not nouns[one] & nouns[other] and not adjectives[one] & adjectives[other]
    # Nor do the two tasks that read nouns train on the same ones, or learn weights on them.
    for side in (whole.train.rows, whole.train.probe):
        found = {row.query for row in side["retrieval"]}
        assert not found & texts_of(side["clustering"])


def test_adjectives_that_are_linked_are_on_one_side(whole: Splits[Tasks, Judged]) -> None:
    sides = [
        {key for row in whole.train.rows["antonyms"] for key in (row.key, *row.answers)},
        {key for row in whole.train.probe["antonyms"] for key in (row.key, *row.answers)},
        {each.group for each in whole.validation.adjectives},
        {each.group for each in whole.test.adjectives},
    ]
    assert not sides[2] & sides[3] and not sides[0] & sides[1]
    keys = [{key for each in held.adjectives for key in each.keys}
            for held in (whole.validation, whole.test)]  # fmt: skip
    assert not keys[0] & keys[1] and not sides[0] & (keys[0] | keys[1])


def test_what_matches_too_is_no_negative_in_a_batch(
    whole: Splits[Tasks, Judged], run: MergingRun, tiny: TextEncoder
) -> None:
    rows = whole.train.rows["clustering"]
    assert all(row.key not in row.negative_keys and len(row.negatives) == 1 for row in rows)
    assert len({row.key for row in rows}) > 20
    mask = merging_study.towers(run, tiny).collate(rows[:40])["same"]
    for row, own in enumerate(rows[:40]):
        for column, other in enumerate(rows[:40]):
            assert bool(mask[row, column]) == (own.key == other.key)
            assert bool(mask[row, 40 + column]) == (own.key == other.negative_keys[0])
    # An antonym's own row has this text as its antonym.
    by_text = {row.query: row for row in whole.train.rows["antonyms"]}
    mutual = [(row, by_text[row.negatives[0]]) for row in by_text.values()
              if row.negatives[0] in by_text
              and by_text[row.negatives[0]].negatives[0] == row.query]  # fmt: skip
    assert len(mutual) > 20
    mask = merging_study.towers(run, tiny).collate(list(mutual[0]))["same"]
    assert mask.tolist() == [[True, False, False, True], [False, True, True, False]]


def test_scores_are_those_of_the_pages_metrics(run: MergingRun, tiny: TextEncoder) -> None:
    held = run.validation
    found = scores(tiny, held, "float32")
    glosses = tiny.encode([each.text for each in held.definitions], "query")
    entries = tiny.encode([each.entry for each in held.definitions])
    ranks = 1 + (glosses @ entries.T > (glosses * entries).sum(axis=1, keepdims=True) + 1e-7).sum(
        axis=1
    )
    np.testing.assert_allclose(found["retrieval"], np.where(ranks <= 10, 1 / ranks, 0))
    sides = [tiny.encode([getattr(each, name) for each in held.adjectives])
             for name in ("text", "similar", "antonym")]  # fmt: skip
    nearer = (sides[0] * sides[1]).sum(1) > (sides[0] * sides[2]).sum(1)
    np.testing.assert_array_equal(found["antonyms"], nearer)
    assert {len(values) for values in found.values()} == {24}


def test_an_expert_is_trained_once_for_all_arms(
    run: MergingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[tuple[str, int]] = []
    fit = Run.fit

    def watch(self: Any, stage: str, *more: Any, **options: Any) -> None:
        trainings.append((stage, self.seed))
        fit(self, stage, *more, **options)

    monkeypatch.setattr(Run, "fit", watch)
    base, models = experts(run)
    made = averaged(run)
    measure(run, made, run.validation)
    added(run)
    alone = [merging_study.alone(task).make(run) for task in TASKS]
    assert sorted(trainings) == sorted((task, 1) for task in TASKS) and run.steps == {}
    for task, model, own in zip(TASKS, models, alone, strict=True):
        kept = dict(own.encoder.named_parameters())
        assert all(torch.equal(kept[name], tensor) for name, tensor in model.items()), task
        assert any(not torch.equal(tensor, base[name]) for name, tensor in model.items())
        assert not any("word_embeddings" in name for name in model)
    mean = dict(average(models))
    kept = dict(made.encoder.named_parameters())
    assert all(torch.equal(kept[name], tensor) for name, tensor in mean.items())
    # What another process would train is the same.
    run.train.known.clear()
    again = expert(run, "antonyms")
    assert all(torch.equal(tensor, models[2][name]) for name, tensor in again.items())


def test_a_tasks_own_validation_chooses_its_rate(
    run: MergingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.scale = replace(run.scale, rates=(1e-9, 2e-2))
    told = {"retrieval": 0, "clustering": 1, "antonyms": 0}

    def score(run: MergingRun, encoder: TextEncoder, held: Judged) -> dict[str, np.ndarray]:
        assert held is run.validation
        start, own = merging_study.untrained(run), dict(encoder.named_parameters())
        moved = sum((own[name] - part).abs().sum().item() for name, part in start.items()) > 1
        return {task: np.array([float(moved == better)]) for task, better in told.items()}

    monkeypatch.setattr(merging_study, "scored", score)
    start = merging_study.untrained(run)
    for task, moved in told.items():
        own = expert(run, task)
        far = sum((own[name] - part).abs().sum().item() for name, part in start.items())
        assert (far > 1) == moved, task


def test_joint_batches_hold_one_task_each_as_often_as_the_shares_say(
    run: MergingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[str]] = []

    def watch(self: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        task_of = {id(row): task for task, own in run.train.rows.items() for row in own}
        for batch in order:
            assert len({task_of[id(rows[row])] for row in batch}) == 1
        orders.append([task_of[id(rows[batch[0]])] for batch in order])

    monkeypatch.setattr(Run, "fit", watch)
    run.train.rows["antonyms"] = run.train.rows["antonyms"][:10]
    for shares in (PROPORTIONAL, UNIFORM):
        trained(run, JOINT, tuple(TASKS), shares)
    counts = [{task: order.count(task) for task in TASKS} for order in orders]
    assert counts == [
        {"retrieval": 4, "clustering": 4, "antonyms": 1}, dict.fromkeys(TASKS, 3)
    ]  # fmt: skip


def test_figures_by_hand(run: MergingRun, tiny: TextEncoder, monkeypatch: Any) -> None:
    reached = {
        "untrained": {"retrieval": 0.2, "clustering": 0.5, "antonyms": 0.6},
        "model": {"retrieval": 0.35, "clustering": 0.6, "antonyms": 0.9},
    }
    best = {"retrieval": 0.4, "clustering": 0.5, "antonyms": 0.8}

    def score(_: Any, encoder: TextEncoder, __: Any) -> dict[str, np.ndarray]:
        name = "model" if encoder is tiny else "untrained"
        return {task: np.array([value, value]) for task, value in reached[name].items()}

    monkeypatch.setattr(merging_study, "scored", score)
    monkeypatch.setattr(merging_study, "ceilings", lambda *_: best)
    held = few(run.validation, 2)
    found = measure(run, Merged(tiny, 7, {"more": 1.0}), held)
    shares = [0.35 / 0.4, 0.6 / 0.5, 0.9 / 0.8]
    np.testing.assert_allclose(found["normalised mean"], [np.mean(shares)] * 2)
    np.testing.assert_allclose(found["worst task"], [shares[0]] * 2)
    # Of 0.2 that retrieval gained 0.15 are kept; clustering gained nothing; antonyms are all kept.
    assert found["share of the experts' gain"] == pytest.approx((0.75 + 0 + 1) / 3)
    assert found["steps for another mixture"] == 7 and found["more"] == 1.0
    np.testing.assert_allclose(found[TASKS["clustering"]], [0.6, 0.6])


def test_an_expert_reaches_its_own_ceiling(run: MergingRun) -> None:
    best = ceilings(run, run.validation)
    for task in TASKS:
        encoder = placed(run.encoder(), expert(run, task).items())
        own = float(scored(run, encoder, run.validation)[task].mean())
        assert best[task] == pytest.approx(max(own, 1 / 24)), task
    # Judged on the bench, an arm's encoder is not touched.
    made = averaged(run)
    before = made.encoder.fingerprint()
    measure(run, made, run.validation)
    assert made.encoder.fingerprint() == before


def test_fixed_mergers_take_what_is_best_on_validation(
    run: MergingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, models = experts(run)
    far = sum((models[0][name] - part).norm().item() for name, part in base.items())
    seen: list[float] = []

    def nearer(run: MergingRun, encoder: TextEncoder, held: Judged) -> np.ndarray:
        assert held is run.validation
        own = dict(encoder.named_parameters())
        seen.append(sum((own[name] - part).norm().item() for name, part in base.items()) / far)
        return np.array([-seen[-1]])

    monkeypatch.setattr(mergers_study, "normalised", nearer)
    own = weights_of(added(run).encoder)
    assert len(seen) == 2 and seen[0] < seen[1]
    chosen = sum((own[name] - part).norm().item() for name, part in base.items()) / far
    assert chosen == pytest.approx(seen[0])
    seen.clear()
    folded(run)
    assert len(seen) == 3 and len({round(value, 6) for value in seen}) == 3


def test_the_method_is_never_worse_on_the_probe_than_what_it_may_start_from(
    run: MergingRun,
) -> None:
    made, mean = positioned(run, per="model", by_gains=False), averaged(run)
    facts = made.figures
    assert facts["probe loss over the best start"] <= 0
    ours, theirs = probe_losses(run, made.encoder), probe_losses(run, mean.encoder)
    np.testing.assert_allclose(facts["probe loss"], ours)
    np.testing.assert_allclose(mean.figures["probe loss"], theirs)
    assert ours.mean() <= theirs.mean() + 1e-6 and len(ours) == 3
    shares = [facts[f"share of {task}"] for task in TASKS]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0
    assert 0 <= facts["distance from the base"] <= 2 and made.steps == 24
    assert -1 < facts["highest cosine of task vectors"] < 1
    assert 0 < facts["sign conflict of task vectors"] < 1


def test_each_tensor_has_a_position_learned_by_what_the_experts_gain(run: MergingRun) -> None:
    made = positioned(run)
    assert made.figures["probe loss over the best start"] <= 0
    shares = [made.figures[f"share of {task}"] for task in TASKS]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0
    # Not one weighted sum of the task vectors.
    base, models = experts(run)
    found = weights_of(made.encoder)
    fitted: list[np.ndarray] = []
    for name, tensor in base.items():
        vectors = torch.stack([(model[name] - tensor).reshape(-1) for model in models], dim=1)
        own = (found[name] - tensor).reshape(-1, 1)
        weights = torch.linalg.lstsq(vectors.double(), own.double()).solution
        torch.testing.assert_close(vectors.double() @ weights, own.double(), atol=1e-5, rtol=0)
        fitted.append(weights.numpy())
    assert max(np.abs(each - fitted[0]).max() for each in fitted) > 0.01


def test_experts_are_trained_once_for_all_processes(
    run: MergingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = expert(run, "antonyms")
    run.train.known.clear()
    monkeypatch.setattr(merging_study, "trained", lambda *_: pytest.fail("trained again"))
    again = expert(run, "antonyms")
    assert first.keys() == again.keys()
    assert all(torch.equal(part, again[name]) for name, part in first.items())


def test_the_probes_batches_go_where_the_encoder_is(
    run: MergingRun, tiny: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[str] = []

    def watch(self: TwoTowers, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        tensors = [part for part in batch["query"].values() if isinstance(part, torch.Tensor)]
        places.extend(part.device.type for part in [batch["same"], *tensors])
        return {"loss": torch.tensor(0.5)}

    monkeypatch.setattr(TwoTowers, "loss", watch)
    assert probe_losses(run, tiny.to("meta")).tolist() == [0.5] * 3
    assert set(places) == {"meta"}


def test_the_gates_are_the_pages_and_the_targets() -> None:
    (entry,) = find("self-positioning")
    system = entry.load()
    gates = {(gate.metric, gate.versus): gate for gate in system.gates if gate.arm is None}
    assert gates["normalised mean", "proportional joint"].at_least == 0.01
    assert gates["normalised mean", "average"].at_least == 0
    assert gates["share of the experts' gain", None].at_least == 0.7
    fixed = ("proportional joint", "average", "task arithmetic", "slerp", "ties", "dare")
    for name in fixed:
        assert gates["worst task", name].at_least == 0
        assert not gates["worst task", name].report_only
    assert gates["normalised mean", "uniform joint"].report_only
    # As many batches as the method takes: a step sees one of each task.
    cost = [gate for gate in system.gates if gate.metric == "steps for another mixture"]
    assert {gate.at_least for gate in cost} == {len(TASKS) * SMALL.probe_steps}
