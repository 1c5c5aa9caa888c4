from __future__ import annotations

import pytest
import torch

from isometry.compression.codec import DEVIATION
from isometry.compression.quotient_remainder import QuotientRemainder
from isometry.core.errors import InputError


@pytest.mark.parametrize(("n", "k"), [(100, 7), (100, 10), (97, 50), (6, 4)])
def test_no_two_ids_share_both_rows(n: int, k: int) -> None:
    codec = QuotientRemainder(n, 2, k)
    # Rows that tell which they are.
    with torch.no_grad():
        codec.quotients.copy_(
            torch.arange(1.0, len(codec.quotients) + 1)[:, None] * torch.eye(2)[0]
        )
        codec.remainders.copy_(torch.ones(k, 2))
        codec.quotients[:, 1] = 1
        codec.remainders[:, 1] = torch.arange(1.0, k + 1)
    pairs = codec(torch.arange(n))
    assert len(pairs.unique(dim=0)) == n
    assert torch.equal(pairs[:, 0], torch.arange(n) // k + 1.0)
    assert torch.equal(pairs[:, 1], torch.arange(n) % k + 1.0)
    # Two remainders with a common factor, as a double hash might have them, do collide.
    assert len({(id_ % 4, id_ % 6) for id_ in range(24)}) == 12


def test_with_a_remainder_an_id_it_holds_any_table() -> None:
    table = torch.randn(30, 8)
    codec = QuotientRemainder(30, 8, 30)
    with torch.no_grad():
        codec.quotients.fill_(1)
        codec.remainders.copy_(table)
    assert torch.equal(codec(torch.arange(30)), table)


def test_products_start_like_other_vectors() -> None:
    torch.manual_seed(0)
    found = QuotientRemainder(10_000, 16, 100).lookup(torch.arange(10_000))
    assert float(found.std()) == pytest.approx(DEVIATION, rel=0.1)


def test_bytes_are_those_of_both_tables() -> None:
    assert QuotientRemainder(1001, 16, 10).nbytes == 4 * 16 * (101 + 10)
    plan = QuotientRemainder.of_fields((1000, 500), 16, 4 * 16 * 1500 // 5)
    # 200 + 5 and 100 + 5 rows are too many; 167 + 6 and 84 + 6 are not.
    assert [part.k for part in plan.parts] == [6, 6]


def test_small_fields_do_not_grow_with_the_remainders_of_large_ones() -> None:
    fields = (10_000, *[1_000] * 20)
    row = 4 * 16
    plan = QuotientRemainder.of_fields(fields, 16, row * 1_650)
    # 334 + 30 and twenty times 34 + 30 rows; with 29 remainders they are 1,654.
    assert plan.nbytes == row * 1_644 and plan.parts[0].k == 30
    # The floor: 100 + 100 and twenty times 32 + 32 rows.
    assert QuotientRemainder.of_fields(fields, 16, row * 1_480).nbytes == row * 1_480
    with pytest.raises(InputError, match="94,720"):
        QuotientRemainder.of_fields(fields, 16, row * 1_479)
