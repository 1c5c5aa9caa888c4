"""Tables for the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from isometry.cli.output import print_rich
from isometry.evaluation.retrieval import METRICS
from isometry.report.tables import render_comparison, render_plan


def test_a_plan_says_what_is_trained_and_how_long_all_of_it_takes(
    manifest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = {
        **manifest["plan"],
        "layers": 6,
        "frozen_layers": 2,
        "nested": [[2, 96], [4, 192]],
        "pool": 80,
        "estimate_seconds": {"base": 30.0, "training": 90.4},
    }
    data = manifest["figures"]["data"] | {"documents": 81}

    def shown(**changed: Any) -> str:
        print_rich(render_plan({**plan, **changed}, data))
        return " ".join(capsys.readouterr().out.split())

    said = shown()
    assert "4 of 6 layers trained" in said
    assert "Smaller sizes that are trained too: 2x96, 4x192" in said
    assert "rank a sample of 80 documents" in said
    assert said.endswith("base 30 s training 90 s together 2.0 min")
    assert "sample" not in shown(pool=81) and "Smaller sizes" not in shown(nested=[])


def test_models_are_compared_in_points_one_mode_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"model": model, "mode": mode, **dict.fromkeys(METRICS, 0.4567), "difference": None}
        for model in ("one", "[two]")
        for mode in ("hybrid", "dense", "lexical")
    ]
    print_rich(render_comparison(rows))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "45.7" in line]
    order = [(model, mode) for mode in ("dense", "lexical", "hybrid") for model in ("one", "[two]")]
    assert [tuple(line[:2]) for line in lines] == order
    assert {value for line in lines for value in line[2:-1]} == {"45.7"}
    assert {line[-1] for line in lines} == {"–"}
