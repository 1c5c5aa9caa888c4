from __future__ import annotations

import pytest
import torch

from isometry.geometry.straight_through import straight_through

HARD = torch.tensor([1e6, -0.1, 0.3, 0.0])
SOFT = torch.tensor([0.1, 0.7, -1e-6, 1e9])


def test_the_value_is_the_hard_one_to_the_last_bit() -> None:
    assert torch.equal(straight_through(HARD, SOFT), HARD)
    # What is often written instead rounds.
    assert not torch.equal(SOFT + (HARD - SOFT), HARD)


def test_the_gradient_is_that_of_the_soft_one_and_of_it_alone() -> None:
    hard, soft = HARD.clone().requires_grad_(), SOFT.clone().requires_grad_()
    result = straight_through(hard, soft * 2)
    result.retain_grad()
    result.square().sum().backward()
    assert soft.grad is not None and result.grad is not None
    assert torch.equal(result.grad, 2 * HARD)
    assert torch.equal(soft.grad, 2 * result.grad)
    assert hard.grad is None


def test_shapes_are_not_repeated() -> None:
    with pytest.raises(ValueError, match="differ"):
        straight_through.__wrapped__(HARD, SOFT[:1])
