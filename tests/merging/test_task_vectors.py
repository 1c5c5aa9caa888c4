from __future__ import annotations

import numpy as np
import pytest
import torch

from isometry.merging.task_vectors import task_vectors

BASE = {"a": torch.tensor([0.5, -1.0]), "b": torch.tensor([2.0, 0.25]), "ids": torch.arange(3)}


def moved(*changes: float) -> dict[str, torch.Tensor]:
    change = torch.tensor(changes)
    return {**BASE, "a": BASE["a"] + change[:2], "b": BASE["b"] + change[2:]}


U, V = (1.0, -2.0, 0.125, 3.0), (2.0, 1.0, -0.25, -1.0)


def test_norms_and_cosines_are_those_of_all_changes_as_one_vector() -> None:
    found = task_vectors(BASE, [moved(*U), moved(*V), moved(*U)])
    u, v = np.array(U), np.array(V)
    np.testing.assert_allclose(found.norms, [np.linalg.norm(x) for x in (u, v, u)], rtol=1e-6)
    cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    expected = [[1, cosine, 1], [cosine, 1, cosine], [1, cosine, 1]]
    np.testing.assert_allclose(found.cosines, expected, rtol=1e-6)
    np.testing.assert_allclose(found.products, found.products.T)
    flat = torch.cat([BASE["a"], BASE["b"]]).double()
    assert found.base_norm == pytest.approx(float(flat.norm()))


def test_signs_conflict_where_two_models_changed_a_number_in_opposite_directions() -> None:
    assert task_vectors(BASE, [moved(*U), moved(*V)]).sign_conflict == 0.75
    # Where one model alone moved, nobody disagrees, and it does not count.
    one = moved(1.0, 0.0, 0.0, 1.0)
    assert task_vectors(BASE, [one, moved(-1.0, 1.0, 0.0, 1.0)]).sign_conflict == 0.5
    # Any two of three are enough.
    third = task_vectors(BASE, [one, moved(1.0, 0.0, 1.0, 1.0), moved(-1.0, 0.0, 1.0, 1.0)])
    assert third.sign_conflict == pytest.approx(1 / 3)


def test_independent_changes_conflict_as_often_as_coins_do() -> None:
    generator = torch.Generator().manual_seed(0)
    base = {"w": torch.zeros(40_000)}
    models = [{"w": torch.randn(40_000, generator=generator)} for _ in range(3)]
    assert task_vectors(base, models[:2]).sign_conflict == pytest.approx(0.5, abs=0.01)
    assert task_vectors(base, models).sign_conflict == pytest.approx(0.75, abs=0.01)
    assert np.abs(task_vectors(base, models).cosines - np.eye(3)).max() < 0.02


def test_the_base_itself_has_no_direction_and_whole_numbers_none_either() -> None:
    found = task_vectors(BASE, [BASE, {**moved(*U), "ids": torch.arange(1, 4)}])
    assert found.norms[0] == 0 and found.cosines[0, 1] == 0 and found.sign_conflict == 0
    with pytest.raises(ValueError, match="nothing"):
        task_vectors(BASE, [])


def test_narrow_types_are_subtracted_in_float32() -> None:
    # Their difference has more digits than bfloat16 keeps.
    base = {"w": torch.tensor([256.0], dtype=torch.bfloat16)}
    model = {"w": torch.tensor([1.0078125], dtype=torch.bfloat16)}
    assert task_vectors(base, [model]).norms[0] == pytest.approx(256 - 1.0078125, rel=1e-7)
