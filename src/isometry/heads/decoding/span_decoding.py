"""Scores of starts and ends -> the best span."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def best_spans(
    start: Float[Tensor, "b t"],
    end: Float[Tensor, "b t"],
    longest: int,
    part: Int[Tensor, "b t"] | None = None,
) -> Int[Tensor, "b 2"]:
    """The first and the last place of the span with the highest sum of scores.

    Place 0 stands for "no answer", as [CLS] does in SQuAD 2: a row whose best span is beaten by
    `start[0] + end[0]` has (0, 0), and no other span begins there.

    Args:
        start: A score for each place; minus infinity where none can begin.
        end: The same for the last place.
        longest: How many places a span has at most.
        part: Of what each place is a part, such as a turn of a conversation; no span goes across.

    Raises:
        ValueError: When there is no place beside the first one, or `longest` is below 1.
    """
    if start.shape[1] < 2 or longest < 1:
        raise ValueError("spans need a place beside the first one, and a length of at least 1")
    places = torch.arange(start.shape[1], device=start.device)
    ahead = places[None] - places[:, None]
    possible = (ahead >= 0) & (ahead < longest) & (places[:, None] > 0)
    if part is not None:
        possible = possible & (part[:, :, None] == part[:, None, :])
    both = (start[:, :, None] + end[:, None, :]).masked_fill(~possible, -torch.inf)
    score, flat = both.flatten(1).max(dim=1)
    found = torch.stack([flat // start.shape[1], flat % start.shape[1]], dim=1)
    none = start[:, 0] + end[:, 0] >= score
    return found.masked_fill(none[:, None], 0)
