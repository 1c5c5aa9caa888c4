from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn import functional

from isometry.compression.autosrh import AutoSrh
from isometry.compression.codec import FloatTable
from isometry.compression.mgqe import MGQE
from isometry.learners.factorization_machine import FactorizationMachine, pair_products

ROWS = [(np.array([1, 5, 9]), True), (np.array([2, 5, 8]), False), (np.array([0, 6, 9]), True)]


def test_the_products_are_those_of_all_pairs() -> None:
    vectors = torch.randn(7, 5, 4, dtype=torch.float64)
    expected = sum(
        (vectors[:, a] * vectors[:, b]).sum(dim=-1) for a, b in combinations(range(5), 2)
    )
    assert torch.allclose(pair_products(vectors), expected)


def test_the_loss_is_the_cross_entropy_of_bias_and_products() -> None:
    table = FloatTable(10, 4)
    learner = FactorizationMachine(table)
    with torch.no_grad():
        learner.bias.fill_(0.7)
        table.rows.normal_()
    batch = learner.collate(ROWS)
    rows = table.rows.detach()
    logits = [
        0.7 + float(sum(rows[a] @ rows[b] for a, b in combinations(ids, 2))) for ids, _ in ROWS
    ]
    expected = functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor([1.0, 0.0, 1.0])
    )
    assert learner.loss(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_a_table_adds_is_in_the_loss() -> None:
    torch.manual_seed(0)
    table = MGQE(10, 4, 2, torch.ones(10, dtype=torch.bool))
    learner = FactorizationMachine(table).eval()
    batch = learner.collate(ROWS)
    whole = learner.loss(batch)["loss"]
    logits = pair_products(table(batch["ids"])) + learner.bias
    alone = functional.binary_cross_entropy_with_logits(logits, batch["happened"])
    assert torch.allclose(whole, alone + table.penalty())
    assert table.penalty() > 0


def test_the_end_of_a_batch_trains_the_search_alone() -> None:
    table = AutoSrh(torch.arange(10), 4)
    learner = FactorizationMachine(table)
    # Four events, of which the last is held back.
    batch = learner.collate([*ROWS, (np.array([3, 4, 7]), True)])
    learner.loss(batch)["loss"].backward()
    touched = table.rows.grad.any(dim=1).nonzero().flatten().tolist()
    assert touched == [0, 1, 2, 5, 6, 8, 9]
    bias = learner.bias.grad.clone()
    learner.zero_grad()
    learner._cross_entropy(table(batch["ids"][:3]), batch["happened"][:3]).backward()
    assert torch.equal(learner.bias.grad, bias)
    table.gates.grad = None
    table.penalty().backward()
    penalty = table.gates.grad.clone()
    table.gates.grad = None
    learner.loss(batch)["loss"].backward()
    groups = set(table.group[[3, 4, 7]].tolist())
    moved = (table.gates.grad - penalty).abs().sum(dim=1) > 1e-9
    assert set(moved.nonzero().flatten().tolist()) == groups


def test_a_search_learns_rows_and_gates_from_what_happened() -> None:
    torch.manual_seed(0)
    table = AutoSrh(torch.arange(10), 4)
    learner = FactorizationMachine(table)
    with torch.no_grad():
        table.rows.normal_()
        learner.bias.fill_(0.7)
    ids = ([1, 5, 9], [2, 5, 8], [0, 6, 9], [3, 4, 7])
    happened = (True, False, True, True)
    batch = learner.collate([(np.array(own), is_so) for own, is_so in zip(ids, happened)])  # noqa: B905
    cross = functional.binary_cross_entropy_with_logits
    logits, marks = pair_products(table.rows[batch["ids"]]) + 0.7, batch["happened"]
    # The last event is held back for the gates.
    expected = cross(logits[:3], marks[:3]) + table.penalty() + cross(logits[3:], marks[3:])
    torch.testing.assert_close(learner.loss(batch)["loss"], expected)
