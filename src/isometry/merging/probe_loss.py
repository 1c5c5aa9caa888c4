"""A bi-encoder's loss on a few examples, as a function of its encoder's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, device, nn
from torch.func import functional_call

from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.merging.tensors import State


class _Loss(nn.Module):
    """A learner whose `forward` is its loss: what `functional_call` can call."""

    def __init__(self, learner: TwoTowers) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: dict[str, Any]) -> Float[Tensor, ""]:
        return self.learner.loss(batch)["loss"]


class TowersProbe:
    """One task's part of a probe; see `learn_weights`.

    Args:
        learner: Knows the task's own loss; its weights stay as they are.
        rows: The examples.
        order: The rows of each step; after the last comes the first.
        bfloat16: Whether the encoder's matrix products are in it.

    Raises:
        ValueError: When there are fewer than two rows, or no step.
    """

    def __init__(
        self,
        learner: TwoTowers,
        rows: Sequence[PairRow],
        order: Sequence[Sequence[int]],
        *,
        bfloat16: bool = False,
    ) -> None:
        if len(rows) < 2 or not order:
            raise ValueError(f"a probe takes two rows at least, not {len(rows)}, and steps")
        self._loss = _Loss(learner)
        self._rows = rows
        self._order = order
        self._bfloat16 = bfloat16
        self._whole = learner.collate(rows)

    def __call__(self, state: State, step: int | None) -> Float[Tensor, ""]:
        """The loss of a step's rows, or of all rows in one batch; gradients flow.

        Args:
            state: Tensors of the encoder by their names in it; what is not there is as it was.
            step: Which step; `None` for all rows.
        """
        place = next(self._loss.parameters()).device
        batch = self._whole
        if step is not None:
            rows = self._order[step % len(self._order)]
            batch = self._loss.learner.collate([self._rows[row] for row in rows])
        tensors = {f"learner.encoder.{name}": part.to(place) for name, part in state.items()}
        with torch.autocast(place.type, torch.bfloat16) if self._bfloat16 else nullcontext():
            return cast("Tensor", functional_call(self._loss, tensors, (_moved(batch, place),)))


def _moved(value: Any, place: device) -> Any:
    if isinstance(value, Tensor):
        return value.to(place)
    # Tokens come in transformers' own mapping, which is no dict.
    if isinstance(value, Mapping):
        parts = cast("Mapping[str, Any]", value)
        return {name: _moved(part, place) for name, part in parts.items()}
    return value
