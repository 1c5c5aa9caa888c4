from __future__ import annotations

import pytest
import torch

from isometry.compression.budget_solver import solve
from isometry.compression.codec import FloatTable
from isometry.compression.low_rank import LowRank
from isometry.compression.quotient_remainder import QuotientRemainder
from isometry.core.errors import InputError


def rank(budget: int, n: int = 1000, dim: int = 64) -> int:
    return solve(lambda rank: LowRank(n, dim, rank), range(1, dim + 1), budget)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
def test_it_is_the_last_that_keeps_the_budget(share: float) -> None:
    budget = int(share * 4 * 1000 * 64)
    # The survey has floor(c n d / (n + d)).
    assert rank(budget) == int(share * 1000 * 64 / 1064)
    taken = 4 * 1064 * rank(budget)
    assert taken <= budget < taken + 4 * 1064


def test_a_byte_more_or_less_counts() -> None:
    exact = LowRank(1000, 64, 7).nbytes
    assert (rank(exact - 1), rank(exact)) == (6, 7)
    assert rank(10**9) == 64


def test_knobs_may_fall() -> None:
    budget = QuotientRemainder(10_000, 8, 10).nbytes
    found = solve(lambda k: QuotientRemainder(10_000, 8, k), range(100, 0, -1), budget)
    assert found == 10


def test_a_budget_below_the_floor_is_refused_with_the_floor() -> None:
    with pytest.raises(InputError, match=r"LowRank takes 4,256 bytes .* is 4,255") as found:
        rank(4255)
    assert "0.0166 of float32" in found.value.hint


def test_nothing_is_made_to_measure_it() -> None:
    """A table of 400 GB."""
    assert rank(10**11, n=10**9, dim=100) == 24
    before = torch.get_rng_state()
    rank(10**6)
    assert torch.equal(torch.get_rng_state(), before)
    assert FloatTable(2, 3).rows.device.type == "cpu"


def test_exactly_what_the_smallest_takes_is_enough() -> None:
    floor = LowRank(100, 8, 1).nbytes
    assert solve(lambda rank: LowRank(100, 8, rank), range(1, 9), floor) == 1
