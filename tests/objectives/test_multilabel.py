from __future__ import annotations

import doctest

import pytest
import torch
from torch.nn import functional

from isometry.objectives import multilabel
from isometry.objectives.multilabel import MultiLabel, positive_weight


def example(seed: int = 0, rows: int = 12, labels: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, labels, generator=generator)
    marks = (torch.rand(rows, labels, generator=generator) < 0.4).float()
    marks[0], marks[1] = 1, 0
    return logits, marks


def test_weighted_marks_by_hand() -> None:
    logits, marks = torch.tensor([[1.0, -1.0], [0.5, 2.0]]), torch.tensor([[1.0, 0], [0, 1]])
    yes = functional.softplus(torch.tensor([-1.0, -2.0]))
    no = functional.softplus(torch.tensor([0.5, -1.0]))
    weight = torch.tensor([3.0, 5.0])
    assert float(MultiLabel()(logits, marks)) == pytest.approx(float(yes.sum() + no.sum()) / 4)
    assert float(MultiLabel(weight)(logits, marks)) == pytest.approx(
        float((weight * yes).sum() + no.sum()) / 4
    )


def test_a_prior_of_the_marked_share_is_the_plain_loss() -> None:
    logits, marks = example()
    torch.testing.assert_close(
        MultiLabel(prior=marks.mean(dim=0))(logits, marks), MultiLabel()(logits, marks)
    )


def test_with_a_prior_the_unmarked_are_not_all_noes() -> None:
    # All rows have the label, one is marked: the more the prior knows, the less a yes costs.
    marks = torch.zeros(10, 1)
    marks[0] = 1
    sure = torch.full((10, 1), 4.0)
    losses = [float(MultiLabel(prior=torch.tensor([p]))(sure, marks)) for p in (0.1, 0.5, 0.99)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[0] == pytest.approx(float(MultiLabel()(sure, marks)))
    assert losses[2] < 0.1


def test_the_risk_of_the_unmarked_never_falls_below_zero() -> None:
    # The marked row looks like a yes, the rest like noes: mean(l-) lies below prior l-(marked).
    logits = torch.tensor([[5.0], [-5.0], [-5.0], [-5.0]])
    marks = torch.tensor([[1.0], [0], [0], [0]])
    loss = MultiLabel(prior=torch.tensor([0.9]))(logits, marks)
    assert float(loss) == pytest.approx(0.9 * float(functional.softplus(torch.tensor(-5.0))))


def test_what_one_label_has_below_zero_pays_for_no_other() -> None:
    # The first label's risk of the unmarked is below zero, the second's above.
    logits = torch.tensor([[5.0, 1.0], [-5.0, -1.0], [-5.0, 2.0], [-5.0, 0.5]])
    marks = torch.tensor([[1.0, 1.0], [0, 0], [0, 0], [0, 0]])
    prior = torch.tensor([0.9, 0.3])
    alone = [MultiLabel(prior=prior[[k]])(logits[:, [k]], marks[:, [k]]) for k in range(2)]
    torch.testing.assert_close(MultiLabel(prior=prior)(logits, marks), sum(alone) / 2)


def test_a_label_that_no_row_has_is_a_no() -> None:
    logits = torch.tensor([[1.0], [2.0]])
    loss = MultiLabel(prior=torch.tensor([0.3]))(logits, torch.zeros(2, 1))
    torch.testing.assert_close(loss, functional.softplus(logits).mean())


@pytest.mark.parametrize("prior", [None, torch.full((4,), 0.6)])
def test_a_label_teaches_its_own_logits_alone(prior: torch.Tensor | None) -> None:
    logits, marks = example()
    changed = marks.clone()
    changed[3:, 2] = 1 - changed[3:, 2]
    gradients = []
    for some in (marks, changed):
        leaf = logits.clone().requires_grad_()
        MultiLabel(prior=prior)(leaf, some).backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    differs = (gradients[0] != gradients[1]).any(dim=0)
    assert differs.tolist() == [False, False, True, False]


def test_weights_of_marks() -> None:
    share = torch.tensor([0.5, 0.1, 0.01])
    torch.testing.assert_close(positive_weight(share), torch.tensor([1.0, 9.0, 99.0]))
    torch.testing.assert_close(positive_weight(share, 0.5), torch.tensor([1.0, 3.0, 99.0**0.5]))
    # With it, saying the same of all rows costs least at one half.
    marks = torch.zeros(100, 1)
    marks[:10] = 1
    logit = torch.zeros(100, 1, requires_grad=True)
    MultiLabel(positive_weight(torch.tensor([0.1])))(logit, marks).backward()
    assert logit.grad is not None
    assert float(logit.grad.sum()) == pytest.approx(0, abs=1e-6)
    for bad in (0.0, 1.0):
        with pytest.raises(ValueError, match="label 1 is"):
            positive_weight(torch.tensor([0.5, bad]))


def test_large_logits_stay_finite() -> None:
    logits, marks = torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])
    for objective in (MultiLabel(), MultiLabel(prior=torch.tensor([0.5, 0.5]))):
        assert torch.isfinite(objective(logits, marks))


def test_what_makes_no_sense_is_refused() -> None:
    half = torch.tensor([0.5])
    with pytest.raises(ValueError, match="not both"):
        MultiLabel(half, half)
    with pytest.raises(ValueError, match="above 0"):
        MultiLabel(torch.tensor([0.0]))
    for bad in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            MultiLabel(prior=torch.tensor([bad]))
    with pytest.raises(ValueError, match="0 or 1"):
        MultiLabel()(torch.zeros(1, 1), half[None])
    with pytest.raises(ValueError, match="one row"):
        MultiLabel()(torch.zeros(0, 1), torch.zeros(0, 1))


def test_the_example_is_true() -> None:
    result = doctest.testmod(multilabel)
    assert result.attempted == 2 and result.failed == 0


@pytest.mark.parametrize("name", ["positive_weight", "prior"])
def test_loading_leaves_what_it_was_made_of(name: str) -> None:
    given = torch.full((3,), 0.5)
    loss = MultiLabel(**{name: given})
    loss.load_state_dict({name: torch.full((3,), 0.25)})
    assert (given == 0.5).all()
