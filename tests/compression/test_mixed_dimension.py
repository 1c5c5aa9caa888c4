from __future__ import annotations

import pytest
import torch

from isometry.compression.codec import FloatTable
from isometry.compression.low_rank import LowRank
from isometry.compression.mixed_dimension import mixed_dimension, of_widths, widths
from isometry.core.errors import InputError

FIELDS = [10_000, 10, 640]


def test_widths_fall_with_the_size_of_a_field() -> None:
    assert widths(FIELDS, 16, 0.0) == [16, 16, 16]
    # 16 * (10 / 640)**0.5 = 2, and 16 * (10 / 10000)**0.5 = 0.51, which is below 1.
    assert widths(FIELDS, 16, 0.5) == [1, 16, 2]
    # 16 * 64**-0.2 = 6.96, which is nearer to 8 than to 4.
    assert widths(FIELDS, 16, 0.2) == [4, 16, 8]
    assert widths([100, 100], 12, 1.0) == [12, 12]


# Computed with `_md_solver` of tools/EmbeddingMemoryCompression/methods/scheduler/md.py in
# Hsword/Hetu at a1cb1bc, dim 16.
OFFICIAL = {
    0.05: [8, 16, 16, 8, 16, 8],
    0.1: [4, 16, 8, 8, 16, 4],
    0.2: [1, 16, 8, 4, 8, 2],
    0.3: [1, 16, 4, 2, 8, 1],
    1.0: [1, 16, 1, 1, 4, 1],
}


@pytest.mark.parametrize("alpha", OFFICIAL)
def test_widths_are_those_of_the_official_code(alpha: float) -> None:
    assert widths([10_131_227, 3, 305, 5_461, 18, 142_572], 16, alpha) == OFFICIAL[alpha]


def test_with_an_exponent_of_0_it_is_a_whole_table() -> None:
    table = of_widths(FIELDS, widths(FIELDS, 16, 0.0), 16)
    assert all(isinstance(part, FloatTable) for part in table.parts)
    assert table.nbytes == 4 * 16 * sum(FIELDS)


def test_short_vectors_are_projected() -> None:
    table = of_widths([5, 3], [2, 4], 4)
    assert [type(part) for part in table.parts] == [LowRank, FloatTable]
    part = table.parts[0]
    assert torch.allclose(table(torch.tensor([4])), part.rows[4] @ part.projection)
    # The projection counts.
    assert table.nbytes == 4 * (5 * 2 + 2 * 4 + 3 * 4)


def test_the_exponent_is_the_least_that_keeps_the_budget() -> None:
    budget = 4 * 16 * sum(FIELDS) // 4
    table = mixed_dimension(FIELDS, 16, budget)
    assert table.nbytes <= budget
    found = [part.rows.shape[1] for part in table.parts]
    assert found[1] == 16 and found[0] < found[2]
    larger = [
        of_widths(FIELDS, widths(FIELDS, 16, step / 1000), 16).nbytes
        for step in range(1001)
        if widths(FIELDS, 16, step / 1000) != found
    ]
    assert not any(table.nbytes < size <= budget for size in larger)
    with pytest.raises(InputError, match="at the least"):
        mixed_dimension(FIELDS, 16, 4 * sum(FIELDS) // 2)


def test_a_field_that_a_projection_would_make_larger_stays_whole() -> None:
    fields = [10_000, 3, 6]
    assert widths(fields, 16, 0.5) == [1, 16, 8]
    table = of_widths(fields, [1, 16, 8], 16)
    # 8 * (6 + 16) numbers are more than 6 * 16.
    assert [type(part) for part in table.parts] == [LowRank, FloatTable, FloatTable]
    assert table.parts[2].nbytes == 4 * 6 * 16
