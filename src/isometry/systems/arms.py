"""What arms of many systems do alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.systems.run import Run


def contrast(
    run: Run[Any, Any, Any],
    rows: Sequence[PairRow],
    objective: nn.Module,
    *,
    stage: str = "contrast",
    batch: int,
    query_tokens: int,
    document_tokens: int,
    layers: bool = False,
    encoder: TextEncoder | None = None,
) -> TextEncoder:
    """An encoder, trained for a stage as a bi-encoder.

    Batches are random and depend on the seed alone, so that all arms see the same ones.

    Args:
        run: The run of an arm.
        rows: What is trained on; no two rows with the same query or key meet in a batch.
        objective: See `TwoTowers`.
        stage: Which stage of the budget.
        batch: Rows a step.
        query_tokens: Where queries are cut.
        document_tokens: Where documents are cut.
        layers: Whether the objective gets the vectors of all layers.
        encoder: What is trained, in place; a copy of the pretrained encoder by default.

    Returns:
        The encoder.
    """
    encoder = encoder or run.encoder()
    freeze_below(encoder, 0)
    order = run.batches(stage, [(row.key, row.query) for row in rows], batch)
    learner = TwoTowers(
        encoder,
        objective,
        query_tokens=query_tokens,
        document_tokens=document_tokens,
        layers=layers,
    )
    run.fit(stage, learner, rows, order)
    return encoder
