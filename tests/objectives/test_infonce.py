from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from isometry.objectives import infonce
from isometry.objectives.infonce import InfoNCE

# a @ b.T = [[1, .6], [0, .8]]
A = torch.eye(2)
B = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
FORTH = 0.442058
BACK = (-torch.log_softmax(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), 1).diagonal()).mean()


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(**options: Any) -> InfoNCE:
    return InfoNCE(**{"temperature": 1.0, "normalize": False, "a_to_b": 1.0, **options})


def test_one_direction_by_hand() -> None:
    assert float(plain()(A, B)) == pytest.approx(FORTH, abs=1e-6)


def test_the_other_direction_contrasts_each_b_with_every_a() -> None:
    assert float(plain(a_to_b=0.0)(A, B)) == pytest.approx(float(BACK), abs=1e-6)
    assert abs(float(BACK) - FORTH) > 0.01


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_both_directions_are_mixed_by_their_share(share: float) -> None:
    mixed = share * FORTH + (1 - share) * float(BACK)
    assert float(plain(a_to_b=share)(A, B)) == pytest.approx(mixed, abs=1e-6)


def test_both_directions_weigh_the_same_by_default() -> None:
    a, b = vectors(5, 3), vectors(5, 3, seed=1)
    assert InfoNCE()(a, b) == InfoNCE(a_to_b=0.5)(a, b)
    torch.testing.assert_close(InfoNCE()(a, b), InfoNCE()(b, a))


def test_log_q_is_subtracted_from_columns() -> None:
    # 0.527612 by hand; added, or subtracted from rows, it would be another number.
    log_q = torch.log(torch.tensor([0.25, 0.75]))
    assert float(plain()(A, B, log_q=log_q)) == pytest.approx(0.527612, abs=1e-6)


@given(st.floats(-20, 20), st.sampled_from([0.0, 0.3, 1.0]))
@settings(deadline=None, max_examples=25)
def test_a_constant_in_log_q_changes_nothing(shift: float, share: float) -> None:
    a, b, negatives = vectors(4, 6), vectors(4, 6, seed=1), vectors(4, 2, 6, seed=2)
    log_q = vectors(12, seed=3)
    loss = plain(a_to_b=share)
    once, shifted = loss(a, b, negatives, log_q=log_q), loss(a, b, negatives, log_q=log_q + shift)
    torch.testing.assert_close(once, shifted)
    torch.testing.assert_close(
        loss(a, b, negatives, log_q=torch.full_like(log_q, shift)), loss(a, b, negatives)
    )


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.booleans())
@settings(deadline=None, max_examples=25)
def test_normalised_vectors_have_no_scale(one: float, other: float, in_batch: bool) -> None:
    a, b, negatives = vectors(4, 6), vectors(4, 6, seed=1), vectors(4, 2, 6, seed=2)
    loss = InfoNCE(a_to_b=1.0, in_batch=in_batch)
    torch.testing.assert_close(
        loss(a * one, b * other, negatives * one), loss(a, b, negatives), rtol=1e-6, atol=1e-9
    )
    product = InfoNCE(a_to_b=1.0, normalize=False)
    assert not torch.allclose(product(a * 3, b), product(a, b))


def test_a_temperature_divides_the_similarities() -> None:
    a, b = vectors(4, 6), vectors(4, 6, seed=1)
    torch.testing.assert_close(
        plain(temperature=0.1)(a, b), plain()(a * 10, b), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_masked_duplicates_count_as_if_their_columns_were_not_there(
    share: float, smoothing: float
) -> None:
    a, b, negatives = vectors(5, 6), vectors(5, 6, seed=1), vectors(5, 2, 6, seed=2)
    # Rows 0 and 3 have the same document, which is a negative of rows 1 and 4 too.
    b[3] = negatives[1, 0] = negatives[4, 1] = b[0]
    keys = torch.tensor([0, 1, 2, 0, 4])
    same = keys[:, None] == torch.cat([keys, torch.tensor([5, 6, 0, 7, 8, 9, 5, 6, 7, 0])])
    # Row 4's document answers row 1 too, but not the other way round.
    same[1, 4] = True
    loss = plain(a_to_b=share, label_smoothing=smoothing)
    candidates = torch.cat([b, negatives.flatten(0, 1)])
    rows: list[Tensor] = []
    for i in range(5):
        seen = [i] + [j for j in range(15) if j != i and not same[i, j]]
        asking = [i] + [j for j in range(5) if j != i and not same[j, i]]
        forth, back = candidates[seen] @ a[i], a[asking] @ b[i]
        rows.append(
            share * functional.cross_entropy(forth, torch.tensor(0), label_smoothing=smoothing)
            + (1 - share)
            * functional.cross_entropy(back, torch.tensor(0), label_smoothing=smoothing)
        )
    torch.testing.assert_close(loss(a, b, negatives, same), torch.stack(rows).mean())
    assert not torch.allclose(loss(a, b, negatives), torch.stack(rows).mean())


def test_the_diagonal_of_the_mask_is_ignored_and_the_mask_is_left_alone() -> None:
    a, b = vectors(4, 6), vectors(4, 6, seed=1)
    for same in (torch.eye(4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)):
        before = same.clone()
        torch.testing.assert_close(InfoNCE()(a, b, same=same), InfoNCE()(a, b))
        assert torch.equal(same, before)


def test_a_masked_candidate_gets_no_gradient() -> None:
    a = vectors(3, 6)
    b, negatives = vectors(3, 6, seed=1), vectors(3, 1, 6, seed=2).requires_grad_()
    same = torch.zeros(3, 6, dtype=torch.bool)
    same[:, 4] = True
    InfoNCE(label_smoothing=0.1)(a, b, negatives, same).backward()
    assert negatives.grad is not None
    assert torch.equal(negatives.grad[1], torch.zeros_like(negatives.grad[1]))
    assert negatives.grad[0].abs().sum() > 0 and torch.isfinite(negatives.grad).all()


def test_negatives_are_shared_in_a_batch_or_kept_to_their_row() -> None:
    a, b, negatives = vectors(4, 6), vectors(4, 6, seed=1), vectors(4, 2, 6, seed=2)
    shared = torch.cat([b, negatives.flatten(0, 1)])
    expected = functional.cross_entropy(a @ shared.T, torch.arange(4))
    torch.testing.assert_close(plain()(a, b, negatives), expected)
    rows = [
        functional.cross_entropy(torch.cat([b[i : i + 1], negatives[i]]) @ a[i], torch.tensor(0))
        for i in range(4)
    ]
    torch.testing.assert_close(plain(in_batch=False)(a, b, negatives), torch.stack(rows).mean())


def test_rows_alone_mask_and_correct_their_own_negatives() -> None:
    a, b, negatives = vectors(3, 6), vectors(3, 6, seed=1), vectors(3, 2, 6, seed=2)
    loss = plain(in_batch=False)
    same = torch.zeros(3, 9, dtype=torch.bool)
    same[1, 3 + 2 * 1] = True  # the first of row 1's own two
    same[1, 3 + 2 * 2] = True  # another row's: not a candidate here
    log_q = vectors(9, seed=3)
    rows: list[Tensor] = []
    for i in range(3):
        logits = torch.cat([b[i : i + 1], negatives[i]]) @ a[i]
        logits = logits - torch.cat([log_q[i : i + 1], log_q[3 + 2 * i : 5 + 2 * i]])
        if i == 1:
            logits = logits[[0, 2]]
        rows.append(functional.cross_entropy(logits, torch.tensor(0)))
    torch.testing.assert_close(loss(a, b, negatives, same, log_q), torch.stack(rows).mean())


def test_what_offers_no_negative_raises() -> None:
    one = vectors(1, 6)
    with pytest.raises(ValueError, match="two rows"):
        InfoNCE()(one, one)
    with pytest.raises(ValueError, match="two rows"):
        InfoNCE()(one, one, vectors(1, 0, 6))
    with pytest.raises(ValueError, match="two rows"):
        plain(in_batch=False)(vectors(4, 6), vectors(4, 6))
    assert float(InfoNCE()(one, one, vectors(1, 1, 6))) > 0


def test_label_smoothing_is_that_of_cross_entropy() -> None:
    a, b = vectors(4, 6), vectors(4, 6, seed=1)
    expected = functional.cross_entropy(a @ b.T, torch.arange(4), label_smoothing=0.3)
    torch.testing.assert_close(plain(label_smoothing=0.3)(a, b), expected)
    same = torch.zeros(4, 4, dtype=torch.bool)
    torch.testing.assert_close(plain(label_smoothing=0.3)(a, b, same=same), expected)


def test_a_learned_temperature_gets_the_gradient_of_its_logarithm() -> None:
    a, b = vectors(4, 6).float(), vectors(4, 6, seed=1).float()
    loss = InfoNCE(0.5, learn=True)
    assert [name for name, _ in loss.named_parameters()] == ["log_temperature"]
    loss(a, b).backward()
    assert loss.log_temperature.grad is not None
    step = 1e-2
    up, down = (InfoNCE(0.5 * torch.tensor(s).exp().item())(a, b) for s in (step, -step))
    slope = float(up - down) / (2 * step)
    assert float(loss.log_temperature.grad) == pytest.approx(slope, rel=1e-3)
    assert not list(InfoNCE(0.5).parameters())
    assert float(InfoNCE(0.5).temperature) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"a_to_b": 1.5}, "a_to_b"),
        ({"in_batch": False}, "a_to_b"),
    ],
)
def test_settings_that_make_no_sense_raise(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        InfoNCE(**options)


def test_the_example_is_true() -> None:
    result = doctest.testmod(infonce)
    assert result.attempted == 3 and result.failed == 0
