from __future__ import annotations

import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from isometry.encoders import inference
from isometry.encoders.inference import PackedLinears, products, share_out, side_by_side
from isometry.encoders.text import TextEncoder

CPU = torch.device("cpu")
packed = pytest.mark.skipif(not PackedLinears.is_possible(), reason="no oneDNN for x86")


@packed
def test_packed_products_are_those_of_the_layers_and_the_layers_stay_as_they_are() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 96), nn.Tanh(), nn.Linear(96, 33, bias=False))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = (torch.randn(5, 7, 48), torch.randn(3, 48), torch.randn(48, 4).T, torch.randn(0, 48))
    mode = PackedLinears(model, torch.float32)
    for x in inputs:
        with torch.inference_mode(), mode:
            torch.testing.assert_close(model(x), model.forward(x.clone()))
            inside = model(x)
        assert inside.shape == model(x).shape
        torch.testing.assert_close(inside, model(x), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@packed
def test_a_weight_that_is_none_of_the_models_is_not_taken_for_one() -> None:
    model = nn.Linear(8, 8)
    x, other = torch.randn(2, 8), torch.randn(8, 8)
    with torch.inference_mode(), PackedLinears(model, torch.bfloat16):
        torch.testing.assert_close(nn.functional.linear(x, other), x @ other.T)
        assert nn.functional.linear(x, weight=model.weight).dtype == torch.bfloat16
        assert nn.functional.linear(x.double(), other.double()).dtype == torch.float64


def test_float32_stays_float32_and_bfloat16_is_used_where_the_cpu_has_it() -> None:
    model = nn.Linear(64, 64)
    x = torch.randn(4, 64)
    for tokens in (1, 5000):
        with products(model, CPU, False, tokens)():
            torch.testing.assert_close(model(x), x @ model.weight.T + model.bias)
    if PackedLinears.is_possible():
        with products(model, CPU, True, 5000)():
            assert (model(x).dtype == torch.bfloat16) == torch.cpu._is_avx512_bf16_supported()


@pytest.mark.parametrize("tokens", [0, 1, 200, 1000, 10**6])
def test_batches_are_shared_out_among_the_threads(tokens: int) -> None:
    workers, batch = share_out(tokens, CPU)
    assert 1 <= workers <= torch.get_num_threads()
    assert workers == 1 or workers * batch <= max(tokens, workers * inference.CORE_TOKENS)
    if tokens == 10**6:
        assert batch * workers <= inference.CORE_TOKENS * torch.get_num_threads()


def test_everything_is_computed_once_and_the_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    seen: list[tuple[int, int]] = []
    both = threading.Barrier(2, timeout=30)

    def compute(number: int) -> None:
        if number < 2:
            # Passes only when two are computed at once.
            both.wait()
        seen.append((number, torch.get_num_threads()))

    side_by_side(iter(range(20)), compute, nullcontext, 2)
    assert sorted(number for number, _ in seen) == list(range(20))
    assert {threads for _, threads in seen} == {max(1, before // 2)}
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == before and later == [before]


def test_an_error_ends_the_work_and_comes_out() -> None:
    before, done = torch.get_num_threads(), list[int]()

    def compute(number: int) -> None:
        done.append(number)
        if number == 3:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        side_by_side(iter(range(10**9)), compute, nullcontext, 2)
    assert torch.get_num_threads() == before


def test_one_thread_and_several_give_the_same_vectors(
    tiny: TextEncoder, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = tiny.encode(texts[:100])
    monkeypatch.setattr(inference, "_MOST_WORKERS", 1)
    np.testing.assert_allclose(tiny.encode(texts[:100]), together, atol=1e-6)
    assert torch.is_inference_mode_enabled() is False
