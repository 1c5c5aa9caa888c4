"""Ids of several fields that are numbered through, field after field."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor


def starts_of(fields: Sequence[int]) -> Int[Tensor, " fields"]:
    """The first id of each field.

    Args:
        fields: How many ids each field has.
    """
    return torch.tensor([0, *accumulate(fields[:-1])])


def field_of(ids: Int[Tensor, "*b"], starts: Int[Tensor, " fields"]) -> Int[Tensor, "*b"]:
    """The number of each id's field.

    Args:
        ids: None below 0; what is beyond the last field counts to it.
        starts: The first id of each field.
    """
    return torch.bucketize(ids, starts, right=True) - 1
