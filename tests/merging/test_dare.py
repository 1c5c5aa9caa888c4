from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from isometry.merging.average import average
from isometry.merging.dare import dare, random_mask

BASE = {"w": torch.tensor([0.5, -1.0, 0.25, 2.0, -0.75, 1.5, -0.2, 0.8])}
CHANGES = (
    [0.4, -0.3, 0.02, 0.15, -0.6, 0.05, 0.25, -0.01],
    [-0.1, -0.5, 0.3, 0.07, 0.2, -0.35, 0.12, 0.03],
    [0.2, 0.11, -0.45, 0.6, -0.04, -0.13, 0.33, -0.27],
)
MODELS = [{"w": BASE["w"] + torch.tensor(change)} for change in CHANGES]
WEIGHTS = [0.5, 1.0, 0.25]


def merged(*args: Any, **more: Any) -> Tensor:
    return dict(dare(*args, **more))["w"]


def test_the_mean_over_draws_is_what_was_learned() -> None:
    # 100 draws at once, since each place is one of its own; 20 seeds.
    base = {"w": BASE["w"].repeat(100, 1)}
    model = {"w": MODELS[0]["w"].repeat(100, 1)}
    draws = torch.cat([merged(base, [model], seed=seed) - base["w"] for seed in range(20)]).double()
    error = draws.std(0) / 2000**0.5
    off = (draws.mean(0) - torch.tensor(CHANGES[0])).abs() / error
    assert off.max() < 3
    # A tenth is kept, ten times as large.
    kept = draws.abs() > 1e-4
    assert abs(kept.double().mean().item() - 0.1) < 0.01
    expected = (10 * torch.tensor(CHANGES[0]).double()).expand_as(draws)
    torch.testing.assert_close(draws[kept], expected[kept], rtol=0, atol=1e-5)


def test_nothing_dropped_is_the_average() -> None:
    torch.testing.assert_close(merged(BASE, MODELS, drop=0.0), dict(average(MODELS))["w"])
    torch.testing.assert_close(merged(BASE, MODELS[:1], drop=0.0), MODELS[0]["w"])
    assert torch.equal(merged(BASE, MODELS, scale=0.0), BASE["w"])
    assert torch.equal(merged(BASE, [BASE, BASE]), BASE["w"])


def test_mergekit_gives_the_same_under_the_same_masks() -> None:
    # mergekit 0.1.5 with these masks in place of its `bernoulli`; density 0.4, rescale off, and
    # lambda 2.5 for the rescaling: dare_linear, and dare_ties with normalize on.
    masks = [[0, 0, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 0, 0, 0]]
    for model, mask in enumerate(masks):
        assert random_mask((8,), 0.6, 7, model, "w").int().tolist() == mask
    expected = [0.5, -2.25, -0.006249964237213135, 2.0, -0.27500003576278687, 0.6249999403953552,
                0.11249999701976776, 0.8749999403953552]  # fmt: skip
    ours = merged(BASE, MODELS, WEIGHTS, drop=0.6, seed=7)
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=1e-6)
    expected = [0.5, -2.25, -0.875, 2.0, -0.2500000298023224, 0.6249999403953552,
                0.42500001192092896, 0.8749999403953552]  # fmt: skip
    ours = merged(BASE, MODELS, WEIGHTS, drop=0.6, seed=7, elect_signs=True)
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=1e-6)


def test_masks_differ_by_seed_model_and_name_and_not_by_the_order_of_tensors() -> None:
    one = random_mask((1000,), 0.5, 0, 0, "a")
    for other in ((1, 0, "a"), (0, 1, "a"), (0, 0, "b")):
        same = (one == random_mask((1000,), 0.5, *other)).double().mean().item()
        assert 0.4 < same < 0.6
    assert torch.equal(one, random_mask((1000,), 0.5, 0, 0, "a"))
    base = {"a": torch.zeros(9), "b": torch.zeros(9)}
    model = {name: torch.arange(1.0, 10) for name in base}
    turned = [dict(reversed(list(state.items()))) for state in (base, model)]
    there, back = dict(dare(base, [model])), dict(dare(turned[0], [turned[1]]))
    assert all(torch.equal(there[name], back[name]) for name in base)


def test_nothing_else_that_is_random_is_disturbed() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    merged(BASE, MODELS)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("drop", [-0.1, 1.0])
def test_a_fraction_that_is_none_raises(drop: float) -> None:
    with pytest.raises(ValueError, match="drop"):
        merged(BASE, MODELS, drop=drop)


def test_narrow_types_come_back() -> None:
    base = {"w": BASE["w"].bfloat16()}
    models = [{"w": model["w"].bfloat16()} for model in MODELS]
    assert merged(base, models).dtype == torch.bfloat16
