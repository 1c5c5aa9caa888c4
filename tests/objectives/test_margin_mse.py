from __future__ import annotations

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from isometry.objectives import margin_mse
from isometry.objectives.margin_mse import MarginMSE


def scores(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


GIVEN = (scores(4, seed=0), scores(4, 3, seed=1), scores(4, seed=2), scores(4, 3, seed=3))


def test_every_negative_counts_once() -> None:
    positive, negatives, teacher_positive, teacher_negatives = GIVEN
    errors = [
        (positive[i] - negatives[i, j] - (teacher_positive[i] - teacher_negatives[i, j])) ** 2
        for i in range(4)
        for j in range(3)
    ]
    torch.testing.assert_close(MarginMSE()(*GIVEN), torch.stack(errors).mean())


@given(st.floats(-50, 50), st.floats(-50, 50))
@settings(deadline=None, max_examples=20)
def test_another_zero_of_either_side_changes_nothing(student: float, teacher: float) -> None:
    # dense-retrieval, check (c): of plain squared errors this does not hold.
    positive, negatives, teacher_positive, teacher_negatives = GIVEN
    moved = MarginMSE()(
        positive + student,
        negatives + student,
        teacher_positive + teacher,
        teacher_negatives + teacher,
    )
    torch.testing.assert_close(moved, MarginMSE()(*GIVEN))


def test_another_unit_of_the_teacher_changes_it() -> None:
    positive, negatives, teacher_positive, teacher_negatives = GIVEN
    scaled = MarginMSE()(positive, negatives, 2 * teacher_positive, 2 * teacher_negatives)
    assert not torch.allclose(scaled, MarginMSE()(*GIVEN))


def test_a_student_with_the_teachers_margins_is_done() -> None:
    positive, negatives, *_ = GIVEN
    assert float(MarginMSE()(positive, negatives, positive - 3, negatives - 3)) < 1e-20


def test_the_teacher_is_left_alone() -> None:
    given_scores = [part.clone().requires_grad_() for part in GIVEN]
    MarginMSE()(*given_scores).backward()
    assert all(part.grad is not None and bool(part.grad.any()) for part in given_scores[:2])
    assert all(part.grad is None for part in given_scores[2:])


def test_no_negative_raises() -> None:
    with pytest.raises(ValueError, match="a negative"):
        MarginMSE()(torch.ones(3), torch.ones(3, 0), torch.ones(3), torch.ones(3, 0))


def test_the_example_is_true() -> None:
    result = doctest.testmod(margin_mse)
    assert result.attempted == 3 and result.failed == 0
