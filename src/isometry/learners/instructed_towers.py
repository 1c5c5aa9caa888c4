"""One encoder that learns several tasks at once, told by an instruction which one it is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isometry.encoders.surgery.prompts import Prompt, text_mask
from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers


@dataclass(frozen=True, slots=True)
class Task:
    """What a data set is for.

    Attributes:
        prompt: What stands before its texts.
        in_batch: Whether its queries contrast with the other rows of a batch, or only with their
            own negatives.
        class_labelled: Whether its positives are of the same class, of which there are few: then
            many other rows of a batch are no negatives.
    """

    prompt: Prompt
    in_batch: bool = True
    class_labelled: bool = False

    def __post_init__(self) -> None:
        if self.in_batch and self.class_labelled:
            warnings.warn(
                "Rows of the same class meet in a batch and count as negatives; set in_batch=False",
                stacklevel=3,
            )


@dataclass(frozen=True, slots=True)
class InstructedRow:
    """A training pair of a task.

    Attributes:
        pair: Its texts, without the task's prompt.
        task: What it is an example of.
    """

    pair: PairRow
    task: Task


class InstructedTowers(TwoTowers):
    """`TwoTowers` over rows of several tasks, blended within a batch.

    Each row brings its task's prompts, whose tokens the encoder reads and does not pool, and says
    whether the rest of the batch may be its negatives (Lee et al. 2024, "NV-Embed", sections 3.3
    and 4.1). Candidates that may not are hidden from a row, which leaves the loss without them.

    Args:
        encoder: Without prompts of its own; pools by `StatePooling`.
        objective: Trains one direction, since other rows' queries are nobody's negatives.
        query_tokens: Where queries are cut, prompt included.
        document_tokens: Where documents are cut, prompt included.

    Raises:
        ValueError: When the encoder has a prompt.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        objective: nn.Module,
        *,
        query_tokens: int,
        document_tokens: int,
    ) -> None:
        super().__init__(
            encoder, objective, query_tokens=query_tokens, document_tokens=document_tokens
        )
        if any(encoder.prompts.values()):
            raise ValueError("the encoder has prompts of its own beside those of the tasks")

    # Rows are of another type than those of a single task.
    def collate(self, rows: Sequence[InstructedRow]) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Rows -> tokens of queries, documents and negatives, and what each row may not see.

        Raises:
            ValueError: As `TwoTowers.collate`; and when a row of a task without negatives out of
                the batch has none of its own either, so that nothing would be left to learn from.
        """
        if any(not row.task.in_batch and not row.pair.negatives for row in rows):
            raise ValueError("a row that may not see others' documents needs negatives of its own")
        batch = super().collate([_with_prompts(row) for row in rows])
        texts = {
            "query": [(row.task.prompt.query, row.pair.query) for row in rows],
            "document": [(row.task.prompt.document, row.pair.document) for row in rows],
            "negatives": [
                (row.task.prompt.document, text) for row in rows for text in row.pair.negatives
            ],
        }
        for side, prompted in texts.items():
            if side in batch:
                pooled = text_mask(
                    self.encoder.tokenizer,
                    [prompt for prompt, _ in prompted],
                    [text for _, text in prompted],
                    batch[side]["attention_mask"].bool(),
                )
                batch[side] = {**batch[side], "pool_mask": pooled}
        closed = torch.tensor([not row.task.in_batch for row in rows])
        batch["same"] |= closed[:, None] & ~_own(len(rows), batch["same"].shape[1])
        return batch


def _with_prompts(row: InstructedRow) -> PairRow:
    pair, prompt = row.pair, row.task.prompt
    return replace(
        pair,
        query=prompt.query + pair.query,
        document=prompt.document + pair.document,
        negatives=tuple(prompt.document + text for text in pair.negatives),
    )


def _own(rows: int, candidates: int) -> torch.Tensor:
    """True where a candidate is a row's own: its document, then its negatives behind all those."""
    owner = torch.cat(
        [torch.arange(rows), torch.arange(rows).repeat_interleave((candidates - rows) // rows)]
    )
    return torch.arange(rows)[:, None] == owner
