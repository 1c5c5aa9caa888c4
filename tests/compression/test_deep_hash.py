from __future__ import annotations

import pytest
import torch

from isometry.compression.codec import DEVIATION
from isometry.compression.deep_hash import DeepHash, _primes


@pytest.fixture
def codec() -> DeepHash:
    torch.manual_seed(0)
    return DeepHash(1000, 8, 16, hashes=64)


def test_ids_beyond_the_table_have_vectors_and_cost_nothing(codec: DeepHash) -> None:
    known = codec.lookup(torch.arange(1000))
    beyond = codec.lookup(torch.tensor([10**6, 10**9, 2**31 - 1]))
    assert len(torch.cat([known, beyond]).unique(dim=0)) == 1003
    assert DeepHash(10**9, 8, 16, hashes=64).nbytes == codec.nbytes


def test_hashes_are_those_of_the_formula(codec: DeepHash) -> None:
    ids = [0, 1, 999, 2**31 - 1]
    found = codec.hash(torch.tensor(ids))
    for row, id_ in enumerate(ids):
        for column, (a, b, p) in enumerate(codec.numbers.T.tolist()):
            expected = (a * id_ + b) % p % 1_000_000
            assert found[row, column] == pytest.approx(2 * expected / 999_999 - 1, abs=1e-6)
    assert found.min() >= -1 and found.max() <= 1


def test_hashes_are_spread_evenly_and_do_not_go_together(codec: DeepHash) -> None:
    random = torch.Generator().manual_seed(0)
    found = codec.hash(torch.randint(2**31, (1000,), generator=random))
    assert found.mean().abs() < 0.02
    assert found.std() == pytest.approx(3**-0.5, abs=0.02)
    apart = torch.corrcoef(found.T) - torch.eye(64)
    assert apart.abs().mean() < 0.1


def test_the_modulus_is_a_prime_above_the_buckets(codec: DeepHash) -> None:
    assert codec.numbers[2].min() > 2**31 - 200_000
    assert _primes(100, 130) == [101, 103, 107, 109, 113, 127]
    assert len(codec.numbers[2].unique()) > 50


def test_bytes_are_hashes_layers_and_all_statistics() -> None:
    hashes, width, dim = 64, 16, 8
    layers = hashes * width + 4 * width * width + 5 * width + width * dim + dim
    statistics = 5 * 4 * width
    assert DeepHash(9, dim, width, hashes).nbytes == 4 * (layers + statistics + 3 * hashes)


def test_an_id_that_occurs_twice_counts_once(codec: DeepHash) -> None:
    codec.train()
    once = codec(torch.tensor([1, 2, 3]))
    twice = codec(torch.tensor([3, 1, 1, 2]))
    assert torch.allclose(twice, once[[2, 0, 0, 1]], atol=1e-6)


def test_a_large_budget_makes_a_wide_network_of_as_many_hashes_as_in_the_paper() -> None:
    budget = 4 * 10**6
    wide = DeepHash.sized(10**6, 8, budget)
    assert wide.hashes == DeepHash(9, 8, 4).hashes == 1024 and wide.width > 256
    assert wide.nbytes <= budget < DeepHash(10**6, 8, wide.width + 1).nbytes


def test_slopes_and_shifts_are_as_large_as_the_primes(codec: DeepHash) -> None:
    assert codec.numbers[:2].float().mean().item() == pytest.approx(2**30, rel=0.15)


def test_vectors_start_as_small_as_those_of_other_tables() -> None:
    torch.manual_seed(0)
    network = DeepHash(1000, 8, 64, hashes=64).train()
    found = network(torch.arange(1000)).detach()
    assert 0.2 * DEVIATION < float(found.std()) < 2 * DEVIATION
