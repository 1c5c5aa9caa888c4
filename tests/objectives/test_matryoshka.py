from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Cut, Matryoshka


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B, NEGATIVES = vectors(1, 5, 16), vectors(1, 5, 16, seed=1), vectors(1, 5, 2, 16, seed=2)
SAME = torch.zeros(5, 15, dtype=torch.bool)
SAME[0, 3] = SAME[2, 9] = True
LOG_Q = vectors(15, seed=3)


@dataclass(frozen=True)
class Cuts:
    """A plan of given prefixes."""

    given: tuple[Cut, ...]

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        return self.given


@pytest.mark.parametrize("weights", [None, (7.0,)])
def test_one_full_prefix_is_the_base(weights: tuple[float, ...] | None) -> None:
    base = InfoNCE().double()
    loss = Matryoshka(base, MRL((16,), weights))(A, B, NEGATIVES, SAME, LOG_Q)
    torch.testing.assert_close(
        loss, base(A[0], B[0], NEGATIVES[0], SAME, LOG_Q), rtol=0, atol=1e-12
    )
    assert not torch.allclose(loss, base(A[0], B[0], NEGATIVES[0]))


def test_vectors_are_cut_before_they_are_normalised() -> None:
    base = InfoNCE().double()
    loss = Matryoshka(base, MRL((4,)))(A, B, NEGATIVES)
    cut = base(A[0, :, :4], B[0, :, :4], NEGATIVES[0, ..., :4])
    torch.testing.assert_close(loss, cut)
    # What lies beyond the prefix has no say, not even through the length of the whole vector.
    scaled = [part.clone() for part in (A, B, NEGATIVES)]
    for part in scaled:
        part[..., 4:] *= 100
    torch.testing.assert_close(Matryoshka(base, MRL((4,)))(*scaled), loss)


def test_prefixes_are_averaged_by_weight() -> None:
    base = InfoNCE().double()
    parts = [base(A[0, :, :dim], B[0, :, :dim]) for dim in (16, 8, 2)]
    equal = Matryoshka(base, MRL((16, 8, 2)))(A, B)
    torch.testing.assert_close(equal, torch.stack(parts).mean())
    weighted = Matryoshka(base, MRL((16, 8, 2), (1.0, 0.5, 2.5)))(A, B)
    torch.testing.assert_close(weighted, (parts[0] + 0.5 * parts[1] + 2.5 * parts[2]) / 4)


def test_dimensions_beyond_the_largest_prefix_get_no_gradient() -> None:
    parts = [part.clone().requires_grad_() for part in (A, B, NEGATIVES)]
    Matryoshka(InfoNCE().double(), MRL((4, 8)))(*parts).backward()
    for part in parts:
        assert part.grad is not None
        assert torch.equal(part.grad[..., 8:], torch.zeros_like(part.grad[..., 8:]))
        assert (part.grad[..., :8].abs().sum(dim=-1) > 0).all()


def test_a_plan_names_layers() -> None:
    base = InfoNCE().double()
    a, b, negatives = vectors(3, 5, 16), vectors(3, 5, 16, seed=1), vectors(3, 5, 2, 16, seed=2)
    plan = Cuts((Cut(0, 8), Cut(2, 16, 3.0)))
    expected = base(a[0, :, :8], b[0, :, :8], negatives[0, ..., :8])
    expected = (expected + 3 * base(a[2], b[2], negatives[2])) / 4
    torch.testing.assert_close(Matryoshka(base, plan)(a, b, negatives), expected)
    last = Matryoshka(base, MRL((16,)))(a, b, negatives)
    torch.testing.assert_close(last, base(a[2], b[2], negatives[2]))


@pytest.mark.parametrize("dims", [(), (0,), (8, -1)])
def test_dims_must_be_positive(dims: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="dims must be positive"):
        MRL(dims)


def test_a_prefix_longer_than_the_vectors_raises() -> None:
    with pytest.raises(ValueError, match="17 dimensions out of 16"):
        Matryoshka(InfoNCE(), MRL((4, 17)))(A, B)


def test_every_width_needs_its_weight() -> None:
    with pytest.raises(ValueError, match="length"):
        MRL((4, 8), (1.0,))


def test_a_learned_temperature_of_the_base_is_trained() -> None:
    loss = Matryoshka(InfoNCE(learn=True), MRL((4, 8)))
    loss(A, B).backward()
    (temperature,) = loss.parameters()
    assert temperature.grad is not None and float(temperature.grad) != 0
