from __future__ import annotations

import torch

from isometry.compression.fields import field_of, starts_of


def test_ids_are_numbered_through() -> None:
    fields = (3, 1, 4)
    starts = starts_of(fields)
    assert starts.tolist() == [0, 3, 4]
    assert field_of(torch.arange(8), starts).tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    some = torch.tensor([[7, 0], [3, 2]])
    assert field_of(some, starts).tolist() == [[2, 0], [1, 0]]


def test_one_field_begins_at_0() -> None:
    assert starts_of([5]).tolist() == [0]
    assert field_of(torch.arange(5), starts_of([5])).tolist() == [0] * 5
