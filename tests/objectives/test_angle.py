from __future__ import annotations

import doctest
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from isometry.objectives import angle
from isometry.objectives.angle import AnglE, CoSENT

Loss = type[CoSENT] | type[AnglE]


def vectors(seed: int, n: int = 7, dim: int = 6) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B = vectors(0), vectors(1)
GOLD = torch.tensor([0.0, 1.0, 0.5, 0.5, 3.0, 0.0, 1.0], dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


def complex_score(a: Tensor, b: Tensor) -> float:
    half = len(a) // 2
    one, other = torch.complex(a[:half], a[half:]), torch.complex(b[:half], b[half:])
    z = complex((one * other.conj()).sum() / a.norm() / b.norm())
    return abs(z.real + z.imag)


@pytest.mark.parametrize(("loss", "score"), [(CoSENT, cosine), (AnglE, complex_score)])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_every_wrong_order_is_counted(
    loss: Loss, score: Callable[[Tensor, Tensor], float], temperature: float
) -> None:
    scores = [score(a, b) for a, b in zip(A, B, strict=True)]
    total = 1.0
    for i, above in enumerate(GOLD.tolist()):
        for j, below in enumerate(GOLD.tolist()):
            if above > below:
                total += math.exp((scores[j] - scores[i]) / temperature)
    assert float(loss(temperature)(A, B, GOLD)) == pytest.approx(math.log(total), rel=1e-9)


def test_the_angle_has_a_slope_where_the_cosine_is_flat() -> None:
    other, gold = vectors(2), GOLD
    for loss, flat in ((CoSENT(), True), (AnglE(), False)):
        a = other.clone().requires_grad_()
        loss(a, other, gold).backward()
        assert a.grad is not None
        assert (float(a.grad.abs().max()) < 1e-9) is flat


@pytest.mark.parametrize("loss", [CoSENT, AnglE])
@given(one=st.floats(1e-3, 1e3), other=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=15)
def test_vectors_have_no_scale_and_grades_have_no_unit(
    loss: Loss, one: float, other: float
) -> None:
    expected = loss()(A, B, GOLD)
    torch.testing.assert_close(loss()(A * one, B * other, GOLD), expected)
    torch.testing.assert_close(loss()(A, B, GOLD * one - other), expected)
    assert not torch.allclose(loss()(A, B, -GOLD), expected)


@pytest.mark.parametrize("loss", [CoSENT, AnglE])
def test_equal_grades_make_no_claim(loss: Loss) -> None:
    a = A.clone().requires_grad_()
    value = loss()(a, B, torch.ones(7, dtype=torch.float64))
    value.backward()
    assert float(value.detach()) == 0
    assert a.grad is not None
    assert not bool(a.grad.any())


@pytest.mark.parametrize("loss", [CoSENT, AnglE])
def test_training_puts_pairs_in_order(loss: Loss) -> None:
    a = A.clone().requires_grad_()
    for _ in range(80):
        (slope,) = torch.autograd.grad(loss()(a, B, GOLD), a)
        a = (a - 0.02 * slope).detach().requires_grad_()
    score = cosine if loss is CoSENT else complex_score
    scores = [score(x, y) for x, y in zip(a.detach(), B, strict=True)]
    for i, j in ((4, 1), (1, 2), (3, 0), (6, 5)):
        assert scores[i] > scores[j]


def test_a_vector_is_real_parts_then_imaginary_parts() -> None:
    # i / 1 = i: |0 + 1|; 1 / 1 = 1. Interleaved, the first pair would be (1 + 0i)(0 + 0i).
    a = torch.tensor([[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    b = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    gold = torch.tensor([1.0, 0.0])
    assert float(AnglE(1.0)(a, b, gold)) == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)


def test_zero_vectors_do_not_spoil_the_batch() -> None:
    a = A.clone()
    a[2] = 0
    for loss in (CoSENT(), AnglE()):
        assert bool(loss(a, B, GOLD).isfinite())


def test_odd_dimensions_raise() -> None:
    with pytest.raises(ValueError, match="even number of dimensions, not 5"):
        AnglE()(A[:, :5], B[:, :5], GOLD)


@pytest.mark.parametrize("loss", [CoSENT, AnglE])
def test_one_pair_raises(loss: Loss) -> None:
    with pytest.raises(ValueError, match="two pairs"):
        loss()(A[:1], B[:1], GOLD[:1])


@pytest.mark.parametrize("loss", [CoSENT, AnglE])
def test_the_temperature_is_positive(loss: Loss) -> None:
    with pytest.raises(ValueError, match="positive"):
        loss(0.0)


def test_cosent_stands_still_on_the_same_similarity() -> None:
    a = functional.normalize(A, dim=-1)
    same = CoSENT(1.0)(a, a, GOLD)
    claims = int((GOLD[:, None] > GOLD[None]).sum())
    assert float(same) == pytest.approx(math.log(1 + claims))


def test_the_examples_are_true() -> None:
    result = doctest.testmod(angle)
    assert result.attempted == 4 and result.failed == 0
