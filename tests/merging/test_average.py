from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from isometry.encoders.text import TextEncoder
from isometry.merging.average import average


def model(seed: int) -> nn.Sequential:
    """Layers with parameters, running means and a whole number."""
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    made.train()
    made(torch.randn(16, 5))
    return made


def merged(*args: Any) -> dict[str, Tensor]:
    return dict(average(*args))


def assert_same(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], rtol: float = 0, atol: float = 0
) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_ends_of_the_line_are_exact(dtype: torch.dtype) -> None:
    one, other = model(0).to(dtype).state_dict(), model(1).to(dtype).state_dict()
    assert_same(merged([one, other], [1.0, 0.0]), one)
    assert_same(merged([one, other], [0.0, 1.0]), other)
    assert_same(merged([one]), one)


def test_points_between_lie_on_the_line() -> None:
    one, other = model(0).state_dict(), model(1).state_dict()
    for t in (0.25, 0.5, 0.75):
        by_hand = {
            name: tensor if name.endswith("tracked") else tensor + t * (other[name] - tensor)
            for name, tensor in one.items()
        }
        assert_same(merged([one, other], [1 - t, t]), by_hand, rtol=1e-6, atol=1e-7)
    assert_same(merged([one, other]), merged([one, other], [0.5, 0.5]))


def test_equal_weights_are_the_running_mean_of_torch() -> None:
    models = [model(seed) for seed in range(4)]
    peer = AveragedModel(models[0], use_buffers=False)
    for each in models:
        peer.update_parameters(each)
    expected = dict(peer.module.named_parameters())
    ours = merged([each.state_dict() for each in models])
    for name, parameter in expected.items():
        torch.testing.assert_close(ours[name], parameter.detach(), rtol=1e-6, atol=1e-7)


def test_weights_need_not_sum_to_one() -> None:
    a, b, base = ({"w": torch.tensor([value, 1.0])} for value in (5.0, 7.0, 1.0))
    # base + (a - base) + (b - base): task arithmetic
    torch.testing.assert_close(
        merged([base, a, b], [-1.0, 1.0, 1.0])["w"], torch.tensor([11.0, 1.0])
    )


def test_narrow_types_are_summed_in_float32_and_wide_ones_in_their_own() -> None:
    parts = [{"w": torch.tensor([value], dtype=torch.bfloat16)} for value in (256.0, 1.0, 1.0)]
    total = merged(parts, [1.0, 1.0, 1.0])["w"]
    # Step by step, bfloat16 stays at 256.
    assert total.dtype == torch.bfloat16 and total.item() == 258
    halves = [{"w": torch.tensor([60000.0], dtype=torch.float16)} for _ in range(2)]
    assert merged(halves)["w"].item() == 60000
    fine = {"w": torch.tensor([1 + 1e-12], dtype=torch.float64)}
    assert merged([fine, fine])["w"].item() == 1 + 1e-12


def test_whole_numbers_are_passed_on_and_must_agree() -> None:
    one = {"ids": torch.arange(3), "flag": torch.tensor([True]), "w": torch.ones(1)}
    other = {**one, "w": torch.zeros(1)}
    result = merged([one, other], [0.5, 0.5])
    assert torch.equal(result["ids"], one["ids"]) and result["flag"].dtype == torch.bool
    with pytest.raises(ValueError, match="ids"):
        merged([one, {**other, "ids": torch.arange(1, 4)}])


W = {"w": torch.ones(2, 3)}


@pytest.mark.parametrize(
    ("models", "weights", "said"),
    [
        ([], None, "nothing"),
        ([W, W], [1.0], "2 models and 1 weights"),
        ([W, {"v": torch.ones(2, 3)}], None, "v, w"),
        ([W, {**W, "more": torch.ones(1)}], None, "more"),
        ([{**W, "more": torch.ones(1)}, W], None, "more"),
        ([W, {"w": torch.ones(3, 2)}], None, r"\(2, 3\), \(3, 2\)"),
        ([W, {"w": torch.ones(1, 3)}], None, "shape of w"),
    ],
)
def test_models_that_do_not_match_raise(
    models: Sequence[dict[str, Tensor]], weights: Sequence[float] | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        merged(models, weights)


def test_the_models_stay_as_they_were() -> None:
    one, other = model(0).state_dict(), model(1).state_dict()
    before = copy.deepcopy((one, other))
    for _, tensor in average([one, other], [0.3, 0.7]):
        if tensor.is_floating_point():
            tensor.zero_()
    assert_same(one, before[0])
    assert_same(other, before[1])


def test_a_model_averaged_with_itself_gives_the_same_vectors(
    minilm: TextEncoder, texts: list[str]
) -> None:
    state = minilm.state_dict()
    itself = copy.deepcopy(minilm)
    itself.load_state_dict(merged([state, state], [0.5, 0.5]))
    np.testing.assert_array_equal(itself.encode(texts[:5]), minilm.encode(texts[:5]))
    assert itself.fingerprint() == minilm.fingerprint()
