from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.compression.packing import IdSet, pack, packed_size, unpack


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_set_knows_its_members_and_their_order(n: int, share: float) -> None:
    member = torch.from_numpy(np.random.default_rng(n).random(n) < share)
    ids = IdSet(n)
    ids.fill(member)
    every = torch.arange(n)
    assert torch.equal(ids.has(every), member)
    assert torch.equal(ids.count_below(every), member.cumsum(0) - member.long())
    assert torch.equal(ids.has(every.flip(0).view(1, -1)), member.flip(0).view(1, -1))


def test_a_set_takes_three_sixteenths_of_a_byte_an_id() -> None:
    tensors = IdSet(64_000).state_dict().values()
    assert sum(one.numel() * one.element_size() for one in tensors) == 64_000 * 3 // 16


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("m", [1, 7, 100])
def test_packed_numbers_come_back(bits: int, m: int) -> None:
    codes = torch.from_numpy(np.random.default_rng(m).integers(0, 2**bits, m))
    packed = pack(codes, bits)
    assert len(packed) == packed_size(m, bits) == int(np.ceil(m * bits / 8))
    places = torch.randperm(m, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack(packed, places, bits), codes[places])


def test_packed_numbers_lie_as_numpy_packs_bits() -> None:
    codes = np.random.default_rng(0).integers(0, 64, 50)
    spread = (codes[:, None] >> np.arange(6)) & 1
    expected = np.packbits(spread.ravel().astype(np.uint8), bitorder="little")
    np.testing.assert_array_equal(pack(torch.from_numpy(codes), 6).numpy(), expected)
