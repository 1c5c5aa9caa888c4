from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from isometry.core.errors import InputError
from isometry.core.files import read_json
from isometry.training.plan import Plan


@pytest.fixture
def plan(tiny_plan: Path) -> Plan:
    return Plan.from_json(read_json(tiny_plan))


def test_a_plan_of_a_space_from_before_there_were_sizes_is_followed(plan: Plan) -> None:
    values = without("nested")(plan.to_json())
    assert Plan.from_json(values) == plan and "nested" not in values


def test_a_plan_comes_back_from_json(plan: Plan) -> None:
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan and isinstance(again.dims, tuple)
    assert Plan.from_json(plan.to_json()) == plan
    nested = replace(plan, nested=((1, 16),), dims=(64,))
    assert Plan.from_json(json.loads(json.dumps(nested.to_json()))) == nested
    # A few steps over very many pairs.
    assert Plan.from_json({**plan.to_json(), "epochs": 0.0}).epochs == 0


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda values: {key: value for key, value in values.items() if key != name}


def put(**changed: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda values: {**values, **changed}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: [values], "no plan of this version"),
        (lambda values: None, "no plan of this version"),
        (lambda values: {}, "differs in"),
        (without("steps"), "differs in: steps"),
        (put(stepz=3), "differs in: stepz"),
        (put(steps=0), "steps is 0"),
        (put(steps="100"), "steps is '100'"),
        (put(steps=10.5), "steps is 10.5"),
        (put(steps=True), "steps is True"),
        (put(batch=1), "batch is 1"),
        (put(pool=0), "pool is 0"),
        (put(queries=0), "queries is 0"),
        (put(pairs=1), "pairs is 1"),
        (put(precision="float16"), "precision is 'float16'"),
        (put(precision=["float32"]), "precision is"),
        (put(dims=None), "dims is None"),
        (put(dims=[]), "dims is"),
        (put(dims=[32, 0]), "dims is"),
        (put(dims="32"), "dims is '32'"),
        (put(alphas=[0.5, 1.5]), "alphas is"),
        (put(alphas=[0.0]), "alphas is"),
        (put(learning_rate=0), "learning_rate is 0"),
        (put(learning_rate=float("nan")), "learning_rate is nan"),
        (put(temperature=-0.1), "temperature is -0.1"),
        (put(frozen_layers=3), "freezes too many"),
        (put(estimate_seconds={}), "estimate_seconds is"),
        (put(measured={"speed": "fast"}), "measured is"),
        (put(nested=None), "nested is None"),
        (put(nested="1x16"), "nested is '1x16'"),
        (put(nested=[16]), "nested is"),
        (put(nested=[[1]]), "nested is"),
        (put(nested=[[1, 16.0]]), "nested is"),
        (put(nested=[[1, 1]]), "nested is"),
        (put(nested=[[0, 16]]), "nested is"),
        (put(nested=[[1, 16], [1, 24]]), "nested is"),
        (put(nested=[[2, 16]]), "sizes do not fit"),
        (put(nested=[[1, 32]]), "sizes do not fit"),
        (put(nested=[[1, 16]], frozen_layers=1), "sizes do not fit"),
    ],
)
def test_what_is_no_plan_is_one_line(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    values = dict.fromkeys((field.name for field in fields(Plan)), 1) | {
        "batch": 8,
        "pairs": 2,
        "layers": 2,
        "precision": "float32",
        "dims": [32],
        "alphas": [1.0],
        "frozen_layers": 0,
        "nested": [[1, 16]],
        "measured": {},
        "estimate_seconds": {"training": 1.0},
    }
    assert Plan.from_json(values).batch == 8
    with pytest.raises(InputError, match=said) as caught:
        Plan.from_json(change(values))
    assert "\n" not in str(caught.value)
