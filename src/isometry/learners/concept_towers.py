"""Two towers over vectors that stay, which meet in a space of named concepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from isometry.heads.concept_head import ConceptHead
from isometry.learners.learner import Learner, Losses


@dataclass(frozen=True, slots=True)
class TaggedPair:
    """Two items that belong together, and the concepts of each.

    Attributes:
        query: The vector of what asks.
        document: The vector of what answers.
        query_tags: The numbers of its concepts.
        document_tags: Those of the other.
    """

    query: Float[np.ndarray, " m"]
    document: Float[np.ndarray, " m"]
    query_tags: tuple[int, ...] = ()
    document_tags: tuple[int, ...] = ()


class ConceptTowers(Learner):
    """A head of concepts over a frozen encoder: ranking, plus the concepts that items carry (SESA).

    loss = ranking + `tag_weight` tagging + `sparsity` mean |s|, all over both sides. Without the
    tags the dimensions are free to drift from their names; without the ranking they do not learn
    what belongs together.

    Both signals are the paper's (abstract): pairs that are judged, and the skills that members
    list. How it adds them up could not be read. Tags are judged on the logits, so that the head's
    activation may be one that is no probability.

    Args:
        head: What is trained.
        ranking: Takes the activations of queries and documents; None trains the tags alone.
        tagging: Takes logits and marks; None trains the ranking alone.
        tag_weight: How much the tags count (beta).
        sparsity: How much the mean of the activations' absolute values counts (eta).
    """

    def __init__(
        self,
        head: ConceptHead,
        ranking: nn.Module | None,
        tagging: nn.Module | None = None,
        *,
        tag_weight: float = 1.0,
        sparsity: float = 0.0,
    ) -> None:
        super().__init__()
        if ranking is None and tagging is None:
            raise ValueError("there is nothing to train: give a ranking, a tagging or both")
        self.head = head
        self.ranking = ranking
        self.tagging = tagging
        self.tag_weight = tag_weight
        self.sparsity = sparsity

    def collate(self, rows: Sequence[TaggedPair]) -> dict[str, Any]:
        """Rows -> the vectors of both sides, and a mark for every concept of an item."""
        batch: dict[str, Any] = {
            "query": torch.from_numpy(np.stack([row.query for row in rows])).float(),
            "document": torch.from_numpy(np.stack([row.document for row in rows])).float(),
        }
        if self.tagging is not None:
            batch["query_marks"] = self._marks([row.query_tags for row in rows])
            batch["document_marks"] = self._marks([row.document_tags for row in rows])
        return batch

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The sum of the terms, and each by its name; in float32 whatever else is computed in."""
        with torch.autocast(batch["query"].device.type, enabled=False):
            logits = {side: self.head.logits(batch[side]) for side in ("query", "document")}
            active = {side: self.head.activate(values) for side, values in logits.items()}
            losses: Losses = {}
            total = torch.zeros((), device=batch["query"].device)
            if self.ranking is not None:
                losses["ranking"] = self.ranking(active["query"], active["document"])
                total = total + losses["ranking"]
            if self.tagging is not None:
                marks = torch.cat([batch["query_marks"], batch["document_marks"]])
                losses["tagging"] = self.tagging(
                    torch.cat([logits["query"], logits["document"]]), marks
                )
                total = total + self.tag_weight * losses["tagging"]
            if self.sparsity:
                losses["sparsity"] = torch.cat([active["query"], active["document"]]).abs().mean()
                total = total + self.sparsity * losses["sparsity"]
            return {"loss": total, **losses}

    def _marks(self, tags: Sequence[Sequence[int]]) -> torch.Tensor:
        count = len(self.head.names)
        marks = torch.zeros(len(tags), count)
        for row, own in enumerate(tags):
            if own and not 0 <= min(own) <= max(own) < count:
                raise ValueError(f"a tag of {own} is none of the {count} concepts")
            marks[row, list(own)] = 1
        return marks
