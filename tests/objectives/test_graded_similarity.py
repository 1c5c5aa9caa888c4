from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from isometry.objectives.graded_similarity import GradedSimilarity

LABELS = (0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 5)


def sines(n: int, d: int, power: float = 1.0) -> Tensor:
    numbers = torch.arange(1, n * d + 1, dtype=torch.float64) ** power
    return functional.normalize(torch.sin(numbers).reshape(n, d), dim=1)


def other(labels: Sequence[int]) -> Tensor:
    """0 where two labels are the same, and 1 where they are not."""
    own = torch.tensor(labels)
    return (own[:, None] != own[None]).long()


# pytorch-metric-learning 2.9.0: MultiSimilarityLoss(2, 50, 0.5), in double precision; for the last
# one with the pairs of MultiSimilarityMiner(0.1).
@pytest.mark.parametrize(
    ("vectors", "labels", "margin", "expected"),
    [
        (sines(4, 4), (0, 0, 1, 1), None, 1.3480146583),
        (sines(12, 6, 1.5), LABELS, None, 0.8318273744),
        (sines(12, 6, 1.5), LABELS, 0.1, 0.7982995584),
    ],
)
def test_one_level_is_multi_similarity(
    vectors: Tensor, labels: tuple[int, ...], margin: float | None, expected: float
) -> None:
    loss = GradedSimilarity(margin=margin)(3 * vectors, other(labels))
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    # Any distances will do that are the level or less, and more.
    far = GradedSimilarity((3,), (0.5,), margin=margin)(vectors, 2 + 5 * other(labels))
    assert far.item() == pytest.approx(expected, abs=1e-9)


def test_levels_are_averaged_by_their_weights() -> None:
    vectors, random = sines(8, 4), torch.Generator().manual_seed(0)
    distances = torch.randint(0, 5, (8, 8), generator=random)
    distances = torch.minimum(distances, distances.T)
    alone = [
        GradedSimilarity((level,), (threshold,))(vectors, distances)
        for level, threshold in ((0, 0.7), (1, 0.6), (3, 0.4))
    ]
    loss = GradedSimilarity((0, 1, 3), (0.7, 0.6, 0.4))(vectors, distances)
    torch.testing.assert_close(loss, sum(alone) / 3)
    weighed = GradedSimilarity((0, 1, 3), (0.7, 0.6, 0.4), (1.0, 2.0, 5.0))(vectors, distances)
    torch.testing.assert_close(weighed, (alone[0] + 2 * alone[1] + 5 * alone[2]) / 8)
    # Other distances with the same levels change nothing.
    moved = torch.tensor([0, 7, 8, 9, 30])[distances]
    same = GradedSimilarity((0, 7, 9), (0.7, 0.6, 0.4))(vectors, moved)
    torch.testing.assert_close(same, loss)


def test_a_cosine_is_drawn_between_the_thresholds_beside_its_distance() -> None:
    objective = GradedSimilarity((1, 2, 3), (0.6, 0.4, 0.2), alpha=40.0, beta=40.0)
    distances = torch.tensor([[0, 2, 1], [2, 0, 4], [1, 4, 0]])

    def slope(cosine: float) -> float:
        """How the loss changes with the angle between two items that are two apart."""
        angle = torch.tensor(cosine, dtype=torch.float64).arccos().requires_grad_()
        vectors = torch.zeros(3, 4, dtype=torch.float64)
        vectors[0, 0] = vectors[2, 0] = 1.0
        turned = torch.stack([angle.cos(), angle.sin(), *angle.new_zeros(2)])
        objective(torch.stack([vectors[0], turned, vectors[2]]), distances).backward()
        return float(angle.grad)

    # Without the third item's pull, which wants the second below all thresholds.
    distances[1, 2] = distances[2, 1] = -1
    # A wider angle is a lower cosine.
    assert slope(0.3) > 0 and slope(0.35) > 0
    assert slope(0.65) < 0 and slope(0.9) < 0


def test_what_is_unknown_has_no_gradient() -> None:
    vectors = sines(5, 4).requires_grad_()
    distances = torch.full((5, 5), -1)
    distances[0, 1] = distances[1, 0] = 0
    distances[0, 2] = distances[2, 0] = 3
    GradedSimilarity()(vectors, distances).backward()
    assert vectors.grad is not None
    assert vectors.grad[3:].abs().sum() == 0
    assert (vectors.grad[:3].abs().sum(dim=1) > 0).all()


def test_many_negatives_do_not_overflow() -> None:
    vectors = torch.ones(400, 4).requires_grad_()
    loss = GradedSimilarity((0,), (0.0,), beta=1e4)(vectors, other([0, 0, *range(1, 399)]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(vectors.grad).all()


def test_a_level_without_a_positive_is_left_out_and_told_once() -> None:
    vectors = sines(4, 4)
    distances = 2 * other((0, 1, 1, 2)) + other((0, 1, 2, 3))
    objective = GradedSimilarity((0, 2), (0.7, 0.5))
    with pytest.warns(UserWarning, match="distance 0 or nearer"):
        loss = objective(vectors, distances)
    torch.testing.assert_close(loss, GradedSimilarity((2,), (0.5,))(vectors, distances))
    assert objective(vectors, distances) == loss
    with pytest.raises(ValueError, match="near enough"):
        objective(vectors, 9 * other((0, 1, 2, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 1), (0.7,)), "as many thresholds"),
        (((0, 1), (0.5, 0.5)), "must fall"),
        (((1, 1), (0.7, 0.5)), "must rise"),
        (((-1, 1), (0.7, 0.5)), "must rise"),
        (((0,), (0.7,), (1.0, 2.0)), "as many thresholds and weights"),
        (((), ()), "0 levels"),
        (((0,), (0.7,), (0.0,)), "must be positive"),
        (((0, 1), (0.7, 0.5), (1.0, -1.0)), "must be positive"),
    ],
)
def test_levels_that_cannot_be(arguments: tuple[tuple[float, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradedSimilarity(*arguments)


def test_distances_that_cannot_be() -> None:
    uneven = torch.tensor([[0, 1], [2, 0]])
    with pytest.raises(ValueError, match="both directions"):
        GradedSimilarity()(sines(2, 2), uneven)
    with pytest.raises(ValueError, match="alpha and beta"):
        GradedSimilarity(beta=0.0)


def test_two_clusters_settle_where_the_thresholds_of_their_distance_have_it() -> None:
    """Of one parameter, their angle; with the thresholds and slopes by default."""
    objective = GradedSimilarity((0, 1, 2, 3), (0.7, 0.6, 0.5, 0.4))
    distances = 3 * other((0, 0, 1, 1))

    def loss(cosine: float) -> float:
        own = torch.tensor([1.0, 0.0], dtype=torch.float64)
        turned = torch.tensor([cosine, (1 - cosine**2) ** 0.5], dtype=torch.float64)
        return objective(torch.stack([own, own, turned, turned]), distances).item()

    best = min((step / 1000 for step in range(-1000, 1001)), key=loss)
    assert best == pytest.approx(0.490, abs=0.002)
    assert loss(best) == pytest.approx(0.28038, abs=1e-4)


def by_loops(vectors: Tensor, labels: Sequence[int], margin: float) -> float:
    """Equations 10, 11 and 15 item by item: each anchor's own hardest pairs decide."""
    unit = functional.normalize(vectors, dim=1)
    like, everyone, total = (unit @ unit.T).tolist(), range(len(labels)), 0.0
    for anchor in everyone:
        own = [one for one in everyone if one != anchor and labels[one] == labels[anchor]]
        others = [one for one in everyone if labels[one] != labels[anchor]]
        hardest = max((like[anchor][one] for one in others), default=-math.inf)
        easiest = min((like[anchor][one] for one in own), default=math.inf)
        near = [like[anchor][one] for one in own if like[anchor][one] - margin < hardest]
        far = [like[anchor][one] for one in others if like[anchor][one] + margin > easiest]
        total += math.log(1 + sum(math.exp(-2 * (value - 0.5)) for value in near)) / 2
        total += math.log(1 + sum(math.exp(50 * (value - 0.5)) for value in far)) / 50
    return total / len(labels)


@pytest.mark.parametrize("seed", range(5))
def test_every_anchor_mines_its_own_pairs(seed: int) -> None:
    labels = [0, 0, 0, 1, 1, 2, 2, 3]
    own = torch.tensor(labels)
    vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = GradedSimilarity(margin=0.1)(vectors, (own[:, None] != own[None]).long())
    assert found.item() == pytest.approx(by_loops(vectors, labels, 0.1), abs=1e-9)
