"""An encoder of names whose cosines say how near concepts are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Learner, Losses


@dataclass(frozen=True, slots=True)
class ConceptName:
    """A name of a concept.

    Attributes:
        text: The name.
        concept: The key of what it means.
        paired: Whether it came with a synonym; otherwise for the place of its concept.
    """

    text: str
    concept: str
    paired: bool = True


class ConceptSimilarity(Learner):
    """Synonyms together, and all else by its distance (HiPrBERT).

    loss = synonyms + `weight` graded: the first over the names that came in pairs, the second over
    the whole batch. As in `TwoTowers`, dropout stays off.

    Args:
        encoder: What is trained, in place.
        synonyms: Takes vectors and distances, which are 0 or 1 here: the same concept, or another.
        graded: Takes vectors and distances; None trains synonyms alone.
        distances: The distances of concepts, as whole numbers; -1 where unknown. Needed with
            `graded`.
        weight: How much the graded loss counts (mu).
        tokens: Where names are cut.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        synonyms: nn.Module,
        graded: nn.Module | None = None,
        distances: Callable[[Sequence[str]], Int[np.ndarray, "n n"]] | None = None,
        *,
        weight: float = 1.0,
        tokens: int = 32,
    ) -> None:
        super().__init__()
        if (graded is None) != (distances is None):
            raise ValueError("grading needs both an objective and distances")
        self.encoder = encoder
        self.synonyms = synonyms
        self.graded = graded
        self.distances = distances
        self.weight = weight
        self.tokens = tokens
        self.encoder.eval()

    def train(self, mode: bool = True) -> ConceptSimilarity:
        """Sets the mode of all parts but the encoder, which stays without dropout."""
        super().train(mode)
        self.encoder.eval()
        return self

    def collate(self, rows: Sequence[ConceptName]) -> dict[str, Any]:
        """Names, those that came in pairs first, and how far their concepts are apart."""
        rows = sorted(rows, key=lambda row: not row.paired)
        keys = [row.concept for row in rows if row.paired]
        batch: dict[str, Any] = {
            "texts": self.encoder.collate(
                [row.text for row in rows], "document", tokens=self.tokens
            ),
            "other": torch.tensor([[int(one != other) for other in keys] for one in keys]),
        }
        if self.distances is not None:
            known = self.distances([row.concept for row in rows])
            batch["distances"] = torch.from_numpy(known.astype(np.int64))
        return batch

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The sum of the parts, and each by its name; in float32 whatever the encoder computes in.

        Multi-similarity multiplies differences of cosines by up to 50, and their rounding with it.
        """
        vectors = self.encoder(batch["texts"]).vector.float()
        with torch.autocast(vectors.device.type, enabled=False):
            paired = vectors[: len(batch["other"])]
            losses: Losses = {"synonyms": self.synonyms(paired, batch["other"])}
            total = losses["synonyms"]
            if self.graded is not None:
                losses["graded"] = self.graded(vectors, batch["distances"])
                total = total + self.weight * losses["graded"]
            return {"loss": total, **losses}
