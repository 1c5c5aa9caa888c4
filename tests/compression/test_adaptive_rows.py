from __future__ import annotations

import pytest
import torch

from isometry.compression.adaptive_rows import AdaptiveRows

COUNTS = torch.tensor([5, 0, 9, 1, 9, 2, 0, 3, 1, 1])


def test_frequent_ids_own_rows_and_the_others_share() -> None:
    codec = AdaptiveRows(10, 4, 3, 2)
    codec.choose(COUNTS)
    found = codec(torch.arange(10))
    for row, id_ in enumerate((0, 2, 4)):
        assert torch.equal(found[id_], codec.own[row])
    for number, id_ in enumerate((1, 3, 5, 6, 7, 8, 9)):
        assert torch.equal(found[id_], codec.shared[number % 2])


def test_of_equals_the_first_own_a_row() -> None:
    codec = AdaptiveRows(10, 4, 7, 1)
    codec.choose(COUNTS)
    owners = codec.owners.has(torch.arange(10)).nonzero().flatten().tolist()
    assert owners == [0, 2, 3, 4, 5, 7, 8]


def test_where_all_own_a_row_it_is_the_table() -> None:
    table = torch.randn(10, 4)
    codec = AdaptiveRows(10, 4, 10, 0)
    codec.choose(COUNTS)
    with torch.no_grad():
        codec.own.copy_(table)
    assert torch.equal(codec.lookup(torch.arange(10)), table)


def test_the_set_of_owners_is_in_the_budget() -> None:
    counts = torch.arange(6400)
    budget = 6400 * 16 * 4 // 50
    codec = AdaptiveRows.sized(counts, 16, budget)
    assert codec.nbytes <= budget < codec.nbytes + 64
    rows = len(codec.own) + len(codec.shared)
    assert codec.nbytes == 64 * rows + 6400 * 3 // 16
    assert abs(len(codec.own) - len(codec.shared)) <= 1
    assert codec.owners.has(torch.tensor([6399, 6400 - len(codec.own)])).all()
    whole = AdaptiveRows.sized(counts, 16, 10**9)
    assert (len(whole.own), len(whole.shared)) == (6400, 0)


def test_rows_must_serve_all_ids() -> None:
    for frequent, shared in ((11, 0), (9, 0)):
        with pytest.raises(ValueError, match="do not serve 10 ids"):
            AdaptiveRows(10, 4, frequent, shared)


def test_as_many_ids_have_rows_of_their_own_as_are_asked_for() -> None:
    codec = AdaptiveRows.sized(torch.arange(6400), 16, 8192, share=0.25)
    assert len(codec.own) == (len(codec.own) + len(codec.shared)) // 4
