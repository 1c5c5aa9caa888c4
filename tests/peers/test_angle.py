"""Graded pairs are ranked as sentence-transformers ranks them, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss
from torch import Tensor, nn

from isometry.objectives.angle import AnglE, CoSENT

N, DIM = 11, 32


class Given(nn.Module):
    """Stands in for a model: gives the embeddings that are in its features."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(features)


def pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Two sides of unit variance and grades, some of them equal."""
    generator = torch.Generator().manual_seed(0)
    a, noise = torch.randn(2, N, DIM, generator=generator, dtype=dtype)
    share = torch.linspace(0, 1, N, dtype=dtype)[:, None]
    gold = torch.tensor([0.0, 0.2, 0.2, 1.0, 0.4, 0.2, 0.6, 0.6, 0.8, 0.0, 1.0], dtype=dtype)
    return a, share * a + (1 - share) * noise, gold


@pytest.mark.parametrize(("ours", "theirs"), [(CoSENT, CoSENTLoss), (AnglE, AnglELoss)])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orders_are_their_losses(
    ours: type[CoSENT] | type[AnglE],
    theirs: type[CoSENTLoss],
    temperature: float,
    dtype: torch.dtype,
) -> None:
    a, b, gold = pairs(dtype)
    a.requires_grad_()
    b.requires_grad_()
    peer = theirs(Given(), scale=1 / temperature)  # type: ignore[arg-type]
    expected = peer([{"sentence_embedding": a}, {"sentence_embedding": b}], gold)
    value = ours(temperature)(a, b, gold)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, [a, b]), torch.autograd.grad(expected, [a, b])
    )


def test_the_defaults_are_their_cosent() -> None:
    a, b, gold = pairs(torch.float64)
    features = [{"sentence_embedding": a}, {"sentence_embedding": b}]
    torch.testing.assert_close(
        CoSENT()(a, b, gold),
        CoSENTLoss(Given())(features, gold),  # type: ignore[arg-type]
    )
    torch.testing.assert_close(
        AnglE()(a, b, gold),
        AnglELoss(Given())(features, gold),  # type: ignore[arg-type]
    )
