from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.cli.main import main
from isometry.core.errors import InputError
from isometry.systems import rates
from isometry.systems import reproduce as reproduction
from isometry.systems import runner as module
from isometry.systems.catalogue import Entry
from isometry.systems.listing import describe
from isometry.systems.reproduce import reproduce
from isometry.systems.run import Run
from isometry.systems.system import Arm, Gate, Scale


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(entry: Entry, **options: Any) -> dict[str, Any]:
        return reproduce(entry, results=tmp_path / "results", work=tmp_path / "work", **options)

    return run


Go = Callable[..., dict[str, Any]]
Make = Callable[..., Entry]


def test_every_arm_runs_with_every_seed_and_the_gates_are_judged(
    make_entry: Make, go: Go, calls: list[tuple[str, int]], tmp_path: Path
) -> None:
    record = go(make_entry())
    assert calls == [("long", 0), ("long", 1), ("all", 0), ("all", 1)]
    assert record["fresh"] and record["passed"]
    mean = {
        name: sum(arm["runs"][0]["figures"]["found"]) / 40 for name, arm in record["arms"].items()
    }
    (headline, other) = record["gates"]
    assert headline["gain"] == pytest.approx(mean["all"] - mean["long"])
    assert headline["gain"] > 0.1 and headline["low"] > 0 and other["figure"] == 1
    stored = json.loads((tmp_path / "results/short-words/small.json").read_text())
    assert stored == {key: value for key, value in record.items() if key != "fresh"}


def test_the_same_again_is_read_and_anything_else_is_run(
    make_entry: Make, go: Go, calls: list[tuple[str, int]]
) -> None:
    first = go(make_entry())
    calls.clear()
    again = go(make_entry())
    assert not again["fresh"] and again["created"] == first["created"] and calls == []
    assert go(make_entry(), seeds=3)["fresh"] and len(calls) == 6
    calls.clear()
    # Another number of seeds did not take the place of the scale's own.
    assert go(make_entry())["created"] == first["created"]
    assert go(make_entry(code="changed"))["fresh"] and len(calls) == 4


def test_a_record_is_judged_anew_by_what_judges_now(
    make_entry: Make, go: Go, calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go(make_entry())
    calls.clear()
    monkeypatch.setattr(reproduction, "passed", lambda _: False)
    again = go(make_entry())
    assert calls == [] and again == {**first, "passed": False, "fresh": False}
    assert go(make_entry())["created"] == first["created"]
    monkeypatch.undo()
    assert go(make_entry())["passed"] is True


def test_a_stopped_run_goes_on_where_it_was(
    make_entry: Make, go: Go, calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "say", said.append)
    entry = make_entry()
    system = entry.load()

    def stop(run: Any) -> Any:
        if run.seed == 1:
            raise KeyboardInterrupt
        return system.arms["all"].make(run)

    stopping = make_entry(arms={**system.arms, "all": Arm("", stop)})
    with pytest.raises(KeyboardInterrupt):
        go(stopping)
    assert calls == [("long", 0), ("long", 1), ("all", 0)]
    assert said[:3] == [
        "1 of about 4: long, seed 0",
        "2 of about 4: long, seed 1",
        "3 of about 4: all, seed 0",
    ]
    calls.clear()
    said.clear()
    assert go(entry)["passed"]
    assert calls == [("all", 1)]
    assert said == ["4 of about 4: all, seed 1"]


def test_one_arm_alone_leaves_no_record_and_spares_its_work_later(
    make_entry: Make, go: Go, calls: list[tuple[str, int]], tmp_path: Path
) -> None:
    record = go(make_entry(), arms=["all"])
    assert list(record["arms"]) == ["all"] and record["passed"] is None
    assert not (tmp_path / "results").exists()
    calls.clear()
    go(make_entry())
    assert calls == [("long", 0), ("long", 1)]


def test_a_failed_gate_fails_the_system(make_entry: Make, go: Go) -> None:
    gates = (Gate("found", 0.99, "long"),)
    record = go(make_entry(gates=gates))
    assert record["passed"] is False
    shown = (Gate("found", 0.1, "long"), Gate("found", 5, report_only=True))
    assert go(make_entry(gates=shown, code="other"))["passed"] is True


def test_rates_are_chosen_on_validation_by_each_trained_arm(
    make_entry: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "say", said.append)
    scale = Scale(model="none", steps={"s": 1}, seeds=2, rates=(1.0, 12.0, 0.1))
    tested: list[tuple[float, int]] = []

    def make(run: Any) -> int:
        run.steps["s"] = 1
        if run.seed == 1:
            tested.append((run.rate, run.seed))
        return int(run.rate)

    arms = {"long": Arm("", make, ("s",)), "all": Arm("", lambda run: 1)}
    record = go(make_entry(arms=arms, scales={"small": scale}))
    arm = record["arms"]["long"]
    best = max((1.0, 12.0, 0.1), key=lambda rate: arm["rates"][f"{rate:g}"])
    assert list(arm["rates"]) == ["0.1", "1", "12"] and arm["rates"]["12"] < arm["rates"]["1"]
    assert arm["rate"] == best and tested == [(best, 1)]
    assert record["arms"]["all"]["rate"] is None and record["arms"]["all"]["rates"] == {}
    # Three rates and two seeds of the one, two seeds of the other.
    assert said[1] == "2 of about 7: long, trying the learning rate 12"
    assert said[3::3] == ["4 of about 7: long, seed 0", "7 of about 7: all, seed 1"]


@pytest.mark.parametrize(
    ("lower", "tried"),
    [(False, ["2", "4", "8", "16", "32"]), (True, ["0.25", "0.5", "1", "2", "4"])],
)
def test_where_the_end_of_the_grid_is_best_rates_beyond_it_are_tried(
    make_entry: Make, go: Go, lower: bool, tried: list[str]
) -> None:
    def make(run: Any) -> int:
        run.steps["s"] = 1
        return int(10 * run.rate)

    # The higher the rate, the greater is "length": an end that stays the best at every rate.
    scale = Scale(model="none", steps={"s": 1}, seeds=1, rates=(4.0, 2.0))
    gates = (Gate("found", 0, "long"), Gate("length", 1, lower_is_better=lower))
    arms = {"long": Arm("", lambda run: 1), "all": Arm("", make, ("s",), chosen_on="length")}
    record = go(make_entry(arms=arms, gates=gates, scales={"small": scale}))
    assert list(record["arms"]["all"]["rates"]) == tried


def test_an_arm_that_is_compared_on_another_metric_chooses_its_rate_by_it(
    make_entry: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_BEYOND", 0)
    scale = Scale(model="none", steps={"s": 1}, seeds=1, rates=(12.0, 3.0, 1.0))

    def make(run: Any) -> int:
        run.steps["s"] = 1
        return int(run.rate)

    # "found" prefers all words; the lower "length" is, the better, so that 1 is best there.
    gates = (Gate("found", 0.1, "long"), Gate("length", 20, lower_is_better=True))
    arms = {name: Arm("", make, ("s",), chosen_on="length") for name in ("long", "all")}
    record = go(make_entry(arms=arms, gates=gates, scales={"small": scale}))
    assert record["arms"]["all"]["rates"] == {"12": 12, "3": 3, "1": 1}
    assert record["arms"]["all"]["rate"] == 1 and record["arms"]["all"]["chosen_on"] == "length"
    higher = (gates[0], Gate("length", 1))
    record = go(make_entry(arms=arms, gates=higher, scales={"small": scale}, code="b"))
    assert record["arms"]["all"]["rate"] == 12
    with pytest.raises(ValueError, match="chooses by 'depth', which no gate is"):
        make_entry(arms=arms | {"all": Arm("", make, chosen_on="depth")})


def test_arms_that_are_made_alike_and_choose_by_other_metrics_share_their_trainings(
    make_entry: Make, go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_BEYOND", 0)
    scale = Scale(model="none", steps={"s": 1}, seeds=2, rates=(12.0, 3.0, 1.0))
    trained: list[tuple[float, int]] = []

    def make(run: Any) -> int:
        run.steps["s"] = 1
        trained.append((run.rate, run.seed))
        return int(run.rate)

    # "found" prefers all words, and "length" long ones.
    gates = (Gate("found", 0.1, "long"), Gate("length", 1))
    long, every = Arm("", lambda run: 12), Arm("", make, ("s",))
    arms = {"long": long, "all": every, "all, by length": replace(every, chosen_on="length")}
    record = go(make_entry(arms=arms, gates=gates, scales={"small": scale}))["arms"]
    tried = [(12.0, 0), (3.0, 0), (1.0, 0)]
    chosen = record["all"]["rate"]
    assert chosen != record["all, by length"]["rate"] == 12
    # The chosen model is made again for the test, out of its checkpoint where it has one.
    assert trained == [*tried, (chosen, 0), (chosen, 1), (12.0, 0), (12.0, 1)]
    assert record["all, by length"]["rates"] == {"12": 12, "3": 3, "1": 1}
    assert not list((tmp_path / "work").rglob("training-*"))
    # With the same metric nothing is left to do for the other.
    trained.clear()
    arms["all, by length"] = replace(every, chosen_on="found")
    again = go(make_entry(arms=arms, gates=gates, scales={"small": scale}, code="b"))["arms"]
    assert trained == [*tried, (chosen, 0), (chosen, 1)]
    assert again["all, by length"]["runs"] == again["all"]["runs"]


def test_the_cost_is_of_all_runs_also_of_those_before_a_stop(
    make_entry: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    system = make_entry().load()

    def take(arm: Arm[Any, Any, Any, Any], seconds: float) -> Arm[Any, Any, Any, Any]:
        def make(run: Any) -> Any:
            now[0] += seconds
            if stops and run.seed == 1:
                raise KeyboardInterrupt
            return arm.make(run)

        return replace(arm, make=make)

    arms = {"long": take(system.arms["long"], 5), "all": take(system.arms["all"], 70)}
    stops = True
    with pytest.raises(KeyboardInterrupt):
        go(make_entry(arms=arms))
    stops = False
    assert go(make_entry(arms=arms))["seconds"] == 2 * 5 + 2 * 70


def test_an_arm_trains_in_its_stages_and_no_others(make_entry: Make, go: Go) -> None:
    scale = Scale(model="none", steps={"s": 1})
    arms = {"long": Arm("", lambda run: 1, ("s",)), "all": Arm("", lambda run: 1)}
    with pytest.raises(ValueError, match="'long' trained in the stages none, not in s"):
        go(make_entry(arms=arms, scales={"small": scale}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"jobs": 0}, "--jobs must be at least 1, not 0"),
        ({"arms": ["all", "alll"]}, "no arm 'alll'.*There are: long, all"),
        ({"scale": "full"}, "no scale 'full'.*There are: small, miniature"),
    ],
)
def test_bad_input_is_one_line(make_entry: Make, go: Go, options: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        go(make_entry(), **options)


def test_a_trained_arm_measures_what_it_chooses_its_rate_by(make_entry: Make, go: Go) -> None:
    """Said at once, also where there is one rate and so no choice, as in a miniature."""

    def make(run: Any) -> int:
        run.steps["s"] = 1
        return 1

    arms = {"long": Arm("", make, ("s",)), "all": Arm("", lambda run: 1)}
    scale = Scale(model="none", steps={"s": 1}, rates=(1.0,))
    entry = make_entry(
        arms=arms, scales={"small": scale}, measure=lambda run, model, held: {"other": 1.0}
    )
    with pytest.raises(ValueError, match="'long' chooses its rate by 'found', which is not"):
        go(entry)


def test_the_hash_is_of_the_code_that_was_loaded(make_entry: Make, go: Go) -> None:
    """What is edited while a system runs is not what ran."""
    entry = make_entry()
    read: list[str] = []

    class Edited(type(entry)):
        @cached_property
        def code_hash(self) -> str:
            read.append("hash")
            return "loaded" if len(read) < 2 else "edited"

        def load(self) -> Any:
            read.append("code")
            return entry.load()

    edited = Edited(**{field.name: getattr(entry, field.name) for field in fields(entry)})
    assert go(edited)["identity"]["code"] == "loaded"
    assert read[0] == "hash"


@pytest.mark.parametrize(
    "message",
    [
        "The model 'x' gave NaN or infinity for the text 'y'.",
        "The query vectors hold numbers that are not finite.",
    ],
)
def test_a_rate_at_which_training_diverges_is_not_taken(
    make_entry: Make, go: Go, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(module, "say", said.append)
    monkeypatch.setattr(Run, "fit", lambda run, stage, *_: run.steps.setdefault(stage, 1))

    def make(run: Any) -> int:
        run.fit("s")
        if run.rate > 0.05:
            raise InputError(message)
        return 1 if run.rate > 0.005 else 12

    system = make_entry().load()
    scale = Scale(model="none", steps={"s": 1}, seeds=2, rates=(0.001, 0.01, 0.1))
    arms = {**system.arms, "all": Arm("", make, ("s",))}
    done = go(make_entry(arms=arms, scales={"small": scale}))["arms"]["all"]
    assert done["rate"] == 0.01 and list(done["rates"]) == ["0.001", "0.01"]
    assert [line for line in said if message in line and "not taken" in line]

    def measure(run: Any, model: int, held: Any) -> dict[str, Any]:
        return {"found": np.array([np.nan, 1.0]), "length": 1.0}

    with pytest.raises(InputError, match=r"all at the learning rate 0.001 has NaN .* for found"):
        go(make_entry(arms=arms, scales={"small": scale}, measure=measure, code="b"), arms=["all"])


def test_where_no_record_can_be_written_nothing_is_run(
    make_entry: Make, go: Go, calls: list[tuple[str, int]], tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match="no folder of records"):
        go(make_entry())
    (tmp_path / "results").unlink()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "short-words").write_text("a file")
    with pytest.raises(InputError, match="Cannot write to"):
        go(make_entry())
    assert calls == []


def test_what_a_record_was_computed_from_is_removed(
    make_entry: Make, go: Go, tmp_path: Path
) -> None:
    go(make_entry(), arms=["all"])
    assert len(list((tmp_path / "work" / "short-words").iterdir())) == 1
    go(make_entry())
    assert list((tmp_path / "work" / "short-words").iterdir()) == []
    assert not list((tmp_path / "results" / "short-words").glob(".*"))


def test_a_scale_that_needs_a_gpu_says_so_and_never_shrinks(
    make_entry: Make, go: Go, calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduction, "_cuda", lambda: False)
    small = make_entry().load().scales["small"]
    full = replace(small, gpu_gib=24, hub=("owner/model",))
    with pytest.raises(InputError, match=r"needs a GPU with 24 GiB and downloads owner/model"):
        go(make_entry(scales={"small": small, "full": full}), scale="full")
    assert calls == []


def test_a_corrupt_record_is_named_and_left_alone(make_entry: Make, go: Go, tmp_path: Path) -> None:
    path = tmp_path / "results/short-words/small.json"
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"format": 1}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"small.json is no record"):
            go(make_entry())
        assert path.read_text() == text
        assert "unreadable" in describe(replace_path(make_entry()), tmp_path / "results")["state"]


def replace_path(entry: Entry) -> Entry:
    """The entry with a real system's source, of which the title and the claim are read."""
    from isometry.systems.catalogue import find

    return replace(entry, path=find("2dmse")[0].path)


def test_a_record_of_other_code_is_stale_and_shows_no_figure(
    make_entry: Make, go: Go, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    entry = replace_path(make_entry())
    assert describe(entry, results)["state"] == "not run"
    go(entry)
    now = describe(entry, results)
    assert (now["state"], now["passed"]) == ("passed", True) and "found" in now["headline"]
    later = describe(replace_path(make_entry(code="later")), results)
    assert (later["state"], later["passed"], later["headline"]) == ("stale", None, None)


def test_of_many_one_that_cannot_run_costs_the_others_nothing(
    make_entry: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing(scale: Scale) -> Any:
        raise InputError("There is no data package 'x' here.", "Fetch it.")

    entries = [make_entry(data=missing), make_entry()]
    monkeypatch.setattr("isometry.systems.catalogue.find", lambda name: entries)
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "all", "--json", "--results", str(tmp_path / "results")]) == 2
    out, err = capsys.readouterr()
    assert [record["slug"] for record in json.loads(out)["records"]] == ["short-words"]
    assert "There is no data package 'x' here." in err and "1 of 2 could not run" in err
    # An error is no progress.
    command = ["reproduce", "all", "--quiet", "--results", str(tmp_path / "results")]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "short-words: There is no data package 'x' here. Fetch it." in err
