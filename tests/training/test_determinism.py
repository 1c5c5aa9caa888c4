from __future__ import annotations

import torch
from torch.utils import deterministic as memory

from isometry.training.determinism import deterministic


def test_settings_come_back_and_fresh_memory_is_not_filled() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    filled = memory.fill_uninitialized_memory
    try:
        with deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            # Filled with NaN, a step takes several times as long.
            assert not memory.fill_uninitialized_memory
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert torch.are_deterministic_algorithms_enabled() == before
    assert memory.fill_uninitialized_memory == filled
