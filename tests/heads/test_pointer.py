from __future__ import annotations

import pytest
import torch

from isometry.heads.pointer import Pointer


def test_logits_by_hand_and_nothing_outside_the_mask() -> None:
    pointer = Pointer(2, 2, condition=3)
    with torch.no_grad():
        pointer.alone.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        pointer.alone.bias.copy_(torch.tensor([0.0, 10.0]))
        # Pointer 0 asks for (q0, q1), pointer 1 for (q2, q2).
        pointer.asked.weight.copy_(
            torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 1.0]])
        )
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    mask = torch.tensor([[True, True, False]])
    logits = pointer(states, mask, torch.tensor([[2.0, 1.0, 0.5]]))
    assert logits.tolist() == [[[5.0, 13.0, -torch.inf], [13.5, 17.5, -torch.inf]]]


def test_without_a_condition_it_is_the_head_of_question_answering() -> None:
    torch.manual_seed(0)
    pointer = Pointer(4)
    states = torch.randn(3, 5, 4)
    logits = pointer(states, torch.ones(3, 5, dtype=torch.bool))
    torch.testing.assert_close(logits, pointer.alone(states).transpose(1, 2))
    with pytest.raises(ValueError, match="nowhere else"):
        pointer(states, torch.ones(3, 5, dtype=torch.bool), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="nowhere else"):
        Pointer(4, condition=2)(states, torch.ones(3, 5, dtype=torch.bool))
