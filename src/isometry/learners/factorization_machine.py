"""How probable an event is, by the products of the vectors of all that takes part in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.learners.learner import Learner, Losses

Row = tuple[np.ndarray, bool]


class IdVectors(Protocol):
    """What gives vectors for ids."""

    def __call__(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The vectors of ids."""
        ...

    def penalty(self) -> Float[Tensor, ""]:
        """What is added to the loss."""
        ...


@runtime_checkable
class SearchingVectors(IdVectors, Protocol):
    """What also learns how to store them."""

    @property
    def held_share(self) -> float:
        """The share of a batch that `search` gets alone."""
        ...

    def search(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The same, with a gradient for nothing but the way of storing them."""
        ...


class FactorizationMachine(Learner):
    """The logit is a bias and the inner products of all pairs of an event's vectors.

    Rendle 2010, "Factorization Machines", equations 1 and 5, without weights of single ids: all
    that is known of an id is its vector.

    Args:
        table: An `IdVectors`. What `SearchingVectors` hold back of a batch trains nothing but their
            search.
    """

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table
        self.bias = nn.Parameter(torch.zeros(()))

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Pairs of an event's ids and whether it happened."""
        ids, happened = zip(*rows, strict=True)
        return {
            # Much faster than to stack them, and a batch has a thousand.
            "ids": torch.from_numpy(np.concatenate(ids).reshape(len(ids), -1).astype(np.int64)),
            "happened": torch.tensor(happened, dtype=torch.float32),
        }

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean cross-entropy, and what the table adds."""
        table = cast("IdVectors", self.table)
        ids, happened = batch["ids"], batch["happened"]
        held = table.held_share if isinstance(table, SearchingVectors) else 0.0
        own = len(ids) - round(held * len(ids))
        loss = self._cross_entropy(table(ids[:own]), happened[:own]) + table.penalty()
        if isinstance(table, SearchingVectors) and own < len(ids):
            bias = self.bias.detach()
            logits = pair_products(table.search(ids[own:])) + bias
            loss = loss + functional.binary_cross_entropy_with_logits(logits, happened[own:])
        return {"loss": loss}

    def _cross_entropy(
        self, vectors: Float[Tensor, "b ids dim"], happened: Float[Tensor, " b"]
    ) -> Float[Tensor, ""]:
        logits = pair_products(vectors) + self.bias
        return functional.binary_cross_entropy_with_logits(logits, happened)


def pair_products(vectors: Float[Tensor, "*b ids dim"]) -> Float[Tensor, "*b"]:
    """The sum of the inner products of all pairs: half of the square of the sum, less the squares.

    It takes time in proportion to the ids, and not to their pairs (Rendle 2010, lemma 3.1).
    """
    return (vectors.sum(dim=-2).square() - vectors.square().sum(dim=-2)).sum(dim=-1) / 2
