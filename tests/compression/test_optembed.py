from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from isometry.compression.optembed import OptEmbed, PrefixRows, _long_tail, evolve
from isometry.core.errors import InputError

FIELDS = (100, 60)


@pytest.fixture
def table() -> OptEmbed:
    torch.manual_seed(0)
    return OptEmbed(FIELDS, 8, seed=1)


def norms(table: OptEmbed) -> torch.Tensor:
    return table.rows.detach().abs().sum(dim=1)


def test_rows_below_their_fields_threshold_are_zero(table: OptEmbed) -> None:
    with torch.no_grad():
        table.thresholds.copy_(torch.tensor([[0.3], [0.4]]))
    table.eval()
    found = table(torch.arange(160))
    kept = norms(table) > torch.tensor([0.3, 0.4]).repeat_interleave(torch.tensor(FIELDS))
    assert 20 < kept.sum() < 140
    assert torch.equal(found, table.rows * kept.unsqueeze(1))
    assert torch.equal(table.kept(), kept)


def test_the_threshold_gets_the_gradient_of_the_long_tail(table: OptEmbed) -> None:
    with torch.no_grad():
        table.rows.zero_()
        table.rows[:4, 0] = torch.tensor([0.6, 0.9, 1.5, 0.4])
        table.thresholds[0] = 0.5
    table.eval()
    for row, slope in ((0, 2 - 4 * 0.1), (1, 2 - 4 * 0.4), (2, 0.4), (3, 2 - 4 * 0.1)):
        table.zero_grad()
        table(torch.tensor([row])).sum().backward()
        expected = -slope * table.rows[row, 0].item()
        assert table.thresholds.grad[0].item() == pytest.approx(expected, abs=1e-3)
    x = torch.tensor([-3.0, -0.7, -0.2, 0.2, 0.7, 3.0], requires_grad=True)
    _long_tail(x).sum().backward()
    assert torch.allclose(x.grad, torch.tensor([0, 0.4, 1.2, 1.2, 0.4, 0]))


def test_the_penalty_raises_thresholds(table: OptEmbed) -> None:
    table.penalty().backward()
    assert torch.allclose(table.thresholds.grad, torch.full((2, 1), -1e-5))


def test_in_training_every_length_is_tried(table: OptEmbed) -> None:
    found = table(torch.arange(160).repeat(20))
    lengths = (found != 0).sum(dim=1)
    assert set(lengths.tolist()) == set(range(1, 9))
    prefix = torch.arange(8) < lengths.unsqueeze(1)
    assert torch.equal(found != 0, prefix)
    again = OptEmbed(FIELDS, 8, seed=1)
    again.load_state_dict(table.state_dict())
    assert torch.equal(table(torch.arange(160)), again(torch.arange(160)))


def test_every_step_and_every_seed_draws_other_lengths(table: OptEmbed) -> None:
    def lengths(of: OptEmbed) -> torch.Tensor:
        return (of(torch.arange(160)) != 0).sum(dim=1)

    other = OptEmbed(FIELDS, 8, seed=2)
    other.load_state_dict(table.state_dict())
    drawn = lengths(table), lengths(table), lengths(other)
    # An eighth are the same by chance.
    for one, another in ((0, 1), (0, 2)):
        assert 0.02 < (drawn[one] == drawn[another]).float().mean() < 0.3


def test_what_is_found_is_what_was_tried(table: OptEmbed) -> None:
    table.raise_thresholds(2000)
    codec = table.frozen([3, 6])
    ids = torch.arange(160)
    assert torch.equal(codec.lookup(ids), table.cut(ids, [3, 6]).detach())
    fits = table.fitting(codec.nbytes)
    assert fits([3, 6]) and not fits([4, 6]) and not fits([3, 7])


def test_the_best_widths_within_a_budget_are_those_of_the_rows_that_are_left(
    table: OptEmbed,
) -> None:
    tried: list[Sequence[int]] = []

    def score(widths: Sequence[int]) -> float:
        tried.append(widths)
        return widths[1] - widths[0]

    codec = table.best_within(1500, score, generations=20, seed=0)
    # Widths were tried with the thresholds that had risen.
    assert codec.nbytes <= 1500 and table.kept().sum() < 160
    assert all(table.fitting(1500)(widths) for widths in tried)
    widths = [part.rows.shape[1] for part in codec.parts]
    assert score(widths) == max(score(each) for each in list(tried)) > 3
    ids = torch.arange(160)
    assert torch.equal(codec.lookup(ids), table.cut(ids, widths).detach())


def test_thresholds_rise_until_rows_of_half_the_length_fit(table: OptEmbed) -> None:
    with torch.no_grad():
        table.thresholds[1] = 0.2
    above = norms(table) - table.thresholds.detach()[table.field_of(torch.arange(160)), 0]
    table.raise_thresholds(1000)
    kept = table.kept()
    room = (1000 - PrefixRows(160, 8, 0, 0).nbytes) // (4 * 4)
    assert kept.sum() == room
    assert above[kept].min() > above[~kept].max()
    # Where all fit, learned thresholds stay.
    plenty = OptEmbed(FIELDS, 8)
    plenty.raise_thresholds(10**6)
    assert not plenty.thresholds.any()
    with torch.no_grad():
        plenty.thresholds.fill_(float(norms(plenty).median()))
    learned = plenty.thresholds.clone()
    plenty.raise_thresholds(PrefixRows(160, 8, 100, 4).nbytes)
    assert torch.equal(plenty.thresholds, learned)
    with pytest.raises(InputError, match="at the least"):
        table.raise_thresholds(40)


def test_prefixes_take_what_they_hold() -> None:
    codec = PrefixRows(64, 8, 10, 3)
    assert codec.nbytes == 8 + 4 + 4 * 10 * 3
    assert not PrefixRows(64, 8, 0, 3).lookup(torch.arange(64)).any()


def distance(widths: Sequence[int]) -> float:
    return -sum(abs(width - best) for width, best in zip(widths, (3, 8, 1, 5), strict=True))


def test_evolution_finds_the_best_widths() -> None:
    found = evolve(4, 8, distance, lambda _: True, seed=0)
    assert found == [3, 8, 1, 5]
    assert evolve(4, 8, distance, lambda _: True, generations=1, seed=0) != found


def test_the_seed_decides_what_is_tried_and_generations_how_much(table: OptEmbed) -> None:
    def tried(seed: int) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []

        def score(widths: Sequence[int]) -> float:
            found.append(tuple(widths))
            return 0.0

        table.best_within(1500, score, generations=3, seed=seed)
        return found

    assert len(tried(0)) == 3 * 20
    assert tried(0) == tried(0) != tried(1)


def test_evolution_never_tries_what_does_not_fit() -> None:
    tried = []

    def score(widths: Sequence[int]) -> float:
        tried.append(sum(widths))
        return distance(widths)

    found = evolve(4, 8, score, lambda widths: sum(widths) <= 12, seed=0)
    assert max(tried) <= 12 and len(tried) == 30 * 20
    assert distance(found) == -5
    with pytest.raises(InputError, match="Even vectors of one number"):
        evolve(4, 8, distance, lambda _: False)


def test_the_penalty_falls_with_the_thresholds(table: OptEmbed) -> None:
    with torch.no_grad():
        table.thresholds.copy_(torch.tensor([[1.0], [2.0]]))
    expected = 1e-5 * (math.exp(-1) + math.exp(-2))
    assert float(table.penalty().detach()) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_evolution_gives_the_best_that_it_saw(seed: int) -> None:
    target = torch.randint(1, 33, (6,), generator=torch.Generator().manual_seed(seed)).tolist()
    tried: list[int] = []

    def score(widths: Sequence[int]) -> float:
        tried.append(-sum(abs(own - best) for own, best in zip(widths, target, strict=True)))
        return tried[-1]

    found = evolve(6, 32, score, lambda _: True, generations=6, seed=seed)
    most = max(tried)
    assert score(found) == most


def test_what_fits_is_counted_with_the_ids_that_are_kept(table: OptEmbed) -> None:
    size = table.frozen([3, 6]).nbytes
    assert table.fitting(size)([3, 6]) and not table.fitting(size - 1)([3, 6])


@pytest.mark.parametrize(("dim", "half"), [(1, 1), (5, 2)])
def test_half_of_a_length_is_rounded_down_to_one_at_the_least(dim: int, half: int) -> None:
    table = OptEmbed((160,), dim)
    table.raise_thresholds(PrefixRows(160, dim, 50, half).nbytes)
    assert table.kept().sum() == 50


def test_one_field_alone_has_its_width() -> None:
    assert evolve(1, 8, lambda widths: -abs(widths[0] - 6), lambda _: True) == [6]


def test_no_width_falls_below_one() -> None:
    with pytest.raises(InputError, match="Even vectors of one number"):
        evolve(4, 8, distance, lambda widths: sum(widths) <= 3)


def test_without_a_chance_a_mutant_is_its_parent() -> None:
    tried: list[tuple[int, ...]] = []

    def score(widths: Sequence[int]) -> float:
        tried.append(tuple(widths))
        return distance(widths)

    evolve(4, 8, score, lambda _: True, generations=2, chance=0.0)
    best = sorted(tried[:20], key=distance)[-10:]
    assert sorted(tried[20:30]) == sorted(best)


def test_the_best_widths_use_the_budget_up(table: OptEmbed) -> None:
    codec = table.best_within(1500, sum, generations=20)
    widest = max(int(part.sum()) for part in table.kept().split(table.fields))
    widths = [part.rows.shape[1] for part in codec.parts]
    assert codec.nbytes > 1500 - 4 * widest or min(widths) == 8
