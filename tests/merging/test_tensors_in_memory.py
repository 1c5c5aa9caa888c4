"""However many models there are, few of their tensors are in memory at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
import torch
from torch import Tensor

from isometry.merging.average import average
from isometry.merging.dare import dare
from isometry.merging.slerp import slerp
from isometry.merging.task_arithmetic import task_arithmetic
from isometry.merging.ties import ties

Merged = Iterator[tuple[str, Tensor]]


class Watched(Mapping[str, Tensor]):
    """A model that reads its tensors anew, and counts those of all models that are still held."""

    alive = 0
    most = 0

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __getitem__(self, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 100 + int(name))
        tensor = torch.randn(6, generator=generator)
        Watched.alive += 1
        Watched.most = max(Watched.most, Watched.alive)
        weakref.finalize(tensor, Watched.gone)
        return tensor

    @staticmethod
    def gone() -> None:
        Watched.alive -= 1

    def __iter__(self) -> Iterator[str]:
        return iter(["0", "1", "2"])

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "merge",
    [
        average,
        lambda models: slerp(models[0], models[1]),
        lambda models: task_arithmetic(models[0], models[1:]),
        lambda models: ties(models[0], models[1:]),
        lambda models: dare(models[0], models[1:]),
        lambda models: dare(models[0], models[1:], elect_signs=True),
    ],
)
def test_few_tensors_of_ten_models_are_held_at_once(
    merge: Callable[[Sequence[Mapping[str, Tensor]]], Merged],
) -> None:
    Watched.alive = Watched.most = 0
    for _ in merge([Watched(seed) for seed in range(10)]):
        pass
    # The first model's and the one at hand; the checks of shapes hold one more while tests run.
    assert Watched.most <= 3
