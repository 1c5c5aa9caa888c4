"""The same steps give the same weights."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch.utils import deterministic as memory

# A property of the module, which type checkers do not see.
_FILL = "fill_uninitialized_memory"


@contextmanager
def deterministic() -> Generator[None]:
    """Chooses deterministic kernels inside the block, and restores what was set before.

    PyTorch would also fill every fresh tensor with NaN, to show reads of memory that nobody wrote;
    on a CPU this takes most of the time of a step, and nothing here reads such memory.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        getattr(memory, _FILL),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    setattr(memory, _FILL, False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        setattr(memory, _FILL, before[2])
