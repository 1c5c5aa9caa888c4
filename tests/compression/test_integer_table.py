from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from isometry.compression.alpt import ALPT
from isometry.compression.integer_table import (
    IntegerTable,
    IntegerTraining,
    check_bits,
    round_randomly,
)
from isometry.core.errors import InputError


@pytest.mark.parametrize("value", [0.3, -1.7, 5.0, 0.001])
def test_random_rounding_is_right_in_the_mean(value: float) -> None:
    draws = round_randomly(torch.full((100_000,), value), torch.Generator().manual_seed(0)).double()
    error = draws.std() / 100_000**0.5
    assert abs(draws.mean() - value) <= 3 * error + 1e-12
    assert (draws - value).abs().max() < 1
    # Nearest rounding is not.
    assert value == 5.0 or abs(round(value) - value) > 3 * error


@pytest.mark.parametrize("kind", [IntegerTraining, ALPT])
def test_what_is_served_in_training_is_right_in_the_mean(
    kind: Callable[..., IntegerTraining],
) -> None:
    table = kind(100_000, 1, step=0.01)
    with torch.no_grad():
        table.rows.fill_(0.003)
        served = table(torch.arange(100_000)).double()
    assert abs(served.mean() - 0.003) <= 3 * served.std() / 100_000**0.5
    # Nearest rounding would give 0 throughout.
    assert 0.2 < (served > 0).double().mean() < 0.4


def test_other_rates_are_said() -> None:
    table = torch.ones(10, 16)
    for budget in (1, 199):
        with pytest.raises(InputError, match=r"takes 200 bytes") as raised:
            IntegerTable.fit(table, budget)
        assert raised.value.hint == "Its rates here are 0.3125 and 0.5625 of float32."


def test_in_training_rows_are_read_on_the_steps() -> None:
    torch.manual_seed(0)
    table = IntegerTraining(100, 8, step=0.01)
    before = table.rows.detach().clone()
    ids = torch.tensor([3, 5, 3])
    found = table(ids).detach()
    assert torch.equal(found[0], found[2])
    numbers = found / 0.01
    assert torch.allclose(numbers, numbers.round(), atol=1e-4)
    assert ((found[:2] - before[[3, 5]]).abs() < 0.01).all()
    # What was read stays on them, and what was not read is as it was.
    assert torch.equal(table.rows[[3, 5]], found[:2])
    assert torch.equal(table.rows[6:], before[6:])
    # Read again without an update, it is the same.
    assert torch.allclose(table(ids), found, atol=1e-7)


def test_rows_get_the_gradient_and_small_updates_add_up() -> None:
    torch.manual_seed(0)
    table = IntegerTraining(1000, 8, step=0.1)
    ids = torch.arange(1000)
    before = table(ids).detach()
    table(ids).sum().backward()
    assert torch.equal(table.rows.grad, torch.ones(1000, 8))
    for _ in range(20):  # each a tenth of a step
        with torch.no_grad():
            table.rows += 0.01
        table(ids)
    moved = (table.rows.detach() - before).mean()
    assert moved == pytest.approx(0.2, abs=0.01)


def test_every_step_rounds_by_new_chance() -> None:
    """By the same one, a number that is pulled on would go on at each step or never."""
    table = IntegerTraining(1000, 8, step=0.1)
    found = []
    for _ in range(3):
        with torch.no_grad():
            table.rows.fill_(0.05)
        found.append(table(torch.arange(1000)).detach() > 0)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert 0.45 < (found[one] == found[other]).float().mean() < 0.55


def test_numbers_are_clipped_to_their_bits() -> None:
    table = IntegerTraining(2, 3, bits=8, step=0.01)
    with torch.no_grad():
        table.rows.copy_(torch.tensor([[9.0, -9.0, 0.5], [0.0, 1.0, -1.0]]))
    assert torch.allclose(table(torch.tensor([0]))[0, :2], torch.tensor([1.27, -1.28]))
    served = table.freeze()
    assert served.numbers.tolist()[0][:2] == [127, -128]
    wide = IntegerTraining(2, 3, bits=16, step=0.01)
    assert wide.range == (-32768, 32767)


def test_a_repeated_training_draws_the_same() -> None:
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        table = IntegerTraining(50, 8, step=0.05, seed=seed)
        table.load_state_dict(IntegerTraining(50, 8, step=0.05).state_dict() | {"rows": ROWS})
        found.append(table(torch.arange(50)).detach())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


ROWS = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 0.05


def test_what_is_served_is_what_was_read() -> None:
    table = IntegerTraining(50, 8, bits=16, step=0.001)
    found = table(torch.arange(50)).detach()
    served = table.freeze()
    assert served.nbytes == 50 * 8 * 2 + 4
    assert torch.allclose(served.lookup(torch.arange(50)), found, atol=1e-7)
    assert not served.trainable


def test_a_given_table_is_rounded_to_the_nearest(words) -> None:
    table = torch.from_numpy(words)
    n, dim = table.shape
    for bits, budget in ((8, n * (dim + 4)), (16, n * (2 * dim + 4))):
        codec = IntegerTable.fit(table, budget)
        assert (codec.bits, codec.nbytes) == (bits, budget)
        step = table.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        off = (codec.lookup(torch.arange(n)) - table).abs()
        assert (off <= step / 2 * 1.01).all()
    zeros = IntegerTable.fit(torch.zeros(4, 8), 4 * 12)
    assert torch.equal(zeros.lookup(torch.arange(4)), torch.zeros(4, 8))


def test_other_bits_are_refused_with_the_rates_there_are() -> None:
    with pytest.raises(InputError, match="4 bits are not possible") as found:
        check_bits(4)
    assert "1/4 and 1/2" in found.value.hint


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [8, 16])
def test_no_sign_is_lost_of_a_table_in_half_precision(dtype: torch.dtype, bits: int) -> None:
    """A step of that precision is too short for the largest number, which then wraps around."""
    table = (0.05 * torch.randn(200, 64, generator=torch.Generator().manual_seed(0))).to(dtype)
    table[0] *= 1e-3
    codec = IntegerTable.fit(table, 200 * (bits // 8 * 64 + 4))
    assert codec.bits == bits
    table = table.float()
    step = table.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((codec.lookup(torch.arange(200)) - table).abs() <= step / 2 * 1.01).all()
