from __future__ import annotations

import pytest
import torch

from isometry.compression.alpt import ALPT
from isometry.compression.integer_table import IntegerTable

# Numbers of a step of a hundredth: within the range, at its ends, and beyond.
ROWS = torch.tensor([[0.103, -0.507, 1.0], [5.0, -5.0, 0.004]])


@pytest.fixture
def table() -> ALPT:
    table = ALPT(2, 3, bits=8, step=0.01)
    with torch.no_grad():
        table.rows.copy_(ROWS)
    return table.eval()


def test_steps_get_the_gradient_of_a_learned_step(table: ALPT) -> None:
    """Esser et al. 2020, equation 3, by hand."""
    table(torch.tensor([0, 1])).sum().backward()
    inside = [[10 - 10.3, -51 + 50.7, 0.0], [127, -128, 0 - 0.4]]
    # By the logarithm, so times the step.
    expected = torch.tensor([[sum(row) * 0.01] for row in inside])
    assert torch.allclose(table.log_factor.grad, expected, atol=1e-4)
    assert torch.equal(table.rows.grad, torch.ones(2, 3))


def test_a_greater_step_is_learned_where_numbers_are_clipped(table: ALPT) -> None:
    target = ROWS.clone()
    optimizer = torch.optim.SGD([table.log_factor], lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        (table(torch.tensor([0, 1])) - target).square().sum().backward()
        optimizer.step()
    steps = table.step_of(torch.arange(2)).detach().flatten()
    assert steps[1] == pytest.approx(5 / 127, rel=0.05)
    assert steps[0] == pytest.approx(0.01, rel=0.2)


def test_weights_that_decay_leave_a_step_where_it_started(table: ALPT) -> None:
    optimizer = torch.optim.AdamW(table.parameters(), lr=0.03, weight_decay=0.01)
    for _ in range(500):
        for part in table.parameters():
            part.grad = torch.zeros_like(part)
        optimizer.step()
    assert table.step_of(torch.arange(2)).flatten().tolist() == pytest.approx([0.01, 0.01])


def test_it_is_served_with_a_step_a_row(table: ALPT) -> None:
    with torch.no_grad():
        table.log_factor[1] = torch.tensor(4.0).log()
    served = table.freeze()
    assert isinstance(served, IntegerTable)
    assert served.nbytes == 2 * 3 + 2 * 4
    assert torch.allclose(served.steps.flatten(), torch.tensor([0.01, 0.04]))
    assert torch.allclose(served.lookup(torch.arange(2)), table(torch.arange(2)).detach())
    assert (served.lookup(torch.arange(2)) - ROWS).abs().max() < 0.021


def test_in_training_rounding_is_by_chance_and_kept(table: ALPT) -> None:
    table.train()
    found = table(torch.tensor([0, 1])).detach()
    assert torch.equal(table.rows, found)
    assert (found[0] - ROWS[0]).abs().max() < 0.01


def test_its_first_step_is_saved_with_it(table: ALPT) -> None:
    other = ALPT(2, 3, bits=8, step=0.5).eval()
    other.load_state_dict(table.state_dict())
    ids = torch.arange(2)
    assert torch.equal(other(ids), table(ids))
