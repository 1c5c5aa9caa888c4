from __future__ import annotations

import torch

from isometry.compression.modulo_hash import ModuloHash


def test_ids_with_the_same_remainder_share_a_row() -> None:
    codec = ModuloHash(10, 4, 3)
    found = codec(torch.arange(10))
    for id_ in range(10):
        assert torch.equal(found[id_], codec.shared[id_ % 3])


def test_every_large_field_gets_the_same_share_of_its_rows() -> None:
    fields = (4000, 1000, 1)
    plan = ModuloHash.of_fields(fields, 4, 5001 * 16 // 10)
    rows = [len(next(part.parameters())) for part in plan.parts]
    # A tenth, less the small field that stays whole.
    assert rows[2] == 1
    assert abs(rows[0] / rows[1] - 4) < 0.02
    assert 0.99 < plan.nbytes / (5001 * 16 // 10) <= 1
