from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from isometry.objectives import feature_distillation
from isometry.objectives.feature_distillation import FeatureDistillation


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


STUDENT, TEACHER = vectors(5, 7), vectors(5, 7, seed=1)


def loss(student: Tensor, teacher: Tensor, *rest: Any, mask: Tensor | None = None, **o: Any) -> Any:
    return FeatureDistillation(*rest, **o)(student, teacher, mask).item()


def test_squared_by_hand() -> None:
    # self-distillation: f_S = [1, 2] and [3, 1], f_T = [0, 0] and [1, 1].
    student = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    teacher = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert loss(student, teacher, "squared", reduce="sum") == 4.5
    assert loss(student, teacher, "squared") == 2.25
    assert loss(student, teacher, "l1", reduce="sum") == 2.5
    assert loss(student, teacher, "l1") == 1.25


def test_squared_and_mean_is_the_loss_of_the_peer() -> None:
    expected = float(functional.mse_loss(STUDENT, TEACHER))
    assert loss(STUDENT, TEACHER, "squared") == pytest.approx(expected)


def test_l1_of_opposite_unit_vectors() -> None:
    # vild: for e = -v it is 2 ||v||_1, for e = v it is 0.
    unit = functional.normalize(STUDENT, dim=-1)
    expected = float(2 * unit.abs().sum(dim=-1).mean())
    assert loss(-unit, unit, "l1", reduce="sum") == pytest.approx(expected)
    assert loss(unit, unit, "l1", reduce="sum") == 0


def test_the_cosine_knows_no_lengths_and_has_its_ends() -> None:
    expected = float((1 - functional.cosine_similarity(STUDENT, TEACHER)).mean())
    assert loss(STUDENT, TEACHER) == pytest.approx(expected)
    scaled = loss(STUDENT * torch.arange(1.0, 6)[:, None], 100 * TEACHER)
    assert scaled == pytest.approx(expected)
    assert loss(STUDENT, 3 * STUDENT) == pytest.approx(0)
    assert loss(STUDENT, -STUDENT) == pytest.approx(2)
    # The lengths of differences do matter.
    assert loss(STUDENT, 3 * STUDENT, "squared") > 1


def test_a_centre_is_taken_from_both_sides_before_the_cosine() -> None:
    # s2cap: in a narrow cone the plain loss is next to nothing, whatever the student does.
    center = torch.full((7,), 50.0, dtype=torch.float64)
    student, teacher = STUDENT + center, TEACHER + center
    assert loss(student, teacher) < 0.001
    centered = loss(student, teacher, center=center)
    assert centered == pytest.approx(loss(STUDENT, TEACHER))
    # Not the mean of this batch: a row's loss does not depend on the others.
    rows = [loss(student[i : i + 1], teacher[i : i + 1], center=center) for i in range(5)]
    assert centered == pytest.approx(sum(rows) / 5)


@pytest.mark.parametrize("distance", ["cosine", "squared", "l1"])
def test_vectors_are_averaged_whatever_axes_they_stand_on(distance: Any) -> None:
    student, teacher = vectors(2, 3, 4, 7), vectors(2, 3, 4, 7, seed=1)
    rows = [
        loss(a[None], b[None], distance)
        for a, b in zip(student.reshape(-1, 7), teacher.reshape(-1, 7), strict=True)
    ]
    assert loss(student, teacher, distance) == pytest.approx(sum(rows) / 24)


@pytest.mark.parametrize("distance", ["cosine", "squared", "l1"])
def test_what_the_mask_leaves_out_counts_for_nothing(distance: Any) -> None:
    student, teacher = vectors(2, 3, 7), vectors(2, 3, 7, seed=1)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # Zero, as padding is, and not finite: neither is looked at.
    student[0, 2], teacher[1, 1], teacher[1, 2] = 0, 0, torch.nan
    student.requires_grad_()
    expected = loss(student.detach()[mask], teacher[mask], distance)
    value = FeatureDistillation(distance)(student, teacher, mask)
    assert value.item() == pytest.approx(expected)
    value.backward()
    assert student.grad is not None and not bool(student.grad[~mask].any())
    # The mean is over vectors, not over the first axis.
    unequal = [loss(student.detach()[i][mask[i]], teacher[i][mask[i]], distance) for i in (0, 1)]
    assert value.item() == pytest.approx((2 * unequal[0] + unequal[1]) / 3)


@pytest.mark.parametrize("distance", ["cosine", "squared", "l1"])
def test_the_teacher_is_left_alone(distance: Any) -> None:
    student, teacher = vectors(3, 4).requires_grad_(), vectors(3, 4, seed=1).requires_grad_()
    FeatureDistillation(distance)(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None and bool(student.grad.any())


def test_the_gradient_of_a_sum_is_as_many_times_as_large() -> None:
    gradients = []
    for reduce in ("sum", "mean"):
        student = STUDENT.clone().requires_grad_()
        FeatureDistillation("squared", reduce=reduce)(student, TEACHER).backward()
        assert student.grad is not None
        gradients.append(student.grad)
    torch.testing.assert_close(gradients[0], 7 * gradients[1])
    torch.testing.assert_close(gradients[0], 2 * (STUDENT - TEACHER) / 5)


def test_the_centre_moves_and_is_kept_with_the_module() -> None:
    module = FeatureDistillation(center=torch.ones(3))
    assert set(module.state_dict()) == {"center"} and not list(module.parameters())
    assert module.double().state_dict()["center"].dtype == torch.float64
    assert not FeatureDistillation().state_dict()


def test_a_vector_without_direction_raises() -> None:
    zero = TEACHER.clone()
    zero[2] = 0
    for student, teacher, name in ((zero, TEACHER, "student"), (STUDENT, zero, "teacher")):
        with pytest.raises(ValueError, match=f"{name} is zero"):
            loss(student, teacher)
    with pytest.raises(ValueError, match="teacher is zero"):
        loss(STUDENT, TEACHER, center=TEACHER[1])
    assert loss(zero, TEACHER, "squared") > 0


@pytest.mark.parametrize("distance", ["cosine", "squared", "l1"])
def test_no_vector_raises(distance: Any) -> None:
    with pytest.raises(ValueError, match="needs a vector"):
        loss(STUDENT, TEACHER, distance, mask=torch.zeros(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="needs a vector"):
        loss(STUDENT[:0], TEACHER[:0], distance)


def test_a_centre_without_a_cosine_raises() -> None:
    for distance in ("squared", "l1"):
        with pytest.raises(ValueError, match="changes nothing"):
            FeatureDistillation(distance, center=torch.ones(3))


def test_the_example_is_true() -> None:
    result = doctest.testmod(feature_distillation)
    assert result.attempted == 4 and result.failed == 0


@pytest.mark.parametrize("options", [{"distance": "mse"}, {"reduce": "add"}])
def test_another_distance_or_reduction_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"'{next(iter(options.values()))}'"):
        make = FeatureDistillation.__init__.__wrapped__  # type: ignore[attr-defined]
        make(object.__new__(FeatureDistillation), **{"distance": "squared", **options})


def test_one_zero_in_a_vector_leaves_it_its_direction() -> None:
    found = FeatureDistillation()(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    assert float(found) == pytest.approx(1 - 2**-0.5)
