from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.compression.codec import DEVIATION
from isometry.compression.low_rank import LowRank


def test_it_loses_what_the_best_of_its_rank_loses(words: np.ndarray) -> None:
    table = torch.from_numpy(words)
    n, dim = table.shape
    codec = LowRank.fit(table, 4 * n * dim // 2)
    assert codec.rank == n * dim // 2 // (n + dim)
    values = np.linalg.svd(words, compute_uv=False)
    lost = float((codec.lookup(torch.arange(n)) - table).square().sum())
    # Eckart and Young 1936.
    assert lost == pytest.approx(float((values[codec.rank :] ** 2).sum()), rel=0.02)


def test_at_full_rank_it_is_the_table(words: np.ndarray) -> None:
    table = torch.from_numpy(words[:300])
    codec = LowRank.fit(table, 10**9)
    assert codec.nbytes == 4 * (300 + 32) * 32
    assert torch.allclose(codec.lookup(torch.arange(300)), table, atol=1e-5)


def test_fits_repeat(words: np.ndarray) -> None:
    table = torch.from_numpy(words)
    first, second, other = (LowRank.fit(table, 50_000, seed) for seed in (0, 0, 1))
    assert torch.equal(first.rows, second.rows)
    assert not torch.equal(first.rows, other.rows)


def test_vectors_start_like_other_vectors() -> None:
    torch.manual_seed(0)
    found = LowRank(5000, 16, 4).lookup(torch.arange(5000))
    assert float(found.std()) == pytest.approx(DEVIATION, rel=0.2)
