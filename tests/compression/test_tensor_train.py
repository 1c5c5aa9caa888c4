from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from isometry.compression.codec import DEVIATION
from isometry.compression.tensor_train import TensorTrain
from isometry.core.errors import InputError


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32))


def test_a_vector_is_the_product_that_its_digits_choose() -> None:
    codec = TensorTrain(60, 16, 3)
    (n1, n2, n3), (d1, r, d2, s, d3) = codec.bases, codec.shape
    assert n1 * n2 * n3 >= 60 and sorted((d1, d2, d3)) == [2, 2, 4]
    first = codec.first.detach().view(n1, d1, r)
    second = codec.second.detach().view(n2, r, d2, s)
    third = codec.third.detach().view(n3, s, d3)
    for a, b, c in product(range(n1), range(n2), range(n3)):
        id_ = (a * n2 + b) * n3 + c
        if id_ >= 60:
            continue
        expected = torch.einsum("xr,rys,sz->xyz", first[a], second[b], third[c])
        assert torch.allclose(codec(torch.tensor(id_)), expected.flatten(), atol=1e-6)


def test_at_full_rank_it_is_the_table(table: torch.Tensor) -> None:
    codec = TensorTrain.fit(table, 10**9)
    assert torch.allclose(codec.lookup(torch.arange(50)), table, atol=1e-5)


def test_a_train_is_found_again_at_its_rank() -> None:
    torch.manual_seed(0)
    made = TensorTrain(64, 64, 3)
    table = made.lookup(torch.arange(64))
    again = TensorTrain.fit(table, made.nbytes)
    assert again.rank == 3
    assert torch.allclose(again.lookup(torch.arange(64)), table, atol=1e-5)


def test_more_rank_loses_less_and_keeps_the_budget(table: torch.Tensor) -> None:
    losses = []
    for share in (0.2, 0.5, 0.9):
        budget = int(share * 4 * table.numel())
        codec = TensorTrain.fit(table, budget)
        assert codec.nbytes <= budget
        losses.append(float((codec.lookup(torch.arange(50)) - table).square().mean()))
    assert losses[0] > losses[1] > losses[2]


def test_vectors_start_like_other_vectors() -> None:
    torch.manual_seed(0)
    found = TensorTrain(8000, 16, 8).lookup(torch.arange(8000))
    assert float(found.std()) == pytest.approx(DEVIATION, rel=0.2)


@pytest.mark.parametrize(
    ("dim", "factors"),
    [(8, (2, 2, 2)), (16, (2, 2, 4)), (32, (2, 4, 4)), (60, (3, 4, 5)), (100, (4, 5, 5)),
     (384, (6, 8, 8)), (768, (8, 8, 12))],
)  # fmt: skip
def test_lengths_are_cut_as_by_the_official_code(dim: int, factors: tuple[int, ...]) -> None:
    """Its `_get_decomp_dim` (Hsword/Hetu at a1cb1bc, methods/scheduler/tensortrain.py)."""
    d1, _, d2, _, d3 = TensorTrain(10, dim, 1).shape
    assert (d1, d2, d3) == factors


@pytest.mark.parametrize(
    ("n", "bases"),
    [(30, (3, 3, 4)), (1000, (10, 10, 10)), (1001, (10, 10, 11)), (33_762_577, (323, 323, 324))],
)
def test_ids_have_digits_as_by_the_official_code(n: int, bases: tuple[int, ...]) -> None:
    """Its `_get_decomp_emb`."""
    with torch.device("meta"):
        assert TensorTrain(n, 8, 1).bases == bases


@pytest.mark.parametrize("dim", [1, 7, 10, 21])
def test_a_length_without_three_factors_is_refused(dim: int) -> None:
    with pytest.raises(InputError, match=f"A length of {dim} is no product of three"):
        TensorTrain(10, dim, 1)
