from __future__ import annotations

import doctest
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from isometry.objectives import preference
from isometry.objectives.preference import Preference

Kind = Literal["logistic", "hinge", "softmax_margin"]
KINDS: tuple[Kind, ...] = ("logistic", "hinge", "softmax_margin")


def loss(kind: Kind, better: float, worse: float) -> float:
    return float(Preference(kind)(torch.tensor([better]), torch.tensor([worse])))


@pytest.mark.parametrize(
    ("pair", "softmax_margin", "hinge", "logistic"),
    [
        ((1.0, 0.0), 0.537883, 0.0, 0.313262),
        ((0.0, 1.0), 1.462117, 2.0, 1.313262),
        ((3.0, 0.0), 0.094852, 0.0, 0.048587),
    ],
)
def test_the_three_losses_by_hand(
    pair: tuple[float, float], softmax_margin: float, hinge: float, logistic: float
) -> None:
    # prop, correctness check.
    assert loss("softmax_margin", *pair) == pytest.approx(softmax_margin, abs=1e-6)
    assert loss("hinge", *pair) == pytest.approx(hinge, abs=1e-6)
    assert loss("logistic", *pair) == pytest.approx(logistic, abs=1e-6)


def test_the_default_is_logistic() -> None:
    better, worse = torch.tensor([0.3, -2.0]), torch.tensor([0.7, 1.0])
    assert Preference()(better, worse) == Preference("logistic")(better, worse)


@given(st.floats(-8, 8), st.floats(-8, 8))
@settings(deadline=None, max_examples=30)
def test_softmax_forms_agree_with_a_softmax_over_the_pair(better: float, worse: float) -> None:
    pair = torch.tensor([better, worse], dtype=torch.float64)
    p = pair.softmax(0)
    one, other = pair[:1], pair[1:]
    torch.testing.assert_close(Preference("softmax_margin")(one, other), 1 - (p[0] - p[1]))
    torch.testing.assert_close(
        Preference("logistic")(one, other), functional.cross_entropy(pair, torch.tensor(0))
    )


@pytest.mark.parametrize("kind", KINDS)
@given(shift=st.floats(-10, 10))
@settings(deadline=None, max_examples=10)
def test_only_the_lead_counts(kind: Kind, shift: float) -> None:
    better, worse = torch.tensor([0.5, 2.0]).double(), torch.tensor([0.1, 3.0]).double()
    moved = Preference(kind)(better + shift, worse + shift)
    torch.testing.assert_close(moved, Preference(kind)(better, worse))


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_averaged(kind: Kind) -> None:
    pairs = [(0.5, 0.1), (2.0, 3.0), (-1.0, -4.0)]
    better, worse = torch.tensor(pairs).T
    mean = sum(loss(kind, *pair) for pair in pairs) / 3
    assert float(Preference(kind)(better, worse)) == pytest.approx(mean, abs=1e-6)


def test_a_badly_wrong_pair_teaches_all_but_the_softmax_margin() -> None:
    gradients: dict[str, float] = {}
    for kind in KINDS:
        better = torch.tensor([-20.0], requires_grad=True)
        Preference(kind)(better, torch.zeros(1)).backward()
        assert better.grad is not None
        gradients[kind] = float(better.grad)
    assert gradients["logistic"] == pytest.approx(-1, abs=1e-6)
    assert gradients["hinge"] == -1
    assert abs(gradients["softmax_margin"]) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_large_scores_stay_finite(kind: Kind) -> None:
    assert loss(kind, -1e4, 1e4) < 3e4
    assert loss(kind, 1e4, -1e4) == 0


def test_no_pair_raises() -> None:
    with pytest.raises(ValueError, match="one pair"):
        Preference()(torch.zeros(0), torch.zeros(0))


def test_the_example_is_true() -> None:
    result = doctest.testmod(preference)
    assert result.attempted == 2 and result.failed == 0


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'Hinge'"):
        Preference.__init__.__wrapped__(object.__new__(Preference), "Hinge")  # type: ignore[attr-defined]
