from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.compression.robe import RobeArray
from isometry.core.errors import InputError

PRIME = 2_038_074_743


def test_with_places_of_their_own_vectors_are_a_tables_up_to_signs() -> None:
    table = torch.randn(20, 8)
    codec = RobeArray(20, 8, 160)
    with torch.no_grad():
        codec.array.copy_(table.view(-1, 1))
    codec.numbers[:3] = torch.tensor([8, 0, 0])
    found = codec(torch.arange(20))
    assert torch.equal(found.abs(), table.abs())
    signs = (found / table).round()
    assert 0.3 < (signs > 0).float().mean() < 0.7


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_places_and_signs_are_those_of_the_formulas(chunk: int) -> None:
    codec = RobeArray(1000, 8, 37, chunk)
    a, b, c, d, e, f = codec.numbers.tolist()
    array = codec.array.detach().flatten()
    for id_ in (0, 1, 999):
        found = codec(torch.tensor(id_))
        for place in range(8):
            start = (a * id_ + b * (place // chunk) + c) % PRIME
            sign = (d * id_ + e * place + f) % PRIME % 2 * 2 - 1
            assert found[place] == sign * array[(start + place % chunk) % 37]


def test_a_chunk_is_a_run_around_the_end() -> None:
    codec = RobeArray(500, 8, 50)
    with torch.no_grad():
        codec.array.copy_(torch.arange(50.0).view(-1, 1))
    places = codec(torch.arange(500)).abs()
    steps = (places[:, 1:] - places[:, :-1]) % 50
    assert torch.equal(steps, torch.ones(500, 7))
    # All places are begun from.
    counts = np.bincount(places[:, 0].int().numpy(), minlength=50)
    assert counts.min() > 0 and counts.max() < 40


def test_it_takes_what_the_budget_allows() -> None:
    codec = RobeArray.sized(1000, 8, 1001)
    assert len(codec.array) == (1001 - 48) // 4
    with pytest.raises(ValueError, match="do not divide"):
        RobeArray(10, 8, 10, 3)


def test_it_holds_one_vector_at_the_least() -> None:
    with pytest.raises(InputError, match="at the least"):
        RobeArray.sized(1000, 8, 48 + 4 * 7)
