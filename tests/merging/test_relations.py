from __future__ import annotations

import pytest
import torch

from isometry.merging.tensors import dot, relations


def test_distance_and_cosine_are_those_of_all_tensors_as_one_vector() -> None:
    generator = torch.Generator().manual_seed(0)
    base, near, far = (
        {"a": torch.randn(7, 3, generator=generator), "b": torch.randn(5, generator=generator)}
        for _ in range(3)
    )
    near = {name: base[name] + 0.01 * near[name] for name in base}
    flat = [torch.cat([state["a"].reshape(-1), state["b"]]) for state in (base, near, far)]
    for found, other in zip(relations(base, [near, far]), flat[1:], strict=True):
        difference = (other - flat[0]).norm() / flat[0].norm()
        assert found.distance == pytest.approx(difference.item(), rel=1e-4)
        cosine = torch.cosine_similarity(other, flat[0], 0).item()
        assert found.cosine == pytest.approx(cosine, rel=1e-5)
    itself = relations(base, [base])[0]
    assert itself.distance == 0 and itself.cosine == pytest.approx(1)


def test_whole_numbers_are_no_part_of_it() -> None:
    base = {"w": torch.ones(3), "ids": torch.arange(100)}
    assert relations(base, [{**base, "ids": torch.arange(1, 101)}])[0].distance == 0


def test_long_vectors_are_summed_exactly() -> None:
    # A sum of float32 alone stays at 2 ** 24.
    one = torch.ones((1 << 20) + 3)
    one[0] = 2.0**12
    assert dot(one, one) == 2.0**24 + (1 << 20) + 2
