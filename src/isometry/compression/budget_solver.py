"""From a budget in bytes to the setting of a codec that uses it up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import torch

from isometry.compression.codec import Codec, below_floor


def solve(make: Callable[[int], Codec], knobs: Sequence[int], budget: int) -> int:
    """The last knob with which a codec keeps a budget.

    The bytes are counted on codecs without memory (torch's device `meta`): there is no formula
    beside the codec that could differ from it, and a table of any size costs nothing.

    Args:
        make: Makes the codec of a knob, without reading any tensor.
        knobs: All settings, from the one that takes fewest bytes; none may take fewer than one
            before it.
        budget: In bytes.

    Raises:
        InputError: When the first knob takes more; it names its bytes.

    Example:
        >>> solve(lambda rank: LowRank(n, dim, rank), range(1, dim + 1), budget)
    """

    def measured(knob: int) -> Codec:
        with torch.device("meta"):
            return make(knob)

    first = measured(knobs[0])
    if first.nbytes > budget:
        raise below_floor(first.method, budget, first.nbytes, first.n, first.dim)
    return knobs[bisect_right(knobs, budget, key=lambda knob: measured(knob).nbytes) - 1]
