"""An encoder that learns to name the class of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Learner, Losses


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its class.

    Attributes:
        text: The text.
        label: The number of its class, from 0.
    """

    text: str
    label: int


class Classification(Learner):
    """Cross-entropy over all classes, on an encoder's own vectors.

    With `nn.Linear` it is fine-tuning for classification (Devlin et al. 2019, section 4.1); with a
    `CosineClassifier` over frozen vectors of entries it is DefSent+ (Liu 2024), and with a frozen
    `MaskedLMHead`, whose classes are tokens, DefSent (Tsukagoshi et al. 2021, section 2).

    Dropout stays off, as in `TwoTowers`, so that a run resumes. The official code of both trains
    with it.

    Args:
        encoder: Gives the vectors.
        head: Vectors -> logits.
        tokens: Where texts are cut.
    """

    def __init__(self, encoder: TextEncoder, head: nn.Module, *, tokens: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.tokens = tokens
        self.encoder.eval()

    def train(self, mode: bool = True) -> Classification:
        """Sets the mode of all parts but the encoder, which stays without dropout."""
        super().train(mode)
        self.encoder.eval()
        return self

    def collate(self, rows: Sequence[LabelledText]) -> dict[str, Any]:
        """Rows -> tokens of the texts, and their classes."""
        return {
            "texts": self.encoder.collate(
                [row.text for row in rows], "document", tokens=self.tokens
            ),
            "labels": torch.tensor([row.label for row in rows]),
        }

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean cross-entropy, with logits in float32 whatever the encoder computes in.

        Raises:
            ValueError: When a label is beyond the head's classes.
        """
        vectors, labels = self.encoder(batch["texts"]).vector, batch["labels"]
        with torch.autocast(vectors.device.type, enabled=False):
            logits: Tensor = self.head(vectors.float())
            if labels.min() < 0 or labels.max() >= logits.shape[1]:
                raise ValueError(f"a label is none of the head's {logits.shape[1]} classes")
            return {"loss": functional.cross_entropy(logits, labels)}
