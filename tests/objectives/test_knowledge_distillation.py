from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from isometry.objectives import knowledge_distillation
from isometry.objectives.knowledge_distillation import KnowledgeDistillation

TEACHER = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
STUDENT = torch.tensor([[1.5, 0.5, 0.0]], dtype=torch.float64)


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(student: Tensor, teacher: Tensor, **options: Any) -> float:
    return float(KnowledgeDistillation(**options)(student, teacher))


@pytest.mark.parametrize(("width", "expected"), [(4, 0.273036), (2, 0.059073)])
def test_coordinates_of_vectors_by_hand(width: int, expected: float) -> None:
    # 2dmse, check 4; the other way round the first would be 0.288958.
    row = torch.arange(1.0, 9, dtype=torch.float64).reshape(2, 4)
    student, teacher = row.sin()[:, :width], row.cos()[:, :width]
    assert loss(student, teacher) == pytest.approx(expected, abs=1e-6)
    if width == 4:
        assert loss(teacher, student) == pytest.approx(0.288958, abs=1e-6)


def test_class_scores_by_hand() -> None:
    # well-read-students: KL 0.266217 from the uniform student, 0.011748 from the near one.
    assert loss(torch.zeros_like(TEACHER), TEACHER) == pytest.approx(0.266217, abs=1e-6)
    assert loss(STUDENT, TEACHER) == pytest.approx(0.011748, abs=1e-6)
    p = TEACHER.softmax(-1)
    soft_cross_entropy = loss(STUDENT, TEACHER) - float((p * p.log()).sum())
    assert soft_cross_entropy == pytest.approx(0.844143, abs=1e-6)


def test_the_gradient_is_the_difference_of_the_distributions() -> None:
    student = STUDENT.clone().requires_grad_()
    KnowledgeDistillation()(student, TEACHER).backward()
    expected = torch.tensor([[-0.036709, -0.013505, 0.050214]], dtype=torch.float64)
    torch.testing.assert_close(student.grad, expected, rtol=0, atol=1e-6)


@given(st.floats(-20, 20), st.floats(-20, 20))
@settings(deadline=None, max_examples=20)
def test_constants_in_a_row_change_nothing(one: float, other: float) -> None:
    student, teacher = scores(4, 5), scores(4, 5, seed=1)
    assert loss(student + one, teacher + other) == pytest.approx(loss(student, teacher), abs=1e-9)


def test_rows_are_averaged() -> None:
    student, teacher = scores(4, 5), scores(4, 5, seed=1)
    rows = [loss(student[i : i + 1], teacher[i : i + 1]) for i in range(4)]
    assert loss(student, teacher) == pytest.approx(sum(rows) / 4)


@pytest.mark.parametrize(("scale", "factor"), [("1", 1.0), ("T", 0.3), ("T^2", 0.09)])
def test_the_temperature_divides_both_and_its_factor_is_chosen(scale: str, factor: float) -> None:
    student, teacher = scores(4, 5), scores(4, 5, seed=1)
    plain = loss(student / 0.3, teacher / 0.3)
    assert plain != pytest.approx(loss(student, teacher), rel=0.1)
    scaled = loss(student, teacher, temperature=0.3, gradient_scale=scale)
    assert scaled == pytest.approx(factor * plain)


def test_by_default_a_high_temperature_keeps_the_gradient() -> None:
    # Hinton et al. 2015, equation 4: (student - teacher) / classes, both without their mean.
    student, teacher = scores(1, 5).requires_grad_(), scores(1, 5, seed=1)
    KnowledgeDistillation(temperature=1e4)(student, teacher).backward()
    gap = student.detach() - teacher
    torch.testing.assert_close(student.grad, (gap - gap.mean()) / 5, rtol=0, atol=1e-4)


def test_hard_labels_are_the_teachers_choice_at_a_temperature_of_one() -> None:
    student, teacher = scores(6, 5), scores(6, 5, seed=1)
    labels = float(functional.cross_entropy(student, teacher.argmax(-1)))
    soft = loss(student, teacher, temperature=2.0)
    assert loss(student, teacher, temperature=2.0, hard=1.0) == pytest.approx(labels)
    mixed = loss(student, teacher, temperature=2.0, hard=0.25)
    assert mixed == pytest.approx(0.75 * soft + 0.25 * labels)


def test_a_certain_teacher_is_a_label() -> None:
    # predictions-pretraining: logits times 1000 reproduce cross-entropy on the arg max.
    student, teacher = scores(6, 5), scores(6, 5, seed=1)
    expected = float(functional.cross_entropy(student, teacher.argmax(-1)))
    assert loss(student, teacher * 1e4) == pytest.approx(expected)


@pytest.mark.parametrize("hard", [0.0, 0.5, 1.0])
def test_the_teacher_is_left_alone(hard: float) -> None:
    student, teacher = scores(3, 4).requires_grad_(), scores(3, 4, seed=1).requires_grad_()
    KnowledgeDistillation(hard=hard)(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None and float(student.grad.abs().sum()) > 0


def test_the_teacher_can_be_pulled_too() -> None:
    student, teacher = scores(3, 4), scores(3, 4, seed=1).requires_grad_()
    KnowledgeDistillation(detach=False)(student, teacher).backward()
    assert teacher.grad is not None and float(teacher.grad.abs().sum()) > 0


def test_candidates_that_do_not_exist_on_both_sides_count_for_nothing() -> None:
    student, teacher = scores(3, 6).requires_grad_(), scores(3, 6, seed=1)
    hidden = torch.zeros(3, 6, dtype=torch.bool)
    hidden[:, 4:] = True
    padded = KnowledgeDistillation(temperature=0.5)(
        student.masked_fill(hidden, -torch.inf), teacher.masked_fill(hidden, -torch.inf)
    )
    padded.backward()
    expected = loss(student.detach()[:, :4], teacher[:, :4], temperature=0.5)
    assert float(padded.detach()) == pytest.approx(expected)
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())
    assert not bool(student.grad[:, 4:].any())


@pytest.mark.parametrize("shape", [(0, 3), (3, 1)])
def test_scores_that_leave_no_choice_raise(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least two scores"):
        KnowledgeDistillation()(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"temperature": -1.0}, {"hard": -0.1}, {"hard": 1.1}]
)
def test_impossible_settings_raise(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        KnowledgeDistillation(**options)  # type: ignore[arg-type]


def test_the_example_is_true() -> None:
    result = doctest.testmod(knowledge_distillation)
    assert result.attempted == 3 and result.failed == 0
