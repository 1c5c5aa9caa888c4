from __future__ import annotations

import pytest
import torch

from isometry.heads.pair_scorer import PairScorer


def test_it_starts_without_an_opinion() -> None:
    first, second = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    assert PairScorer(4)(first, second).tolist() == [0.0] * 5


def test_the_score_is_biaffine_and_has_a_direction() -> None:
    scorer = PairScorer(3)
    with torch.no_grad():
        scorer.bilinear.copy_(torch.arange(9.0).reshape(3, 3))
        scorer.linear.weight.copy_(torch.arange(6.0)[None])
        scorer.linear.bias.fill_(0.5)
    first, second = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 1.0, 3.0]])
    # W is 0..8 by rows: 1 (1 + 3 * 2) + 2 (4 + 3 * 5) = 45; u: 1 * 2 + 4 + 5 * 3 = 21.
    assert scorer(first, second).item() == pytest.approx(45 + 3**0.5 * 21 + 0.5)
    assert scorer(second, first).item() != scorer(first, second).item()


def test_distances_have_biases_and_the_last_one_is_for_all_beyond() -> None:
    scorer = PairScorer(2, distances=3)
    with torch.no_grad():
        scorer.distance.copy_(torch.tensor([1.0, 2.0, 4.0]))
    zero = torch.zeros(4, 2)
    assert scorer(zero, zero, torch.tensor([0, 1, 2, 9])).tolist() == [1, 2, 4, 4]
    with pytest.raises(ValueError, match="nowhere else"):
        scorer(zero, zero)
    with pytest.raises(ValueError, match="nowhere else"):
        PairScorer(2)(zero, zero, torch.zeros(4, dtype=torch.long))
