from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.merging.probe_loss import TowersProbe
from isometry.merging.self_positioning import learn_weights, self_positioning
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka


@pytest.fixture
def rows(pairs: list[tuple[str, str]]) -> list[PairRow]:
    return [PairRow(words, code, number) for number, (words, code) in enumerate(pairs[:10])]


def towers(encoder: TextEncoder) -> TwoTowers:
    return TwoTowers(
        encoder, Matryoshka(InfoNCE(0.1), MRL((encoder.dim,))), query_tokens=12, document_tokens=24
    )


def test_loss_and_gradient_are_those_of_the_learner_with_these_weights(
    tiny: TextEncoder, rows: list[PairRow]
) -> None:
    other = copy.deepcopy(tiny)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in other.parameters():
            part.add_(0.05 * torch.randn(part.shape, generator=generator))
    probe = TowersProbe(towers(tiny), rows, [[0, 3, 5], [1, 2, 9]])
    before = tiny.fingerprint()
    state = {
        name: part.detach().clone().requires_grad_() for name, part in other.named_parameters()
    }
    learner = towers(other)
    for step, chosen in ((None, range(10)), (0, (0, 3, 5)), (1, (1, 2, 9)), (2, (0, 3, 5))):
        other.zero_grad()
        expected = learner.loss(learner.collate([rows[row] for row in chosen]))["loss"]
        expected.backward()
        ours = probe(state, step)
        assert ours.item() == expected.item()
        parts = torch.autograd.grad(ours, list(state.values()), materialize_grads=True)
        for (name, own), part in zip(other.named_parameters(), parts, strict=True):
            wanted = torch.zeros_like(own) if own.grad is None else own.grad
            torch.testing.assert_close(part, wanted, msg=name)
    assert tiny.fingerprint() == before
    assert all(part.grad is None for part in tiny.parameters())


def test_what_is_not_given_is_as_it_was(tiny: TextEncoder, rows: list[PairRow]) -> None:
    learner = towers(tiny)
    probe = TowersProbe(learner, rows, [[0, 1]])
    assert probe({}, None).item() == learner.loss(learner.collate(rows))["loss"].item()


def test_weights_are_learned_through_a_real_encoder(tiny: TextEncoder, rows: list[PairRow]) -> None:
    """Noise, and what training would change: the probe prefers the latter."""
    base = {name: part.detach().clone() for name, part in tiny.named_parameters()}
    learner = towers(tiny)
    learner.loss(learner.collate(rows))["loss"].backward()
    slopes = {name: part.grad for name, part in tiny.named_parameters()}
    better = {
        name: part if (slope := slopes[name]) is None else part - 0.3 * slope
        for name, part in base.items()
    }
    generator = torch.Generator().manual_seed(0)
    noise = {
        name: part + 0.02 * torch.randn(part.shape, generator=generator)
        for name, part in base.items()
    }
    probe = TowersProbe(learner, rows, [list(range(10))])
    found = learn_weights(base, [noise, better], {"a": probe}, steps=15, learning_rate=0.2)
    position = found.position("")
    assert position.shares[1] > 0.8 and found.loss < found.start_loss
    made = dict(self_positioning(base, [noise, better], found.position))
    with torch.no_grad():
        assert float(probe(made, None)) == found.loss


def test_a_probe_of_nothing_raises(tiny: TextEncoder, rows: list[PairRow]) -> None:
    for few, order in ((rows[:1], [[0]]), ([], [[0]]), (rows, [])):
        with pytest.raises(ValueError, match="two rows at least"):
            TowersProbe(towers(tiny), few, order)


def test_products_may_be_in_bfloat16_and_gradients_are_those_of_float32_weights(
    tiny: TextEncoder, rows: list[PairRow]
) -> None:
    state = {name: part.detach().clone() for name, part in tiny.named_parameters()}
    losses: list[Any] = []
    slopes: list[torch.Tensor] = []
    for bfloat16 in (False, True):
        leaves = {name: part.clone().requires_grad_() for name, part in state.items()}
        probe = TowersProbe(towers(tiny), rows, [[0, 1]], bfloat16=bfloat16)
        loss = probe(leaves, None)
        (slope,) = torch.autograd.grad(loss, [next(iter(leaves.values()))])
        losses.append(loss.item())
        slopes.append(slope)
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)
    assert slopes[1].dtype == torch.float32
    assert torch.cosine_similarity(slopes[0].reshape(-1), slopes[1].reshape(-1), dim=0) > 0.98
