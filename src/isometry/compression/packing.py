"""Sets of ids and small numbers, in hardly more bits than they need."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor, nn

# How many bits of a byte are set.
_ONES = torch.tensor([value.bit_count() for value in range(256)])
_IDS = 64  # between two counts


class IdSet(nn.Module):
    """Some of the ids from 0 on: a bit for each id, and a count for every 64 of them.

    It takes 3/16 byte an id, whichever and however many are in it; a map from ids to rows takes 4.

    Args:
        n: How many ids there are.
    """

    bits: Tensor
    before: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        blocks = -(-n // _IDS)
        self.register_buffer("bits", torch.zeros(blocks * _IDS // 8, dtype=torch.uint8))
        self.register_buffer("before", torch.zeros(blocks, dtype=torch.int32))

    def fill(self, member: Bool[Tensor, " n"]) -> None:
        """Sets which ids are in it."""
        padded = torch.zeros(len(self.bits) * 8, dtype=torch.bool)
        padded[: len(member)] = member
        weights = 2 ** torch.arange(8)
        self.bits.copy_((padded.view(-1, 8) * weights).sum(dim=1))
        counts = padded.view(-1, _IDS).sum(dim=1)
        self.before.copy_(counts.cumsum(dim=0) - counts)

    def has(self, ids: Int[Tensor, "*b"]) -> Bool[Tensor, "*b"]:
        """Which of the ids are in it."""
        return (self.bits[ids // 8].long() >> ids % 8) & 1 == 1

    def count_below(self, ids: Int[Tensor, "*b"]) -> Int[Tensor, "*b"]:
        """How many smaller ids are in it: the row of each id that is, among the rows of all."""
        block, byte = ids // _IDS, ids // 8
        places = torch.arange(_IDS // 8, device=ids.device)
        counts = _ONES.to(ids.device)[self.bits.view(-1, _IDS // 8)[block].long()]
        earlier = (counts * (places < (byte % (_IDS // 8)).unsqueeze(-1))).sum(dim=-1)
        within = self.bits[byte].long() & ((1 << ids % 8) - 1)
        return self.before[block] + earlier + _ONES.to(ids.device)[within]


def pack(codes: Int[Tensor, " m"], bits: int) -> UInt8[Tensor, " bytes"]:
    """Writes numbers one after the other, each in so many bits, 8 at most."""
    spread = (codes.long().unsqueeze(1) >> torch.arange(bits)) & 1
    padded = torch.zeros(packed_size(len(codes), bits) * 8, dtype=torch.int64)
    padded[: spread.numel()] = spread.flatten()
    return (padded.view(-1, 8) * 2 ** torch.arange(8)).sum(dim=1).to(torch.uint8)


def packed_size(m: int, bits: int) -> int:
    """The bytes of so many packed numbers."""
    return -(-m * bits // 8)


def unpack(
    packed: UInt8[Tensor, " bytes"], places: Int[Tensor, "*b"], bits: int
) -> Int[Tensor, "*b"]:
    """The numbers at some places of what `pack` wrote."""
    start = places * bits
    byte = start // 8
    following = packed[(byte + 1).clamp(max=len(packed) - 1)].long()
    word = packed[byte].long() | following << 8
    return (word >> start % 8) & (2**bits - 1)
