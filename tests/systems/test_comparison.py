from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.systems.catalogue import find
from isometry.systems.comparison import judge, passed, same_verdicts, values_of
from isometry.systems.records import read_record, results_folder, state
from isometry.systems.system import Arm, Gate, Scale, System

ITEMS = np.linspace(0, 1, 50)


def verdict(gate: Gate, **arms: Any) -> Any:
    """The verdict on a gate, where each arm has one row of figures a seed."""
    any_arm = Arm("", lambda run: None)
    system = System(
        title="", arxiv="", claim="", differs="",
        data=lambda scale: None,  # pyright: ignore[reportArgumentType]
        measure=lambda run, model, held: {},
        arms={"base": any_arm, "other": any_arm, "method": any_arm},
        baseline="base", method="method",
        gates=(Gate("m", 0, "base"), gate),
        scales={"small": Scale(model="", steps={})},
    )  # fmt: skip
    arms = {"base": [ITEMS] * 2, "other": [ITEMS] * 2, "method": [ITEMS] * 2} | arms
    figures = {name: [{"m": row} for row in rows] for name, rows in arms.items()}
    return judge(system, figures)[1]


def test_a_gain_must_reach_its_margin_and_be_sure() -> None:
    better = [ITEMS + 0.1, ITEMS + 0.12]
    found = verdict(Gate("m", 0.1, "base"), method=better)
    assert found.passed and found.gain == pytest.approx(0.11)
    assert found.low > 0 and found.figure == pytest.approx(0.61) and found.other == 0.5
    assert not verdict(Gate("m", 0.12, "base"), method=better).passed
    # Large for one item of fifty, and so perhaps luck.
    lucky = ITEMS.copy()
    lucky[0] += 10
    unsure = verdict(Gate("m", 0.1, "base"), method=[lucky, lucky])
    assert unsure.gain == pytest.approx(0.2) and unsure.low == 0 and not unsure.passed


def test_an_allowed_loss_need_not_be_a_gain() -> None:
    worse = [ITEMS - 0.02] * 2
    assert verdict(Gate("m", -0.03, "base"), method=worse).passed
    assert not verdict(Gate("m", -0.01, "base"), method=worse).passed


def test_a_smaller_figure_may_be_the_better_one() -> None:
    down = verdict(Gate("m", 0.05, "base", lower_is_better=True), method=[ITEMS - 0.1] * 2)
    assert down.passed and down.gain == pytest.approx(0.1) and down.figure == pytest.approx(0.4)
    assert not verdict(
        Gate("m", 0.05, "base", lower_is_better=True), method=[ITEMS + 0.1] * 2
    ).passed
    assert verdict(Gate("m", 0.5, lower_is_better=True)).passed
    assert not verdict(Gate("m", 0.49, lower_is_better=True)).passed


def test_a_figure_alone_is_compared_with_the_margin() -> None:
    found = verdict(Gate("m", 0.5))
    assert found.passed and found.gain is found.low is found.other is None
    assert not verdict(Gate("m", 0.51)).passed
    assert verdict(Gate("m", 0.55, arm="other"), other=[ITEMS + 0.1] * 2).passed


def test_seeds_are_paired() -> None:
    """Seeds differ much, their differences do not: paired, the gain is sure."""
    base = [ITEMS, ITEMS + 5, ITEMS - 5]
    found = verdict(Gate("m", 0.05, "base"), base=base, method=[row + 0.1 for row in base])
    assert found.low == pytest.approx(0.1) and found.passed


def test_figures_of_one_number_are_compared_over_seeds() -> None:
    found = verdict(Gate("m", 0.1, "base"), base=[0.1, 0.2, 0.3], method=[0.4, 0.5, 0.7])
    # Student's t with two degrees of freedom: 4.303 standard errors each side of 1/3.
    error = np.std([0.3, 0.3, 0.4], ddof=1) / 3**0.5
    assert found.low == pytest.approx(1 / 3 - 4.3027 * error, abs=1e-4)


def test_figures_of_other_items_are_not_compared() -> None:
    with pytest.raises(InputError, match="'m' of 'method' and of 'base' are of other items"):
        verdict(Gate("m", 0.1, "base"), base=[0.1, 0.2], method=[ITEMS, ITEMS])


def test_what_only_reports_decides_nothing() -> None:
    shown = verdict(Gate("m", 9, report_only=True))
    assert not shown.passed and passed([shown])
    assert not passed([verdict(Gate("m", 9))])


def test_a_missing_figure_is_named() -> None:
    with pytest.raises(InputError, match=r"no figure 'n'.*There are: m"):
        values_of([{"m": 1.0}], "n")
    with pytest.raises(InputError, match="different items"):
        values_of([{"m": [1.0, 2.0]}, {"m": [1.0]}], "m")


def test_verdicts_of_two_processors_are_the_same_but_for_last_bits() -> None:
    ours = verdict(Gate("m", 0.1, "base"), method=[ITEMS + 0.1, ITEMS + 0.12]).to_json()
    assert same_verdicts([ours], [{**ours, "low": ours["low"] + 1e-16}])
    for change in ({"low": ours["low"] + 1e-6}, {"passed": False}, {"metric": "n"}, {"low": None}):
        assert not same_verdicts([ours], [{**ours, **change}]), change
    assert not same_verdicts([ours], [{**ours, "more": 1.0}])
    assert not same_verdicts([ours], [])


def test_the_records_of_this_repository_are_judged_by_what_judges_now() -> None:
    shown = 0
    for path in sorted(results_folder().glob("*/small.json")):
        record, (entry,) = read_record(path), find(path.parent.name)
        if record is None or state(entry, record) == "stale":
            continue
        arms = record["arms"].items()
        figures = {name: [run["figures"] for run in arm["runs"]] for name, arm in arms}
        verdicts = judge(entry.load(), figures)
        assert same_verdicts([verdict.to_json() for verdict in verdicts], record["gates"]), path
        assert passed(verdicts) == record["passed"], path
        shown += 1
    assert shown
