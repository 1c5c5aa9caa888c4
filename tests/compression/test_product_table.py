from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.compression.product_quantization import (
    fit_product_quantizer,
    fit_rotated_product_quantizer,
)
from isometry.compression.product_table import ProductTable
from isometry.core.errors import InputError


@pytest.mark.parametrize("rotated", [False, True])
def test_it_gives_back_what_the_quantizer_does(words: np.ndarray, rotated: bool) -> None:
    table = torch.from_numpy(words[:1000])
    fit = fit_rotated_product_quantizer if rotated else fit_product_quantizer
    quantizer = fit(words[:1000], 8, codes=16)
    budget = 8 * 1000 + 16 * 32 * 4 + (32 * 32 * 4 if rotated else 0)
    codec = ProductTable.fit(table, budget, codes=16, rotated=rotated)
    assert codec.nbytes == budget
    expected = quantizer.decode(quantizer.encode(words[:1000]))
    found = codec.lookup(torch.arange(1000).view(10, 100)).view(1000, 32)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_it_takes_the_parts_that_the_budget_allows(words: np.ndarray) -> None:
    table = torch.from_numpy(words[:700])
    books = 4 * 16 * 32
    for budget, parts in ((2 * 700 + books, 2), (4 * 700 + books - 1, 2), (700 + books, 1)):
        assert ProductTable.fit(table, budget, codes=16).codes.shape == (700, parts)
    with pytest.raises(InputError, match="ProductTable takes 2,748 bytes at the least"):
        ProductTable.fit(table, 700 + books - 1, codes=16)


def test_too_few_vectors_for_the_codes_are_refused(words: np.ndarray) -> None:
    with pytest.raises(InputError, match="too few to learn 256"):
        ProductTable.fit(torch.from_numpy(words), 10**9)


def test_the_seed_decides() -> None:
    table = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    budget = 2 * 400 + 8 * 8 * 4
    one, same, other = (
        ProductTable.fit(table, budget, codes=8, seed=seed).codebooks for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
