"""Two encoders, or one used twice, under a pairwise objective."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Learner, Losses

# Into so many groups of like lengths a batch is cut.
_GROUPS = 4


@dataclass(frozen=True, slots=True)
class PairRow:
    """One training pair.

    Attributes:
        query: What asks.
        document: What answers.
        key: Two documents with the same key answer each other's queries.
        negatives: Documents that look like answers and are not; equally many in every row.
        negative_keys: The keys of the negatives.
        answers: Keys of further documents that may answer; in a batch they are no negatives.
    """

    query: str
    document: str
    key: Hashable
    negatives: tuple[str, ...] = ()
    negative_keys: tuple[Hashable, ...] = ()
    answers: frozenset[Hashable] = frozenset()


class TwoTowers(Learner):
    """A bi-encoder: one shared text encoder, its two prompts, and a contrast.

    Dropout stays off: few steps at a small learning rate do not overfit, the loss is then a
    function of weights and batch alone, and a resumed run repeats it without a random state.

    Args:
        encoder: Encodes queries and documents.
        objective: Takes `(a, b, negatives, same)` with a leading axis of layers.
        query_tokens: Where queries are cut.
        document_tokens: Where documents are cut.
        layers: Whether the objective gets the vectors of all layers, as
            `TextEncoder.pooled_layers` makes them, or an axis of one: the model's own vectors.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        objective: nn.Module,
        *,
        query_tokens: int,
        document_tokens: int,
        layers: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.query_tokens = query_tokens
        self.document_tokens = document_tokens
        self.layers = layers
        self.encoder.eval()

    def train(self, mode: bool = True) -> TwoTowers:
        """Sets the mode of all parts but the encoder, which stays without dropout."""
        super().train(mode)
        self.encoder.eval()
        return self

    def collate(self, rows: Sequence[PairRow]) -> dict[str, Any]:
        """Rows -> tokens of queries, documents and negatives, and which candidates match too.

        Raises:
            ValueError: When rows have unequal numbers of negatives, or a negative has no key.
        """
        if len({len(row.negatives) for row in rows}) > 1:
            raise ValueError("the rows of a batch must have equally many negatives")
        if any(len(row.negative_keys) != len(row.negatives) for row in rows):
            raise ValueError("every negative of a row needs its key")
        negatives = [text for row in rows for text in row.negatives]
        keys = [row.key for row in rows]
        candidates = keys + [key for row in rows for key in row.negative_keys]
        batch = {
            "query": self.encoder.collate(
                [row.query for row in rows], "query", tokens=self.query_tokens
            ),
            "document": self.encoder.collate(
                [row.document for row in rows], "document", tokens=self.document_tokens
            ),
            "same": torch.tensor(
                [[other in {row.key, *row.answers} for other in candidates] for row in rows]
            ),
        }
        if negatives:
            batch["negatives"] = self.encoder.collate(
                negatives, "document", tokens=self.document_tokens
            )
        return batch

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The objective on this batch's vectors."""
        sides = ("query", "document", "negatives")
        vectors = {side: self.vectors(batch[side]) for side in sides if side in batch}
        return self.contrast(vectors, batch["same"])

    def contrast(
        self, vectors: Mapping[str, Float[Tensor, "layers n d"]], same: Bool[Tensor, "n m"]
    ) -> Losses:
        """The objective on vectors, in float32 whatever the encoder computes in.

        Args:
            vectors: Of `query`, `document` and, if there are any, `negatives`, those of each row
                together.
            same: Which candidates match too.
        """
        a, b = vectors["query"].float(), vectors["document"].float()
        negatives: Tensor | None = None
        if "negatives" in vectors:
            flat = vectors["negatives"].float()
            negatives = flat.reshape(*a.shape[:2], -1, flat.shape[-1])
        with torch.autocast(a.device.type, enabled=False):
            return {"loss": self.objective(a, b, negatives, same)}

    def vectors(self, batch: Mapping[str, Any]) -> Float[Tensor, "layers n d"]:
        """The vectors of a padded batch, encoded in groups of like lengths, without the padding.

        Which texts meet in a batch is not for their lengths to decide, so lengths are mixed, and
        half of such a batch would be padding.
        """
        mask = batch["attention_mask"]
        order = mask.sum(dim=1).argsort(stable=True)
        vectors: list[Tensor] = []
        for rows in order.split(max(1, math.ceil(len(order) / _GROUPS))):
            used = mask[rows].any(dim=0).nonzero()
            columns = slice(int(used[0]), int(used[-1]) + 1)
            group = {
                name: value[rows][:, columns]
                if isinstance(value, Tensor) and value.shape == mask.shape
                else value
                for name, value in batch.items()
            }
            vectors.append(
                self.encoder.pooled_layers(group)
                if self.layers
                else self.encoder(group).vector[None]
            )
        return torch.cat(vectors, dim=1)[:, order.argsort()]
