from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from isometry.compression.codec import FloatTable
from isometry.compression.modulo_hash import ModuloHash
from isometry.compression.optembed import OptEmbed
from isometry.corpora.pairs.word_events import HeldEvents, Log
from isometry.systems.compression_study import (
    FIRST,
    MINIATURE,
    SECOND,
    WHOLE,
    AnyRun,
    Forecast,
    evolved,
    fit,
    fit_once,
    measure,
)
from isometry.systems.retrieval.vector_compression import WAYS, system
from isometry.systems.run import Run

FIELDS = (30, 30, 30, 9, 4, 16)
STARTS = np.cumsum((0, *FIELDS[:-1]))


def events(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([random.integers(n, size=count) for n in FIELDS], axis=1) + STARTS


@pytest.fixture
def run(tmp_path: Path) -> AnyRun:
    return run_of(tmp_path)


def run_of(folder: Path, seed: int = 0, rate: float = 0.01, own: str = "own") -> AnyRun:
    ids = events(200, 0)
    log = Log(FIELDS, ids.astype(np.int32), np.arange(200) < 100)
    held = HeldEvents(events(60, 1), events(60, 2))
    return Run(MINIATURE, log, held, seed=seed, rate=rate, folder=folder / own, shared=folder)


def test_figures_are_of_the_served_table(run: AnyRun) -> None:
    codec = ModuloHash(run.train.n, 16, 5)
    with torch.no_grad():
        codec.shared.copy_(torch.randint(-9, 9, (5, 16)))
    figures = measure(run, Forecast(codec, codec.nbytes * 2, 10), run.validation)
    assert figures["times its budget"] == 0.5
    assert figures["share of the bytes"] == codec.nbytes / (4 * 119 * 16)
    assert len(np.atleast_1d(figures["auc"])) == 60
    rows = codec.lookup(torch.arange(119)).numpy()
    scores = [
        sum(rows[a] @ rows[b] for place, a in enumerate(event) for b in event[:place])
        for event in np.concatenate([run.validation.stand, run.validation.exchanged])
    ]
    expected = roc_auc_score(np.arange(120) < 60, scores)
    assert np.mean(figures["auc"]) == pytest.approx(expected)
    with pytest.raises(ValueError, match="more than the budget"):
        measure(run, Forecast(codec, int(codec.nbytes / 1.03), 10), run.validation)


def test_the_second_half_of_a_search_sees_the_events_that_are_left(
    run: AnyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[int]] = {}

    def record(stage: str, learner: object, rows: object, order: list[list[int]]) -> None:
        seen[stage] = [row for step in order for row in step]

    monkeypatch.setattr(run, "fit", record)
    for stage in run.scale.steps:
        fit(run, stage, FloatTable(run.train.n, 16))
    whole, first, second = seen.values()
    assert list(seen) == [WHOLE, "search", SECOND]
    assert first + second == whole and len(set(whole)) == len(whole)


def test_a_table_comes_back_from_where_it_was_trained(
    run: AnyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []

    class Away(FloatTable):
        def cpu(self) -> Away:
            moved.append("cpu")
            return super().cpu()

    monkeypatch.setattr(run, "fit", lambda *_: moved.append("fit"))
    table = fit(run, WHOLE, Away(run.train.n, 16))
    assert moved == ["fit", "cpu"] and not table.training


def test_what_is_trained_alike_for_all_budgets_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str, own: str, seed: int = 0, rate: float = 0.01) -> tuple[AnyRun, Forecast]:
        run = run_of(tmp_path, seed, rate, own)
        torch.manual_seed(seed)
        return run, system.arms[name].make(run)

    fitted: list[tuple[str, int, float]] = []
    train = Run.fit

    def record(self: AnyRun, stage: str, learner: Any, rows: Any, order: Any) -> None:
        fitted.append((stage, self.seed, self.rate))
        train(self, stage, learner, rows, order)

    monkeypatch.setattr(Run, "fit", record)
    names = ("full table 1/1", "float16 1/2", "SVD 1/2")
    whole = [made(name, name.replace("/", " ")) for name in names]
    assert fitted == [(WHOLE, 0, 0.01)]
    for run, _ in whole:
        assert run.steps == {WHOLE: 2} and run.rows == {WHOLE: 2 * 64}
    ids = torch.arange(119)
    full, half = (model.codec.lookup(ids) for _, model in whole[:2])
    assert torch.equal(full.half().float(), half)
    # Others are others: their seed, their rate, their kind, their stage.
    made(names[0], "a", seed=1)
    made(names[0], "b", rate=0.1)
    assert fitted[1:] == [(WHOLE, 1, 0.01), (WHOLE, 0, 0.1)]
    del fitted[:]
    first, second = (made(f"OptEmbed 1/{over}", str(over)) for over in (2, 10))
    assert [stage for stage, *_ in fitted] == [FIRST, SECOND, SECOND]
    assert second[0].steps == first[0].steps == {FIRST: 1, SECOND: 1}
    assert first[1].codec.nbytes > second[1].codec.nbytes
    # Read or trained just now, the same comes of it.
    trained, read = (made("AutoDim 1/2", own)[1].codec.state_dict() for own in ("now", "then"))
    assert all(torch.equal(read[name], value) for name, value in trained.items())


def test_a_table_that_was_read_is_the_one_that_was_trained(tmp_path: Path) -> None:
    def once(own: str) -> FloatTable:
        return fit_once(run_of(tmp_path, own=own), FIRST, FloatTable(119, 16))

    start = FloatTable(119, 16)
    trained, read = once("a"), once("b")
    assert torch.equal(trained.rows, read.rows) and not read.training
    assert not torch.equal(read.rows, start.rows)


def test_widths_are_chosen_on_validation_within_the_budget(run: AnyRun) -> None:
    torch.manual_seed(0)
    table = OptEmbed(FIELDS, 16)
    with torch.no_grad():
        table.rows.normal_()
    assert evolved(run, table, 2000).nbytes <= 2000
    everything = evolved(run, table, 10**6)
    assert everything.nbytes > 4 * 119 * 2


def test_the_data_are_words_in_definitions() -> None:
    splits = system.data(MINIATURE)
    log = splits.train
    assert log.n == sum(log.fields) == len(log.counts)
    bounds = np.cumsum(log.fields)
    assert (log.ids < bounds).all() and (log.ids >= bounds - log.fields).all()
    stand, exchanged = log.ids[log.happened], log.ids[~log.happened]
    held = [(one.stand, one.exchanged) for one in (splits.validation, splits.test)]
    for a, b in ((stand, exchanged), *held):
        assert (a[:, 0] != b[:, 0]).all()
        assert (a[:, 1:] == b[:, 1:]).all()
    # Words that are exchanged are as frequent as those that stand: counting words tells nothing.
    test = splits.test
    frequency = np.log1p(log.counts.numpy())
    scores = frequency[np.concatenate([test.stand[:, 0], test.exchanged[:, 0]])]
    assert abs(roc_auc_score(np.arange(len(scores)) < len(test.stand), scores) - 0.5) < 0.1


def test_fourteen_ways_are_there_at_all_budgets_they_can_keep() -> None:
    others = {"hash", "float16", "PQ", "SVD", "full table"}
    fourteen = {name for name in WAYS if name not in others}
    # The survey counts INT8 and INT16 as one.
    assert len(fourteen - {"INT16"}) == 14
    assert {f"{name} 1/{over}" for name in WAYS for over in WAYS[name].over} == set(system.arms)
    whole = {gate.versus for gate in system.gates if gate.arm == "full table 1/1"}
    assert whole == set(system.arms) - {"full table 1/1"}
    smallest = {name for name in system.arms if name.endswith("1/50")}
    against = {system.arm_of(gate) for gate in system.gates if gate.versus == "hash 1/50"}
    assert against - {"full table 1/1"} == smallest - {"hash 1/50"}
