"""Distillation agrees with sentence-transformers' losses, in value and gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    AdaptiveLayerLoss,
    DistillKLDivLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from isometry.objectives.infonce import InfoNCE
from isometry.objectives.knowledge_distillation import KnowledgeDistillation
from isometry.objectives.margin_mse import MarginMSE
from isometry.objectives.matryoshka import Cut, Matryoshka, Reduction

N, DIM = 9, 16


class Given(nn.Module):
    """Stands in for a model: gives the embeddings that are in its features."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(features)


def columns(k: int) -> tuple[list[Tensor], Tensor]:
    """Queries, positives and negatives, and a teacher's score of each document."""
    generator = torch.Generator().manual_seed(k)
    vectors = torch.randn(2 + k, N, DIM, generator=generator, dtype=torch.float64)
    teacher = torch.randn(N, 1 + k, generator=generator, dtype=torch.float64)
    return [column.clone().requires_grad_() for column in vectors], teacher


def same(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves)
    )


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_scores_of_candidates_are_their_divergence(k: int, temperature: float) -> None:
    leaves, teacher = columns(k)
    peer = DistillKLDivLoss(Given(), temperature=temperature)  # type: ignore[arg-type]
    theirs = peer([{"sentence_embedding": column} for column in leaves], teacher)
    query, *documents = leaves
    student = torch.stack([(query * each).sum(dim=1) for each in documents], dim=1)
    same(KnowledgeDistillation(temperature)(student, teacher), theirs, leaves)


@pytest.mark.parametrize("k", [1, 4])
def test_margins_are_their_margins(k: int) -> None:
    leaves, teacher = columns(k)
    peer = MarginMSELoss(Given())  # type: ignore[arg-type]
    theirs = peer([{"sentence_embedding": column} for column in leaves], teacher)
    query, *documents = leaves
    positive, *negatives = [(query * each).sum(dim=1) for each in documents]
    ours = MarginMSE()(positive, torch.stack(negatives, dim=1), teacher[:, 0], teacher[:, 1:])
    same(ours, theirs, leaves)


class EveryLayer:
    """What their loss does at every step: the last layer, and all others at half a weight."""

    reduction: ClassVar[Reduction] = "sum"

    def cuts(self, layers: int, dim: int) -> list[Cut]:
        inner = [Cut(layer, dim, 1 / (layers - 1), distil=1.0) for layer in range(layers - 1)]
        return [Cut(-1, dim), *inner]


def test_layers_of_a_real_model_are_distilled_as_theirs(
    tiny_folder: Path, pairs: list[tuple[str, str]]
) -> None:
    model = SentenceTransformer(str(tiny_folder), device="cpu").eval()
    body: Any = model[0].auto_model
    features: list[dict[str, Any]] = [
        dict(model.preprocess(list(side))) for side in zip(*pairs[:6], strict=True)
    ]
    peer = AdaptiveLayerLoss(
        model, MultipleNegativesRankingLoss(model), n_layers_per_step=-1, kl_temperature=0.3
    )
    theirs = peer([dict(each) for each in features], torch.zeros(6))
    stacked: list[Tensor] = []
    for each in features:
        names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in each]
        states = body(**{name: each[name] for name in names}, output_hidden_states=True)
        mask = each["attention_mask"][..., None]
        # Theirs draws the output of the embeddings too, so for this comparison it is given.
        stacked.append(torch.stack([(h * mask).sum(1) / mask.sum(1) for h in states.hidden_states]))
    ours = Matryoshka(
        InfoNCE(0.05, a_to_b=1.0),
        EveryLayer(),
        distillation=KnowledgeDistillation(0.3, gradient_scale="T"),
    )(*stacked)
    assert stacked[0].shape[0] == 3
    leaves = [body.encoder.layer[0].output.dense.weight]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(ours, leaves),
        torch.autograd.grad(theirs, leaves),
        rtol=1e-4,
        atol=1e-5,
    )
