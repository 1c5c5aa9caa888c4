from __future__ import annotations

import torch

from isometry.compression.codec import FloatTable
from isometry.compression.modulo_hash import ModuloHash


def test_ids_with_the_same_remainder_share_a_row() -> None:
    codec = ModuloHash(10, 4, 3)
    found = codec(torch.arange(10))
    for id_ in range(10):
        assert torch.equal(found[id_], codec.shared[id_ % 3])


def test_small_fields_stay_whole_and_large_ones_share_the_rest_evenly() -> None:
    fields = (4000, 1000, 16)
    plan = ModuloHash.of_fields(fields, 4, 5016 * 16 // 10)
    large, other, small = plan.parts
    assert isinstance(small, FloatTable) and len(small.rows) == 16
    assert isinstance(large, ModuloHash) and isinstance(other, ModuloHash)
    assert len(large.shared) == len(other.shared) == 242
    assert 0.99 < plan.nbytes / (5016 * 16 // 10) <= 1
    # With more rows than the second field has ids, it is whole, too.
    large, other, _ = ModuloHash.of_fields(fields, 4, 4000 * 16).parts
    assert isinstance(other, FloatTable)
    assert isinstance(large, ModuloHash) and len(large.shared) == 4000 - 1016
