"""The one interface between a model and the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

Losses = dict[str, Tensor]


class Learner(nn.Module, ABC):
    """A model that knows its own loss."""

    @abstractmethod
    def collate(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The rows of one batch -> tensors, on the CPU."""

    @abstractmethod
    def loss(self, batch: dict[str, Any]) -> Losses:
        """Named scalars: `"loss"` is stepped, the others are logged."""
