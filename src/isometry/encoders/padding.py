"""Token ids -> padded tensors, where that is what a model's own tokenizer would make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

Ids = Int[np.ndarray, " tokens"]


def cut(ids: Sequence[int], limit: int, ending: int) -> Ids:
    """At most `limit` ids, of which the last `ending` are those that end every text."""
    if len(ids) > limit:
        ids = [*ids[: limit - ending], *ids[len(ids) - ending :]]
    return np.array(ids, dtype=np.int32)


def pad(ids: Sequence[Ids], pad_id: int, like: Mapping[str, Any]) -> dict[str, Any]:
    """Pads on the right, as one segment.

    Args:
        ids: Of each text.
        pad_id: What to fill up with.
        like: A batch of other texts: the names of the tensors, and what is the same in each batch.
    """
    tokens = np.full((len(ids), max(map(len, ids))), pad_id, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, some in enumerate(ids):
        tokens[row, : len(some)] = some
        mask[row, : len(some)] = 1
    made = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
    batch = {name: value for name, value in like.items() if not isinstance(value, Tensor)}
    return batch | {name: torch.from_numpy(made[name]) for name in like if name in made}


def same_batch(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two batches have the same names and the same values."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
        for name, value in one.items()
    )
