from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from isometry.objectives.infonce import InfoNCE
from isometry.objectives.soft_infonce import MNRPlus, SoftInfoNCE, nearest_by_themselves

# The example of the specification.
A = functional.normalize(torch.sin(torch.arange(1.0, 13.0)).reshape(3, 4), dim=-1)
B = functional.normalize(torch.cos(torch.arange(1.0, 13.0)).reshape(3, 4), dim=-1)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def halved(vectors: Tensor) -> Tensor:
    return torch.stack([0.5 * vectors[1], vectors[1], vectors[2]])


def test_the_example_of_the_specification() -> None:
    loss = MNRPlus(1.0, normalize=False)
    assert nearest_by_themselves(A, B).tolist() == [0, 1, 2]
    assert float(loss(A, B)) == pytest.approx(1.352525, abs=1e-6)
    plain = InfoNCE(1.0, normalize=False)
    assert float(loss(A, B)) == pytest.approx(float(plain(A, B)), abs=1e-6)


def test_without_unit_length_a_longer_vector_takes_over_the_target() -> None:
    a, b = halved(A), halved(B)
    assert nearest_by_themselves(a, b).tolist() == [1, 1, 2]
    logits = a @ b.T
    target = torch.tensor([1, 1, 2])
    expected = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    assert float(MNRPlus(1.0, normalize=False)(a, b)) == pytest.approx(float(expected / 2))
    assert float(InfoNCE(1.0, normalize=False)(a, b)) != pytest.approx(float(expected / 2))


def test_of_unit_vectors_it_is_the_plain_contrast_with_negatives_and_matches() -> None:
    a, b, negatives = random(6, 5), 2 * random(12, 5)[6:], random(20, 5)[8:].reshape(6, 2, 5)
    same = torch.zeros(6, 18, dtype=torch.bool)
    same[0, 0] = same[0, 3] = same[2, 1] = same[4, 11] = True
    for rest in ((), (negatives,), (None, same[:, :6]), (negatives, same)):
        expected = InfoNCE(0.2)(a, b, *rest)
        torch.testing.assert_close(MNRPlus(0.2)(a, b, *rest), expected.to(torch.float64))


@pytest.mark.parametrize(
    ("match", "left_out_forth", "left_out_back"), [((0, 1), None, (1, 0)), ((1, 0), (1, 0), None)]
)
def test_a_match_that_is_a_target_stays(
    match: tuple[int, int],
    left_out_forth: tuple[int, int] | None,
    left_out_back: tuple[int, int] | None,
) -> None:
    # Row 0 is to find the longer row 1, which row 0 stands beside as one of its matches.
    a, b, target = halved(A), halved(B), torch.tensor([1, 1, 2])
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[match] = True
    expected = 0.0
    for logits, left_out in ((a @ b.T, left_out_forth), (b @ a.T, left_out_back)):
        if left_out is not None:
            logits[left_out] = -torch.inf
        expected += float(functional.cross_entropy(logits, target)) / 2
    found = MNRPlus(1.0, normalize=False)(a, b, None, same)
    assert float(found) == pytest.approx(expected)


def test_soft_targets_by_hand_and_at_their_limit() -> None:
    a, b = random(3, 4), random(7, 4)[4:]
    torch.testing.assert_close(
        SoftInfoNCE(0.1)(a, b, torch.eye(3, dtype=torch.float64)),
        InfoNCE(0.1)(a, b).to(torch.float64),
    )
    target = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    logits = a @ b.T / 0.5
    expected = 0.0
    for side, weights in ((logits, target), (logits.T, target.T)):
        for row, wanted in zip(side.log_softmax(dim=1), weights, strict=True):
            expected += -float((row * wanted / wanted.sum()).sum()) / 6
    assert float(SoftInfoNCE(0.5, normalize=False)(a, b, target)) == pytest.approx(expected)


def test_what_has_no_target_is_refused() -> None:
    for target in ([[1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]], [[1.0, -1.0], [0.0, 1.0]]):
        with pytest.raises(ValueError, match="target"):
            SoftInfoNCE()(A[:2], B[:2], torch.tensor(target))
    for kind in (SoftInfoNCE, MNRPlus):
        with pytest.raises(ValueError, match="temperature"):
            kind(0.0)
    with pytest.raises(ValueError, match="two rows"):
        MNRPlus()(A[:1], B[:1])
    with pytest.raises(ValueError, match="two rows"):
        MNRPlus()(A[:1], B[:1], torch.zeros(1, 0, A.shape[1]))
    with pytest.raises(ValueError, match="log_q"):
        MNRPlus()(A, B, None, None, torch.zeros(3))


def test_both_sides_say_who_is_near() -> None:
    a, b = torch.tensor([[1.0, 0], [2, 0]]), torch.tensor([[3.0, 0], [0, 1]])
    # By one side alone the first would be nearest to the second.
    assert nearest_by_themselves(a, b).tolist() == [0, 1]
    assert nearest_by_themselves(b, a).tolist() == [0, 1]
