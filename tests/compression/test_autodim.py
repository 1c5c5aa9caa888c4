from __future__ import annotations

import pytest
import torch

from isometry.compression.autodim import AutoDim
from isometry.compression.codec import DEVIATION
from isometry.compression.mixed_dimension import of_widths
from isometry.core.errors import InputError

FIELDS = (40, 5, 300)
IDS = torch.stack([torch.randint(0, n, (64,)) for n in FIELDS], dim=1) + torch.tensor([0, 40, 45])


@pytest.fixture
def table() -> AutoDim:
    torch.manual_seed(0)
    return AutoDim(FIELDS, 8, seed=3)


def test_candidates_are_made_alike_and_mixed(table: AutoDim) -> None:
    assert table.widths == [1, 2, 4, 8]
    found = table(IDS)
    assert found.shape == (64, 3, 8)
    # Every candidate has mean 0 and one deviation, so what one alone gives has, too.
    with torch.no_grad():
        table.logits.fill_(-50)
        table.logits[:, 2] = 50
    alone = table(IDS).flatten(0, 1)
    assert alone.mean(dim=0).abs().max() < 1e-5
    assert torch.allclose(alone.std(dim=0, correction=0) / DEVIATION, torch.ones(8), atol=0.05)
    ids = IDS.flatten()
    field = (ids >= 40).long() + (ids >= 45)
    mapped = torch.einsum("bw,bwd->bd", table.tables[2][ids], table.maps[2][field])
    mapped = mapped - mapped.mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(mapped, alone, dim=0)
    assert cosine.min() > 0.9999


def test_tables_and_widths_are_trained_on_different_events(table: AutoDim) -> None:
    weights = torch.randn(64, 3, 8)
    (table(IDS) * weights).sum().backward()
    assert table.logits.grad is None and table.scale.grad != 0
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in table.tables)
    table.zero_grad()
    (table.search(IDS) * weights).sum().backward()
    assert table.logits.grad.abs().sum() > 0
    own = (*table.tables, *table.maps, table.scale)
    assert all(one.grad is None or not one.grad.any() for one in own)


def test_the_temperature_falls_and_the_noise_repeats(table: AutoDim) -> None:
    again = AutoDim(FIELDS, 8, seed=3)
    again.load_state_dict(table.state_dict())
    assert torch.equal(table(IDS), again(IDS))
    assert not torch.equal(table(IDS), again.eval()(IDS))
    table.count.fill_(1000)
    assert table.temperature() == pytest.approx(0.95)
    table.count.fill_(10**6)
    assert table.temperature() == 0.01


def test_every_call_in_training_is_a_step_with_noise_of_its_own(table: AutoDim) -> None:
    once, again = table(IDS), table(IDS)
    assert not torch.equal(once, again)
    assert table.temperature() == pytest.approx(1 - 2 * 5e-5)
    table.search(IDS)
    table.eval()(IDS)
    assert int(table.count) == 2
    one, other = (AutoDim(FIELDS, 8, seed=seed) for seed in (3, 4))
    other.load_state_dict(one.state_dict())
    assert not torch.equal(one(IDS), other(IDS))


def test_the_noise_is_gumbels(table: AutoDim) -> None:
    """With it, the largest is each width as often as its share says."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(3, 4)
    counts = torch.zeros(4)
    for step in range(3000):
        table.count.fill_(step)
        counts += torch.bincount(table._shares(logits).argmax(dim=1), minlength=4)
    assert torch.allclose(counts / 9000, logits[0].softmax(dim=0), atol=0.02)


def test_the_likeliest_widths_are_taken_as_far_as_the_budget_goes(table: AutoDim) -> None:
    with torch.no_grad():
        table.logits.copy_(torch.tensor([[0.0, 0, 3, 0], [9, 0, 0, 0], [0, 0, 2.9, 3]]))
    assert table.widths_for(10**6) == [4, 1, 8]
    size = of_widths(FIELDS, [4, 1, 8], 8).nbytes
    # The step that loses least for its bytes is the large field's to 4.
    assert table.widths_for(size - 1) == [4, 1, 4]
    small = table.widths_for(of_widths(FIELDS, [1, 1, 1], 8).nbytes)
    assert small == [1, 1, 1]
    with pytest.raises(InputError, match="AutoDim takes"):
        table.widths_for(of_widths(FIELDS, [1, 1, 1], 8).nbytes - 1)


def test_of_equally_likely_widths_the_widest_is_taken(table: AutoDim) -> None:
    assert table.widths_for(10**6) == [8, 8, 8]


def test_a_width_that_takes_what_the_whole_table_does_is_stepped_over() -> None:
    table = AutoDim([10], 16)
    with torch.no_grad():
        table.logits.copy_(torch.tensor([[0.0, 0, 1, 2, 3]]))
    # With its projection, a width of 8 takes as many bytes as 16, and one of 4 less.
    sizes = {width: of_widths([10], [width], 16).nbytes for width in table.widths}
    assert sizes[8] >= sizes[16] > 500 >= sizes[4]
    assert table.widths_for(500) == [4]
    with pytest.raises(InputError, match=f"takes {sizes[1]} bytes"):
        table.widths_for(sizes[1] - 1)


def test_a_step_down_is_judged_by_its_bytes(table: AutoDim) -> None:
    with torch.no_grad():
        # It costs the first field 0.5, and 1 the last one, which has more than twice the bytes.
        table.logits.copy_(torch.tensor([[-20, -20, 0, 0.5], [9, 0, 0, 0], [-20, -20, 0, 1.0]]))
    assert table.widths_for(10**6) == [8, 1, 8]
    assert table.widths_for(of_widths(FIELDS, [8, 1, 8], 8).nbytes - 1) == [8, 1, 4]


def test_shares_are_sharper_the_lower_the_temperature_and_drawn_in_training_alone(
    table: AutoDim,
) -> None:
    logits = torch.tensor([[0.0, 0.1, 0.0, 0.0]]).expand(3, 4)
    assert not torch.allclose(table._shares(logits), logits.softmax(dim=1))
    table.eval()
    table.count.zero_()
    torch.testing.assert_close(table._shares(logits), logits.softmax(dim=1))
    table.count.fill_(10**6)
    torch.testing.assert_close(table._shares(logits), (logits / 0.01).softmax(dim=1))


@pytest.mark.parametrize(("dim", "widths"), [(6, [1, 2, 4]), (8, [1, 2, 4, 8]), (1, [1])])
def test_no_width_is_above_the_length_of_a_vector(dim: int, widths: list[int]) -> None:
    assert AutoDim(FIELDS, dim).widths == widths
