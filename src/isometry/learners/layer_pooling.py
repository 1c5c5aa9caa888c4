"""Poolers over the layers of an encoder that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.learners.learner import Learner, Losses

Layers = Float[np.ndarray, "layers d"]


@dataclass(frozen=True, slots=True)
class LayerPair:
    """Two texts that belong together, as the vectors of all layers.

    Attributes:
        query: What asks.
        document: What answers.
    """

    query: Layers
    document: Layers


@dataclass(frozen=True, slots=True)
class LabelledLayers:
    """A text with its class, as the vectors of all layers.

    Attributes:
        layers: Of the text.
        label: The number of its class, from 0.
    """

    layers: Layers
    label: int


class PooledPairs(Learner):
    """A contrast of pooled vectors.

    Args:
        pooler: Vectors of all layers -> one vector; `MultiLayer` or `LayerMix`.
        objective: Takes `(a, b)`.
    """

    def __init__(self, pooler: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler
        self.objective = objective

    def collate(self, rows: Sequence[LayerPair]) -> dict[str, Any]:
        """Rows -> the layers of both sides."""
        return {
            "query": stack_layers([row.query for row in rows]),
            "document": stack_layers([row.document for row in rows]),
        }

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The objective, in float32 whatever the pooler computes in."""
        a, b = (self.pooler(batch[side]).float() for side in ("query", "document"))
        with torch.autocast(a.device.type, enabled=False):
            return {"loss": self.objective(a, b)}

    def vectors(self, states: Float[np.ndarray, "n layers d"]) -> Float[np.ndarray, "n wide"]:
        """What the pooler makes of texts' layers."""
        return _pooled(self.pooler, states).cpu().numpy()


class PooledClasses(Learner):
    """Cross-entropy over classes, of pooled vectors.

    Args:
        pooler: As for `PooledPairs`.
        head: Vectors -> logits.
    """

    def __init__(self, pooler: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler
        self.head = head

    def collate(self, rows: Sequence[LabelledLayers]) -> dict[str, Any]:
        """Rows -> their layers and classes."""
        return {
            "layers": stack_layers([row.layers for row in rows]),
            "labels": torch.tensor([row.label for row in rows]),
        }

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean cross-entropy, with logits in float32."""
        vectors = self.pooler(batch["layers"]).float()
        with torch.autocast(vectors.device.type, enabled=False):
            return {"loss": functional.cross_entropy(self.head(vectors), batch["labels"])}

    def told(self, states: Float[np.ndarray, "n layers d"]) -> Int[np.ndarray, " n"]:
        """The number of the most probable class of each text."""
        with torch.no_grad():
            return self.head(_pooled(self.pooler, states)).argmax(dim=1).cpu().numpy()


@torch.no_grad()
def _pooled(pooler: nn.Module, states: Float[np.ndarray, "n layers d"]) -> Float[Tensor, "n wide"]:
    device = next(pooler.parameters()).device
    return pooler.eval()(stack_layers(list(states)).to(device)).float()


def stack_layers(rows: Sequence[Layers]) -> Float[Tensor, "layers b d"]:
    """The layers of a batch, lowest first."""
    return torch.from_numpy(np.stack(rows, axis=1))
