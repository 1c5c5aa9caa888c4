"""Contrasts agree with sentence-transformers' losses, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka

N, DIM = 12, 32


class Given(nn.Module):
    """Stands in for a model: gives the embeddings that are in its features."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(features)

    def get_embedding_dimension(self) -> int:
        return DIM


def embeddings(k: int) -> list[Tensor]:
    """Anchors, positives near them and k columns of negatives."""
    generator = torch.Generator().manual_seed(k)
    anchors = torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    others = torch.randn(1 + k, N, DIM, generator=generator, dtype=torch.float64)
    return [anchors, *(anchors + (1 + i) * other for i, other in enumerate(others))]


def theirs(loss: nn.Module, columns: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    columns = [column.clone().requires_grad_() for column in columns]
    features = [{"sentence_embedding": column} for column in columns]
    value = loss(features, torch.zeros(N))
    return value.detach(), list(torch.autograd.grad(value, columns))


def ours(
    loss: nn.Module, columns: list[Tensor], layers: bool = False
) -> tuple[Tensor, list[Tensor]]:
    columns = [column.clone().requires_grad_() for column in columns]
    a, b, *rest = columns
    negatives = torch.stack(rest, dim=1) if rest else None
    if layers:
        value = loss(a[None], b[None], None if negatives is None else negatives[None])
    else:
        value = loss(a, b, negatives)
    return value.detach(), list(torch.autograd.grad(value, columns))


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("temperature", [0.05, 0.7])
def test_one_direction_is_their_ranking_loss(k: int, temperature: float) -> None:
    peer = MultipleNegativesRankingLoss(Given(), scale=1 / temperature)  # type: ignore[arg-type]
    columns = embeddings(k)
    torch.testing.assert_close(
        ours(InfoNCE(temperature, a_to_b=1.0).double(), columns),
        theirs(peer, columns),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("k", [0, 2])
def test_both_directions_are_their_symmetric_ranking_loss(k: int) -> None:
    peer = MultipleNegativesRankingLoss(
        Given(),  # type: ignore[arg-type]
        scale=20.0,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )
    columns = embeddings(k)
    torch.testing.assert_close(
        ours(InfoNCE(0.05).double(), columns), theirs(peer, columns), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 2.0)])
def test_prefixes_are_their_matryoshka_loss(k: int, weights: tuple[float, ...] | None) -> None:
    dims = (32, 16, 5)
    model = Given()
    peer = MatryoshkaLoss(
        model,  # type: ignore[arg-type]
        MultipleNegativesRankingLoss(model),  # type: ignore[arg-type]
        dims,
        weights,
    )
    columns = embeddings(k)
    value, gradients = theirs(peer, columns)
    # They add the prefixes up; ours is their mean.
    total = sum(weights or (1, 1, 1))
    loss = Matryoshka(InfoNCE(0.05, a_to_b=1.0).double(), MRL(dims, weights))
    torch.testing.assert_close(
        ours(loss, columns, layers=True),
        (value / total, [gradient / total for gradient in gradients]),
        rtol=1e-6,
        atol=1e-6,
    )
