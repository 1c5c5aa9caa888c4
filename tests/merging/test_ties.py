from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from isometry.merging.ties import ties

ZERO = {"w": torch.zeros(4)}
U, V = {"w": torch.tensor([1.0, -2.0, 0.1, 3.0])}, {"w": torch.tensor([2.0, 1.0, -0.3, -1.0])}
BASE = {"w": torch.tensor([0.5, -1.0, 0.25, 2.0, -0.75, 1.5, -0.2, 0.8])}
CHANGES = (
    [0.4, -0.3, 0.02, 0.15, -0.6, 0.05, 0.25, -0.01],
    [-0.1, -0.5, 0.3, 0.07, 0.2, -0.35, 0.12, 0.03],
    [0.2, 0.11, -0.45, 0.6, -0.04, -0.13, 0.33, -0.27],
)
MODELS = [{"w": BASE["w"] + torch.tensor(change)} for change in CHANGES]


def merged(*args: Any, **more: Any) -> Tensor:
    return dict(ties(*args, **more))["w"]


def test_trim_elect_merge() -> None:
    # Kept are (0, -2, 0, 3) and (2, 1, 0, -1): equal magnitudes both, though half would be two.
    assert merged(ZERO, [U, V], keep=0.5).tolist() == [2, -2, 0, 3]
    assert merged(ZERO, [V], keep=0.5).tolist() == [2, 1, 0, -1]
    assert merged(ZERO, [U, V], keep=0.5, scale=0.5).tolist() == [1, -1, 0, 1.5]


def test_mergekit_gives_the_same() -> None:
    # mergekit 0.1.5, ties: density 0.375, weights 0.5, 1, 0.25; and 0.5, equal, lambda 0.5.
    expected = [0.8999999761581421, -1.4333332777023315, 0.550000011920929, 2.5999999046325684,
                -1.350000023841858, 1.149999976158142, 0.1300000101327896,
                0.800000011920929]  # fmt: skip
    ours = merged(BASE, MODELS, [0.5, 1.0, 0.25], keep=0.375)
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=1e-6)
    expected = [0.699999988079071, -1.2000000476837158, 0.025000005960464478, 2.299999952316284,
                -1.0499999523162842, 1.3250000476837158, -0.05499999225139618,
                0.6649999618530273]  # fmt: skip
    ours = merged(BASE, MODELS, keep=0.5, scale=0.5)
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=1e-6)


def test_a_trimmed_zero_has_no_part_in_the_mean() -> None:
    # Kept of the second is its 8 only: the 4 of the first is not halved.
    one, other = {"w": torch.tensor([4.0, 0.0])}, {"w": torch.tensor([0.0, 8.0])}
    assert merged(ZERO | {"w": torch.zeros(2)}, [one, other], keep=0.5).tolist() == [4, 8]


def test_the_sign_is_that_of_the_larger_mass_not_of_the_larger_number() -> None:
    models = [{"w": torch.tensor([value])} for value in (1.0, 1.0, -5.0)]
    assert merged({"w": torch.zeros(1)}, models, keep=1.0).tolist() == [-5]


def test_what_cancels_exactly_stays_the_bases_and_the_sign_has_no_preference() -> None:
    one = {"w": torch.tensor([2.0, -2.0, 1.0, -1.0])}
    other = {"w": -one["w"]}
    assert merged(ZERO, [one, other], keep=1.0).tolist() == [0, 0, 0, 0]
    turned = [{"w": -model["w"]} for model in (U, V)]
    assert torch.equal(merged(ZERO, turned, keep=0.5), -merged(ZERO, [U, V], keep=0.5))


def test_weights_count_in_the_election_and_in_the_mean_by_their_ratio_only() -> None:
    models = [{"w": torch.tensor([3.0, 3.0])}, {"w": torch.tensor([-2.0, 1.0])}]
    base = {"w": torch.zeros(2)}
    assert merged(base, models, [1.0, 1.0], keep=1.0).tolist() == [3, 2]
    assert merged(base, models, [1.0, 3.0], keep=1.0).tolist() == [-2, 1.5]
    assert torch.equal(
        merged(base, models, [0.1, 0.3], keep=1.0), merged(base, models, [1.0, 3.0], keep=1.0)
    )
    with pytest.raises(ValueError, match="negative"):
        merged(base, models, [1.0, -1.0])


def test_the_order_of_the_models_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    models = [{"w": torch.randn(50, generator=generator)} for _ in range(3)]
    base = {"w": torch.zeros(50)}
    torch.testing.assert_close(merged(base, models), merged(base, models[::-1]))


def test_a_model_and_itself_give_itself() -> None:
    torch.testing.assert_close(merged(BASE, [MODELS[0]] * 3, keep=1.0), MODELS[0]["w"])
    assert torch.equal(merged(BASE, [BASE, BASE]), BASE["w"])
    assert torch.equal(merged(BASE, MODELS, scale=0.0), BASE["w"])


@pytest.mark.parametrize(("size", "keep", "kept"), [(10, 0.2, 2), (10, 0.29, 2), (3, 0.2, 1),
                                                    (1, 0.01, 1), (10, 1.0, 10)])  # fmt: skip
def test_so_many_are_kept_and_one_at_least(size: int, keep: float, kept: int) -> None:
    change = {"w": torch.arange(1.0, size + 1)}
    ours = merged({"w": torch.zeros(size)}, [change], keep=keep)
    assert ours.count_nonzero().item() == kept
    assert torch.equal(ours[-kept:], change["w"][-kept:])


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.1])
def test_a_fraction_that_is_none_raises(keep: float) -> None:
    with pytest.raises(ValueError, match="keep"):
        merged(BASE, MODELS, keep=keep)


class Lazy(Mapping[str, Tensor]):
    """A state dict that makes a tensor when it is asked for it."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def test_a_lazy_mapping_gives_the_same_and_nothing_is_written_into_models() -> None:
    before = [model["w"].clone() for model in MODELS]
    lazy = merged(Lazy(BASE), [Lazy(model) for model in MODELS], keep=0.5)
    assert torch.equal(lazy, merged(BASE, MODELS, keep=0.5))
    lazy.zero_()
    assert all(torch.equal(model["w"], own) for model, own in zip(MODELS, before, strict=True))
    assert torch.equal(BASE["w"], torch.tensor([0.5, -1, 0.25, 2, -0.75, 1.5, -0.2, 0.8]))


def test_each_tensor_has_a_threshold_of_its_own() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(2)}
    model = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([10.0, 20.0])}
    ours = dict(ties(base, [model], keep=0.5))
    assert ours["a"].tolist() == [0, 2] and ours["b"].tolist() == [0, 20]
