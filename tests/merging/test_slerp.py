from __future__ import annotations

import math

import pytest
import torch

from isometry.merging.slerp import slerp

U, V = torch.tensor([1.0, -2.0, 0.1, 3.0]), torch.tensor([2.0, 1.0, -0.3, -1.0])


def between(u: torch.Tensor, v: torch.Tensor, t: float = 0.5, **more: float) -> torch.Tensor:
    return dict(slerp({"w": u}, {"w": v}, t, **more))["w"]


def test_the_middle_of_an_arc_is_longer_than_the_middle_of_the_line() -> None:
    expected = torch.tensor([2.587806, -0.862602, -0.172520, 1.725204])
    torch.testing.assert_close(between(U, V), expected, rtol=0, atol=1e-6)
    assert between(U, V).norm() > torch.lerp(U, V, 0.5).norm() + 1


def test_the_ends_are_exact_and_the_way_back_is_the_same() -> None:
    assert torch.equal(between(U, V, 0.0), U)
    assert torch.equal(between(U, V, 1.0), V)
    for t in (0.1, 0.25, 0.8):
        torch.testing.assert_close(between(U, V, t), between(V, U, 1 - t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_model_and_itself_give_itself(dtype: torch.dtype) -> None:
    u = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    for t in (0.0, 0.3, 0.5, 1.0):
        assert torch.equal(between(u, u.clone(), t), u)


def test_equal_steps_on_the_arc_are_equal_angles_and_keep_the_length() -> None:
    u, v = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])
    for step in range(7):
        angle = math.pi / 2 * step / 6
        expected = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 0.0])
        torch.testing.assert_close(between(u, v, step / 6), expected, rtol=0, atol=1e-6)


def test_where_there_is_no_one_arc_the_line_is_taken() -> None:
    torch.testing.assert_close(between(U, 3 * U, 0.25), 1.5 * U)
    torch.testing.assert_close(between(U, -U, 0.25), 0.5 * U)
    torch.testing.assert_close(between(torch.zeros(4), U, 0.25), 0.25 * U)


def test_each_tensor_is_one_vector_and_has_a_place_of_its_own() -> None:
    one, other = {"a": U.view(2, 2), "b": U}, {"a": V.view(2, 2), "b": V}
    merged = dict(slerp(one, other, lambda name: 0.5 if name == "a" else 0.0))
    torch.testing.assert_close(merged["a"].reshape(-1), between(U, V, 0.5))
    assert torch.equal(merged["b"], U)


A = torch.tensor([0.9, -1.3, 0.27, 2.15, -1.35, 1.55, 0.05, 0.79])
C = torch.tensor([0.7, -0.89, -0.2, 2.6, -0.79, 1.37, 0.13, 0.53])


def test_mergekit_gives_the_same() -> None:
    # mergekit 0.1.5, merge_methods.slerp.slerp, t = 0.3.
    expected = [0.8477486371994019, -1.1876919269561768, 0.12963005900382996, 2.307345390319824,
                -1.1925485134124756, 1.5100246667861938, 0.0748070478439331,
                0.7184526324272156]  # fmt: skip
    torch.testing.assert_close(between(A, C, 0.3), torch.tensor(expected), rtol=0, atol=1e-6)


def test_mergekits_line_between_near_vectors_is_taken_where_it_is_asked_for() -> None:
    base = torch.tensor([0.5, -1.0, 0.25, 2.0, -0.75, 1.5, -0.2, 0.8])
    near = base + torch.tensor([0.01, -0.02, 0.03, 0.01, 0.02, -0.01, 0.02, -0.03])
    # Likewise; the cosine of the two is 0.9998.
    expected = torch.tensor(
        [0.503000020980835, -1.00600004196167, 0.2590000033378601, 2.003000020980835,
         -0.7439999580383301, 1.496999979019165, -0.1940000057220459, 0.7910000085830688]
    )  # fmt: skip
    line = between(base, near, 0.3, straight_below=math.sqrt(1 - 0.9995**2))
    torch.testing.assert_close(line, expected, rtol=0, atol=1e-7)
    assert (between(base, near, 0.3) - expected).abs().max() > 1e-5


def test_narrow_types_are_turned_in_float32() -> None:
    u, v = (1000 * tensor.half() for tensor in (U, V))
    # Squares and sums in float16 are beyond its range.
    expected = 1000 * between(U.half().float(), V.half().float())
    merged = between(u, v)
    assert merged.dtype == torch.float16
    torch.testing.assert_close(merged.float(), expected, rtol=1e-3, atol=1e-2)


def test_whole_numbers_are_passed_on() -> None:
    one = {"ids": torch.arange(3), "w": U}
    assert torch.equal(dict(slerp(one, {**one, "w": V}))["ids"], one["ids"])
    with pytest.raises(ValueError, match="ids"):
        dict(slerp(one, {**one, "ids": torch.arange(1, 4)}))
