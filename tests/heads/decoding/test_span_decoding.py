from __future__ import annotations

import pytest
import torch

from isometry.heads.decoding.span_decoding import best_spans


def test_the_best_span_is_what_trying_all_of_them_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 300, 9, generator=generator).unbind()
    found = best_spans(start, end, 3).tolist()
    kinds = set()
    for row, (one, other) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        spans = {
            (first, last): one[first] + other[last]
            for first in range(1, 9)
            for last in range(first, min(9, first + 3))
        }
        best = max(spans, key=lambda span: spans[span])
        expected = best if spans[best] > one[0] + other[0] else (0, 0)
        assert tuple(found[row]) == expected
        kinds.add(expected[1] - expected[0] if expected[0] else None)
    assert kinds == {None, 0, 1, 2}


def test_a_span_never_ends_before_it_begins_nor_outside_the_mask() -> None:
    start = torch.tensor([[0.0, 1.0, 9.0, -torch.inf]])
    end = torch.tensor([[0.0, 9.0, 1.0, -torch.inf]])
    assert best_spans(start, end, 4).tolist() in ([[1, 1]], [[2, 2]])
    nothing = torch.full((1, 4), -torch.inf)
    nothing[:, 0] = 0
    assert best_spans(nothing, nothing, 4).tolist() == [[0, 0]]


def test_a_span_stays_within_one_part() -> None:
    # Its best start is in the first part, its best end in the second.
    start, end = torch.tensor([[0.0, 0, 5, 0, 0]]), torch.tensor([[0.0, 0, 0, 5, 0]])
    assert best_spans(start, end, 4).tolist() == [[2, 3]]
    part = torch.tensor([[0, 1, 1, 2, 2]])
    assert best_spans(start, end, 4, part).tolist() in ([[2, 2]], [[3, 3]])
    generator = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 300, 9, generator=generator).unbind()
    part = torch.tensor([0, 1, 1, 1, 2, 2, 3, 3, 3]).expand(300, 9)
    found, free = best_spans(start, end, 9, part), best_spans(start, end, 9)
    assert torch.equal(part.gather(1, found)[:, 0], part.gather(1, found)[:, 1])
    # Where the best of all does not cross a border, it is still the best.
    within = part.gather(1, free)[:, 0] == part.gather(1, free)[:, 1]
    assert 0 < within.sum() < 300 and torch.equal(found[within], free[within])


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="beside the first one"):
        best_spans(torch.zeros(1, 1), torch.zeros(1, 1), 3)
    with pytest.raises(ValueError, match="at least 1"):
        best_spans(torch.zeros(1, 3), torch.zeros(1, 3), 0)
