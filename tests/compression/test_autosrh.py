from __future__ import annotations

import torch

from isometry.compression.autosrh import AutoSrh

COUNTS = torch.tensor([7, 0, 9, 1, 5, 3, 8, 2, 6, 4, 11, 10])


def test_ids_of_like_frequency_share_gates() -> None:
    table = AutoSrh(COUNTS, 4)
    assert table.group.tolist() == [(int(count)) // 2 for count in COUNTS]
    with torch.no_grad():
        table.gates[5] = 0.5
    found = table(torch.arange(12))
    factor = torch.where(COUNTS >= 10, 0.5, 1.0).unsqueeze(1)
    assert torch.equal(found, table.rows * factor)
    assert torch.equal(table.search(torch.arange(12)), found)


def test_rows_and_gates_are_trained_on_different_events() -> None:
    table = AutoSrh(COUNTS, 4)
    ids = torch.tensor([2, 3])
    table(ids).sum().backward()
    assert table.rows.grad is not None and table.gates.grad is None
    table.rows.grad = None
    table.search(ids).sum().backward()
    assert table.rows.grad is None and table.gates.grad is not None
    assert torch.equal(table.gates.grad[4], table.rows[2].detach())
    assert 0 < table.held_share < 1
    table.gates.grad = None
    table.penalty().backward()
    assert torch.allclose(table.gates.grad, torch.full((6, 4), 1e-5))


def test_gates_stay_between_0_and_1() -> None:
    table = AutoSrh(COUNTS, 4)
    with torch.no_grad():
        table.gates[0] = torch.tensor([1.5, -0.5, 0.3, 1.0])
    table(torch.tensor([0]))
    assert torch.allclose(table.gates[0], torch.tensor([1.0, 0.0, 0.3, 1.0]))


def test_the_smallest_products_are_dropped() -> None:
    table = AutoSrh(COUNTS, 4)
    with torch.no_grad():
        table.rows.copy_(torch.arange(1.0, 49).view(12, 4))
        table.gates.zero_()
        table.gates[0, 1] = 1.0  # of ids 1 and 3
        table.gates[5, 2] = 0.1  # of ids 10 and 11
    codec = table.pruned(8 * 3)
    found = codec.lookup(torch.arange(12))
    assert (found != 0).nonzero().tolist() == [[1, 1], [3, 1], [11, 2]]
    assert found[1, 1] == 6 and torch.isclose(found[11, 2], torch.tensor(4.7))


def test_a_penalty_taken_before_a_lookup_has_its_gradient() -> None:
    table = AutoSrh(COUNTS, 4)
    with torch.no_grad():
        table.gates.fill_(1.5)
    (table.penalty() + table(torch.arange(5)).sum()).backward()
    assert torch.allclose(table.gates.grad, torch.full((6, 4), 1e-5))


def test_gates_are_at_most_1_where_nothing_is_trained() -> None:
    table = AutoSrh(COUNTS, 4).eval()
    with torch.no_grad():
        table.gates.fill_(1.7)
    ids = torch.arange(12)
    assert torch.equal(table(ids), table.rows)
    assert torch.equal(table.pruned(8 * 48).lookup(ids), table(ids))
    assert (table.gates == 1.7).all()
