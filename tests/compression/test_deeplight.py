from __future__ import annotations

import pytest
import torch

from isometry.compression.deeplight import DeepLight


def test_zeros_grow_to_what_the_budget_asks_for() -> None:
    table = DeepLight(100, 8, 8 * 80, warmup=50, steps=500)
    assert table.share == pytest.approx(0.9)
    assert [table.zeros(step) for step in (0, 50)] == [0, 0]
    assert table.zeros(550) == pytest.approx(0.9 * (1 - 1e-3))
    # A tenth of the steps is a tenth of the way to the last thousandth, on a logarithmic scale.
    assert table.zeros(100) == pytest.approx(0.9 * (1 - 10**-0.3))
    # With the official code's period of 100.
    official = DeepLight(100, 8, 8 * 80, warmup=0, steps=68_732)
    assert official.period == pytest.approx(100, abs=0.01)
    assert official.zeros(1000) == pytest.approx(0.9 * (1 - 0.99**10), rel=1e-4)


def test_the_smallest_become_zero_every_ten_steps() -> None:
    torch.manual_seed(0)
    table = DeepLight(100, 8, 8 * 80, warmup=0, steps=100)
    before = table.rows.detach().clone()
    for _ in range(9):
        table(torch.tensor([1]))
    assert torch.equal(table.rows, before)
    table(torch.tensor([1]))
    zeros = int(table.zeros(10) * 800)
    smallest = before.abs().flatten().argsort()[:zeros]
    assert (table.rows.flatten()[smallest] == 0).all() and (table.rows == 0).sum() == zeros
    # They may grow again.
    table(torch.arange(100)).sum().backward()
    assert torch.equal(table.rows.grad, torch.ones(100, 8))
    table.eval()
    for _ in range(20):
        table(torch.tensor([1]))
    assert (table.rows == 0).sum() == zeros


def test_it_is_served_within_its_budget() -> None:
    table = DeepLight(100, 8, 8 * 80 + 5, warmup=0, steps=100)
    served = table.freeze()
    assert served.nbytes == 640
    assert served.numbers.abs().min() >= table.rows.abs().flatten().sort().values[720]
