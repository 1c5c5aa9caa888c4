from __future__ import annotations

import copy

import pytest
import torch

from isometry.compression.mgqe import MGQE
from isometry.core.errors import InputError

N, DIM, PARTS = 2000, 8, 2


@pytest.fixture
def table() -> MGQE:
    torch.manual_seed(0)
    frequent = torch.zeros(N, dtype=torch.bool)
    frequent[5::10] = True
    table = MGQE(N, DIM, PARTS, frequent)
    for ids in torch.arange(N).split(500):
        table(ids)
    return table


def test_a_rare_id_has_a_code_of_six_bits(table: MGQE) -> None:
    codes = table.eval().codes_of(torch.arange(N))
    assert codes[~table.frequent].max() < 64
    assert codes[table.frequent].max() >= 64
    assert codes[~table.frequent].max() > 50


def test_without_statistics_the_code_is_the_nearest_centroid(table: MGQE) -> None:
    table.respond = torch.nn.Identity()
    codes = table.codes_of(torch.arange(N))
    rows = table.rows.detach().view(N, PARTS, -1)
    for part in range(PARTS):
        distance = torch.cdist(rows[:, part], table.codebooks[part].detach())
        distance[~table.frequent, 64:] = torch.inf
        assert (codes[:, part] == distance.argmin(dim=1)).float().mean() > 0.999


def test_rows_get_the_gradient_of_what_comes_out(table: MGQE) -> None:
    ids = torch.tensor([7, 15, 7])
    found = table(ids)
    found.retain_grad()
    (found * torch.arange(24.0).view(3, 8)).sum().backward()
    assert table.rows.grad is not None
    assert torch.equal(table.rows.grad[7], found.grad[0] + found.grad[2])
    assert torch.equal(table.rows.grad[15], found.grad[1])
    assert table.codebooks.grad is None


def test_the_penalty_pulls_centroids_to_rows_and_nothing_else(table: MGQE) -> None:
    ids = torch.tensor([7, 15])
    found = table(ids)
    expected = (found - table.rows[ids]).square().mean()
    assert torch.allclose(table.penalty(), expected)
    table.penalty().backward()
    assert table.rows.grad is None
    used = table.codebooks.grad.abs().sum(dim=-1) > 0
    assert used.sum(dim=1).tolist() == [len(set(part)) for part in codes_used(table, ids)]


def codes_used(table: MGQE, ids: torch.Tensor) -> list[list[int]]:
    found = table(ids).detach().view(2, PARTS, -1)
    return [
        [
            int(torch.cdist(row[None, part], table.codebooks[part].detach()).argmin())
            for row in found
        ]
        for part in range(PARTS)
    ]


def test_what_is_served_is_what_was_trained(table: MGQE) -> None:
    served = table.freeze()
    ids = torch.arange(N)
    assert torch.equal(served.codes_of(ids), table.eval().codes_of(ids))
    assert torch.equal(served.lookup(ids.view(-1, 4)), table(ids.view(-1, 4)).detach())


def test_codes_take_the_bits_that_they_need(table: MGQE) -> None:
    frequent = N // 10
    codes = frequent * PARTS + -(-(N - frequent) * PARTS * 6 // 8)
    members = 32 * (8 + 4)  # 2000 ids in blocks of 64
    assert table.freeze().nbytes == codes + members + 256 * DIM * 4
    sized = MGQE.sized(torch.arange(N).flip(0), DIM, 30_000)
    assert sized.parts == 8 and sized.frequent[:frequent].all()
    assert int(sized.frequent.sum()) == frequent
    with pytest.raises(InputError, match="GranularCodes takes"):
        MGQE.sized(torch.arange(N), DIM, 5_000)


def test_what_was_trained_on_can_be_copied(table: MGQE) -> None:
    table(torch.arange(9)).sum().backward()
    table.penalty().backward()
    twin = copy.deepcopy(table)
    ids = torch.arange(N)
    assert torch.equal(twin.eval().codes_of(ids), table.eval().codes_of(ids))
    assert float(twin.penalty()) == 0


def test_which_ids_are_frequent_is_its_own() -> None:
    frequent = torch.arange(600) < 60
    table = MGQE(600, DIM, PARTS, frequent)
    table.frequent.fill_(True)
    assert frequent.sum() == 60


def test_responses_are_evened_out_over_the_batch() -> None:
    """Without it, one centroid may answer for nearly all."""
    torch.manual_seed(0)
    table = MGQE(600, 8, 2, torch.ones(600, dtype=torch.bool)).train()
    with torch.no_grad():
        table.codebooks[:, 0] = 0
    ids = torch.arange(600)
    for part in range(2):
        rows = table.rows.detach().view(600, 2, -1)[:, part]
        response = -torch.cdist(rows, table.codebooks[part].detach()).square()
        spread = (response.var(dim=0, correction=0) + 1e-5).sqrt()
        expected = ((response - response.mean(dim=0)) / spread).argmax(dim=1)
        assert (table.codes_of(ids)[:, part] == expected).float().mean() > 0.99
        assert (response.argmax(dim=1) != expected).any()


def test_as_many_ids_are_frequent_as_are_asked_for() -> None:
    assert int(MGQE.sized(torch.arange(2000), 8, 40_000, share=0.3).frequent.sum()) == 600
