"""What each way leaves of the neighbours of real vectors that are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors import safe_open

from isometry.compression.block_dedup import BlockDedup
from isometry.compression.codec import Codec
from isometry.compression.integer_table import IntegerTable
from isometry.compression.low_rank import LowRank
from isometry.compression.product_table import ProductTable
from isometry.compression.sparse_rows import SparseRows
from isometry.compression.tensor_train import TensorTrain
from isometry.encoders.packaged_models import packaged_folder
from isometry.geometry.neighbors import top_k

Store = Callable[[torch.Tensor, int], Codec]


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    """MiniLM's vectors of 2,500 words, of length 1."""
    with safe_open(packaged_folder("minilm") / "model.safetensors", "np") as file:
        found = file.get_tensor("embeddings.word_embeddings.weight")[2000::11][:2500]
    return torch.from_numpy(found / np.linalg.norm(found, axis=1, keepdims=True))


def recall(table: torch.Tensor, back: torch.Tensor) -> float:
    """The share of each of 200 vectors' 10 nearest that are among its 10 nearest of the others."""
    base = table.numpy()[200:]
    exact, found = (top_k(table.numpy()[:200], some, 10)[1] for some in (base, back.numpy()[200:]))
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)]))


def at(table: torch.Tensor, store: Store, share: float) -> float:
    budget = int(share * 4 * table.numel())
    codec = store(table, budget)
    assert codec.nbytes <= budget
    return recall(table, codec.lookup(torch.arange(len(table))))


def products(table: torch.Tensor, budget: int) -> Codec:
    return ProductTable.fit(table, budget, codes=64)


def test_bytes_in_the_place_of_floats_lose_hardly_a_neighbour(table: torch.Tensor) -> None:
    # A step a row is a hundredth of a row more than a quarter.
    assert at(table, IntegerTable.fit, 0.2527) >= 0.95


def test_products_keep_more_neighbours_than_fewer_dimensions_and_those_more_than_pruning(
    table: torch.Tensor,
) -> None:
    product, rank, pruned = (at(table, one, 1 / 8) for one in (products, LowRank.fit, random))
    assert product > rank + 0.05 > pruned + 0.1
    assert at(table, SparseRows.fit, 1 / 8) > pruned + 0.05
    # Cut to as many dimensions: worse than those of the largest variance.
    cut = table.clone()
    cut[:, LowRank.fit(table, table.numel() // 2).rank :] = 0
    assert rank > recall(table, cut) + 0.05


def random(table: torch.Tensor, budget: int) -> Codec:
    """Numbers that are kept by chance."""
    kept = SparseRows.room(*table.shape, budget)
    mask = torch.zeros(table.numel(), dtype=torch.bool)
    mask[torch.randperm(table.numel(), generator=torch.Generator().manual_seed(0))[:kept]] = True
    return SparseRows.of_mask(table, mask.view(table.shape))


@pytest.mark.parametrize("store", [LowRank.fit, TensorTrain.fit, BlockDedup.fit, SparseRows.fit])
def test_more_bytes_keep_more_neighbours(table: torch.Tensor, store: Store) -> None:
    # A train beyond its rank is large: half of a table is few of its sums.
    small = table[:, :64].contiguous()
    assert at(small, store, 0.2) < at(small, store, 0.5) < at(small, store, 0.9)
