from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.compression.block_dedup import BlockDedup

BLOCK, DIM = 4, 8


def blocks(count: int, copies: dict[int, int], noise: float = 0.0) -> torch.Tensor:
    """Random blocks, of which some are copies of others."""
    random = np.random.default_rng(0)
    table = random.normal(size=(count, BLOCK * DIM)).astype(np.float32)
    for copy, original in copies.items():
        table[copy] = table[original] + noise * random.normal(size=BLOCK * DIM)
    return torch.from_numpy(table).view(-1, DIM)


def budget(kept: int, count: int) -> int:
    return kept * BLOCK * DIM * 4 + count * 4


def test_copies_are_dropped_and_nothing_is_lost() -> None:
    table = blocks(10, {3: 1, 7: 1, 9: 0})
    codec = BlockDedup.fit(table, budget(7, 10), block=BLOCK)
    assert torch.equal(codec.lookup(torch.arange(40)), table)
    assert len(set(codec.owner.tolist())) == 7
    assert codec.owner[3] == codec.owner[1] == codec.owner[7]
    assert codec.nbytes == budget(7, 10)


@pytest.mark.parametrize("last", [-9.0, 0.0, 9.0])
def test_a_block_that_is_partly_padding_stands_for_no_other(last: float) -> None:
    # Its numbers would have it visited first, in the middle, or last.
    table = torch.cat([blocks(3, {}), torch.full((BLOCK - 1, DIM), last)])
    for kept in (1, 2, 3, 4):
        codec = BlockDedup.fit(table, budget(kept, 4), block=BLOCK)
        assert len(codec.rows) == kept * BLOCK
        assert codec.lookup(torch.arange(len(table))).shape == table.shape
        # Whole blocks have rows of their own, or those of a whole one.
        stands = codec.rows.view(kept, BLOCK, DIM)[codec.owner[:3].long()]
        assert all(any(torch.equal(one, own) for own in table[:12].view(3, BLOCK, DIM))
                   for one in stands)  # fmt: skip
    assert torch.equal(codec.lookup(torch.arange(len(table))), table)


def test_the_nearest_are_dropped_first() -> None:
    table = blocks(10, {3: 1}, noise=0.001)
    table[5 * BLOCK : 6 * BLOCK] = table[8 * BLOCK : 9 * BLOCK] + 0.1
    one, two = (BlockDedup.fit(table, budget(kept, 10), block=BLOCK).owner for kept in (9, 8))
    assert one[3] == one[1] and one[5] != one[8]
    assert two[3] == two[1] and two[5] == two[8]


def test_a_share_of_the_numbers_may_differ() -> None:
    table = blocks(6, {4: 2})
    table[4 * BLOCK, :] += 9.0  # a quarter of the block
    codec = BlockDedup.fit(table, budget(5, 6), block=BLOCK, share=0.7)
    assert codec.owner[4] == codec.owner[2]
    strict = BlockDedup.fit(table, budget(5, 6), block=BLOCK, share=0.8)
    assert strict.owner[4] != strict.owner[2]


def test_no_more_is_dropped_than_must_be() -> None:
    table = blocks(10, {3: 1, 7: 1, 9: 0})
    codec = BlockDedup.fit(table, budget(8, 10), block=BLOCK)
    assert len(set(codec.owner.tolist())) == 8 == len(codec.rows) // BLOCK
    assert torch.equal(codec.lookup(torch.arange(40)), table)
    whole = BlockDedup.fit(table, budget(10, 10), block=BLOCK)
    assert len(set(whole.owner.tolist())) == 10


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_any_budget_of_a_block_or_more_is_kept(kept: int) -> None:
    table = blocks(10, {})[:38]  # the last block is partly padding
    codec = BlockDedup.fit(table, budget(kept, 10), block=BLOCK)
    assert codec.nbytes == budget(kept, 10)
    used = set(codec.owner.tolist())
    assert used == set(range(kept))
    found = codec.lookup(torch.arange(38))
    exact = (found == table).all(dim=1)[:36].view(-1, BLOCK).all(dim=1)
    assert exact.sum() >= kept - 1


def test_a_block_with_padding_stands_for_no_other() -> None:
    table = blocks(6, {})[:22]
    table[20:] = 0.1
    # Nearly the same as the last block with its padding, whose numbers come first.
    table[:2], table[2:4] = 0.1003, 0.0003
    codec = BlockDedup.fit(table, budget(5, 6), block=BLOCK)
    assert codec.owner[0] == codec.owner[5]
    assert torch.equal(codec.lookup(torch.arange(20)), table[:20])
    torch.testing.assert_close(codec.lookup(torch.arange(20, 22)), table[20:], rtol=0, atol=1e-3)


def test_blocks_are_visited_by_their_third_quartile() -> None:
    """The one with the greater third quartile comes later, so it is the one that goes."""
    table = blocks(4, {})
    table[: 2 * BLOCK] = 0.5
    table[:BLOCK] += 0.2
    codec = BlockDedup.fit(table, budget(3, 4), block=BLOCK)
    assert torch.equal(codec.lookup(torch.tensor([0])), table[[BLOCK]])


def test_what_is_kept_can_be_trained() -> None:
    codec = BlockDedup.fit(blocks(6, {4: 2}), budget(5, 6), block=BLOCK)
    codec(torch.tensor([4 * BLOCK, 2 * BLOCK])).sum().backward()
    assert codec.rows.grad is not None
    assert codec.rows.grad.sum() == 2 * DIM and codec.rows.grad.max() == 2
