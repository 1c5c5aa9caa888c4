from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.compression.sparse_rows import SparseRows
from isometry.core.errors import InputError


@pytest.fixture
def table() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32))


@pytest.mark.parametrize("kept", [1, 17, 299, 300])
def test_it_is_the_table_with_the_smallest_numbers_zero(table: torch.Tensor, kept: int) -> None:
    codec = SparseRows.fit(table, 8 * kept + 7)
    assert codec.nbytes == 8 * kept
    threshold = table.abs().flatten().sort(descending=True).values[kept - 1]
    expected = torch.where(table.abs() >= threshold, table, 0)
    assert torch.equal(codec.lookup(torch.arange(50)), expected)


def test_a_mask_says_what_is_kept(table: torch.Tensor) -> None:
    mask = torch.zeros(50, 6, dtype=torch.bool)
    mask[[3, 3, 49, 0], [5, 0, 5, 1]] = True
    codec = SparseRows.of_mask(table, mask)
    assert torch.equal(codec.lookup(torch.arange(50)), table * mask)


def test_only_what_is_kept_is_trained(table: torch.Tensor) -> None:
    codec = SparseRows.fit(table, 8 * 40)
    codec(torch.tensor([1, 2, 1])).sum().backward()
    rows = codec.lookup(torch.arange(50)) != 0
    assert codec.numbers.grad.sum() == 2 * rows[1].sum() + rows[2].sum()


def test_places_beyond_two_billion_take_eight_bytes() -> None:
    with torch.device("meta"):
        assert SparseRows(2**28, 7, 10).places.dtype == torch.int32
        assert SparseRows(2**28, 8, 10).places.dtype == torch.int64


def test_a_mask_that_keeps_nothing_is_refused(table: torch.Tensor) -> None:
    with pytest.raises(InputError, match="None of the numbers"):
        SparseRows.of_mask(table, torch.zeros_like(table, dtype=torch.bool))
