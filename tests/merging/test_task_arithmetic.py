from __future__ import annotations

import pytest
import torch
from torch import Tensor

from isometry.merging.average import average
from isometry.merging.task_arithmetic import task_arithmetic

BASE = {"w": torch.tensor([0.5, -1.0, 0.25, 2.0, -0.75, 1.5, -0.2, 0.8]), "ids": torch.arange(3)}
CHANGES = (
    [0.4, -0.3, 0.02, 0.15, -0.6, 0.05, 0.25, -0.01],
    [-0.1, -0.5, 0.3, 0.07, 0.2, -0.35, 0.12, 0.03],
    [0.2, 0.11, -0.45, 0.6, -0.04, -0.13, 0.33, -0.27],
)
MODELS = [{**BASE, "w": BASE["w"] + torch.tensor(change)} for change in CHANGES]


def merged(*args: object, **more: object) -> dict[str, Tensor]:
    return dict(task_arithmetic(*args, **more))  # type: ignore[arg-type]


def test_mergekit_gives_the_same() -> None:
    # mergekit 0.1.5, task_arithmetic with weights 0.5, 1, 0.25 and lambda 0.7.
    expected = [0.6050000190734863, -1.4357500076293945, 0.3882499933242798, 2.2065000534057617,
                -0.8270000219345093, 1.2497498989105225, 0.02925001084804535,
                0.7702499628067017]  # fmt: skip
    ours = merged(BASE, MODELS, [0.5, 1.0, 0.25], scale=0.7)["w"]
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=1e-6)


def test_the_ends_of_the_scale_are_the_base_and_the_model() -> None:
    assert torch.equal(merged(BASE, MODELS, scale=0.0)["w"], BASE["w"])
    torch.testing.assert_close(merged(BASE, MODELS[:1], scale=1.0)["w"], MODELS[0]["w"])


def test_equal_shares_and_scale_one_are_the_average() -> None:
    ours = merged(BASE, MODELS, [1 / 3] * 3, scale=1.0)["w"]
    torch.testing.assert_close(ours, dict(average(MODELS))["w"])


def test_usually_the_sum_of_what_was_learned_times_three_tenths() -> None:
    total = sum((model["w"] - BASE["w"] for model in MODELS), torch.zeros(8))
    torch.testing.assert_close(merged(BASE, MODELS)["w"], BASE["w"] + 0.3 * total)


def test_a_negative_weight_unlearns() -> None:
    both = merged(BASE, [MODELS[0], MODELS[0]], [1.0, -1.0], scale=1.0)
    torch.testing.assert_close(both["w"], BASE["w"])


def test_what_no_model_changed_stays_to_the_bit() -> None:
    frozen = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e3
    base = {"w": frozen}
    for scale in (0.3, 0.7, 1.9):
        assert torch.equal(merged(base, [base, base, base], scale=scale)["w"], frozen)


def test_small_changes_of_narrow_types_are_summed_in_float32() -> None:
    base = {"w": torch.tensor([256.0], dtype=torch.bfloat16)}
    # The next number of bfloat16 is 258: half a step twice is one.
    up = {"w": torch.tensor([258.0], dtype=torch.bfloat16)}
    assert merged(base, [up, up], [0.5, 0.5], scale=1.0)["w"].item() == 258
    ours = merged({"w": base["w"].float()}, [up, up], scale=0.5)
    assert ours["w"].dtype == torch.bfloat16


def test_weights_by_the_name_of_a_tensor() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(2)}
    models = [{"a": torch.ones(2), "b": torch.ones(2)}, {name: 5 * base[name] for name in base}]
    ours = merged(base, models, lambda name: [1.0, 0.0] if name == "a" else [0.0, 1.0], scale=1.0)
    assert ours["a"].tolist() == [1, 1] and ours["b"].tolist() == [0, 0]


def test_models_that_do_not_match_raise() -> None:
    for models, weights, said in (
        ([], None, "nothing"),
        (MODELS, [1.0], "3 models and 1 weights"),
        ([{"w": BASE["w"]}], None, "ids"),
        ([{**BASE, "w": torch.zeros(7)}], None, "shape of w"),
        ([{**BASE, "w": torch.arange(8)}], None, "kind of w"),
        ([{**BASE, "ids": torch.arange(1, 4)}], None, "ids"),
    ):
        with pytest.raises(ValueError, match=said):
            merged(BASE, models, weights)


def test_the_first_five_tensors_that_differ_are_listed() -> None:
    many = {f"t{number}": torch.zeros(1) for number in range(9)}
    with pytest.raises(ValueError, match=r"t0, t1, t2, t3, t4$"):
        merged({**BASE, **many}, [BASE])
