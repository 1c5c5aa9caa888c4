from __future__ import annotations

import copy
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isometry.encoders.text import TextEncoder
from isometry.learners.learner import Learner
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Diagonal, Matryoshka
from isometry.training.grad_cache import CachedStep, gather_with_gradient
from isometry.training.trainer import Batches, Trainer


def contrast() -> nn.Module:
    return Matryoshka(InfoNCE(0.1, learn=True), MRL((32,)))


def prefixes() -> nn.Module:
    return Matryoshka(InfoNCE(0.1, learn=True), MRL((32, 8), (1.0, 0.5)))


def depths() -> nn.Module:
    return Matryoshka(InfoNCE(0.1, learn=True), Diagonal(((1, 8), (2, 32))))


def make_rows(pairs: list[tuple[str, str]], n: int = 6, k: int = 2) -> list[PairRow]:
    """Pairs with negatives of their own; the first two rows have the same document.

    The first negative of the row after the first two answers the next one.
    """
    documents = [code for _, code in pairs]
    rows = [
        PairRow(
            query,
            code,
            i,
            tuple(documents[n + k * i : n + k * (i + 1)]),
            tuple(3 if (i, j) == (2, 0) else n + k * i + j for j in range(k)),
            frozenset({2}) if i == 3 else frozenset(),
        )
        for i, (query, code) in enumerate(pairs[:n])
    ]
    rows[1] = PairRow(pairs[1][0], rows[0].document, 0, rows[1].negatives, rows[1].negative_keys)
    return rows


def towers(encoder: TextEncoder, objective: nn.Module) -> TwoTowers:
    layers = isinstance(getattr(objective, "plan", None), Diagonal)
    return TwoTowers(encoder, objective, query_tokens=12, document_tokens=40, layers=layers)


def step(learner: Learner, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    learner.zero_grad()
    loss = learner.loss(batch)["loss"]
    (3 * loss).backward()  # not 1: what comes from above must be passed on
    return loss.detach(), {
        name.removeprefix("learner."): parameter.grad.clone()
        for name, parameter in learner.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("objective", [contrast, prefixes, depths])
@pytest.mark.parametrize("k", [0, 2])
def test_loss_and_gradients_are_those_of_the_plain_step(
    tiny: TextEncoder,
    pairs: list[tuple[str, str]],
    k: int,
    objective: Callable[[], nn.Module],
) -> None:
    learner = towers(tiny, objective()).train()
    rows = make_rows(pairs, k=k)
    batch = learner.collate(rows)
    assert not torch.equal(batch["same"][:, :6], torch.eye(6, dtype=torch.bool))
    loss, gradients = step(learner, batch)
    assert any(".layer.0." in name for name in gradients)
    assert any(name.endswith("log_temperature") for name in gradients)
    for chunk in (1, 3, 5, 100):
        cached = CachedStep(learner, chunk).train()
        found, theirs = step(cached, cached.collate(rows))
        torch.testing.assert_close(found, loss, rtol=1e-6, atol=1e-6)
        assert set(theirs) == set(gradients)
        for name, gradient in gradients.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(
                theirs[name], gradient, rtol=1e-5, atol=1e-6 * max(1, scale), msg=name
            )


def test_in_bfloat16_the_second_pass_repeats_the_first(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    learner = CachedStep(towers(tiny, contrast()), 2)
    batch = learner.collate(make_rows(pairs))
    kinds: list[torch.dtype] = []
    product = tiny.layers()[0].get_submodule("output.dense")
    product.register_forward_hook(lambda module, given, output: kinds.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss = learner.loss(batch)["loss"]
    once = len(kinds)
    loss.backward()
    assert loss.dtype == torch.float32
    assert len(kinds) == 2 * once and set(kinds) == {torch.bfloat16}


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors made since it began, as they live and die."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakSet[Any]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and (storage := leaf.untyped_storage()) not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, storage.nbytes())
        return output

    def _gone(self, size: int) -> None:
        self.now -= size


def test_memory_is_that_of_a_chunk(tiny: TextEncoder) -> None:
    # The gradient of the big embedding table would hide the activations.
    for name, parameter in tiny.named_parameters():
        parameter.requires_grad_("embeddings" not in name)
    plain = towers(tiny, contrast())
    # All texts of a kind are equally long, so that no chunk is bigger than another.
    batch = plain.collate([PairRow("path " * 20, "file " * 60, i) for i in range(24)])

    def measure(learner: Learner) -> tuple[int, int]:
        """The bytes alive after the first pass, and the most at any time."""
        learner.zero_grad(set_to_none=False)
        with Live() as live:
            loss = learner.loss(batch)["loss"]
            held = live.now
            loss.backward()
        return held, live.peak

    measure(plain)  # the gradients have their place from now on
    held, peak = measure(plain)
    cached_held, cached_peak = measure(CachedStep(plain, 2))
    assert cached_held < 0.05 * held
    assert cached_peak < 0.15 * peak


def test_training_with_it_is_training_without_it(
    tiny: TextEncoder, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    rows = make_rows(pairs, n=12)
    batches = Batches(rows, [[0, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 1, 4, 7, 9]])
    ends: list[dict[str, Tensor]] = []
    for name in ("plain", "cached"):
        encoder = copy.deepcopy(tiny)
        learner: Learner = towers(encoder, prefixes())
        if name == "cached":
            learner = CachedStep(learner, 3)
        Trainer(learner, batches, tmp_path / name, learning_rate=1e-3).run()
        ends.append(dict(encoder.state_dict()))
    before = tiny.state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in ends[0].items())
    for name, tensor in ends[0].items():
        # Attention does not depend on the keys' bias: its gradient is rounding, made big by Adam.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(ends[1][name], tensor, rtol=0, atol=2e-4, msg=name)


def test_an_encoder_with_dropout_is_refused(
    tiny: TextEncoder, pairs: list[tuple[str, str]]
) -> None:
    learner = CachedStep(towers(tiny, contrast()), 2).train()
    batch = learner.collate(make_rows(pairs))
    learner.loss(batch)
    tiny.train()
    with pytest.raises(ValueError, match="training mode"):
        learner.loss(batch)


def test_a_chunk_holds_a_text_at_least(tiny: TextEncoder) -> None:
    with pytest.raises(ValueError, match="at least one text"):
        CachedStep(towers(tiny, contrast()), 0)


# One of two processes: its half of the batch, encoded by a layer, in the contrast of all.
PROCESS = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from isometry.objectives.infonce import InfoNCE
from isometry.training.grad_cache import gather_with_gradient

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
given = load_file(folder / "given.safetensors")
weight = given["weight"].requires_grad_()
objective = InfoNCE(0.1, learn=True)
rows = slice(4 * rank, 4 * rank + 4)
a, b = (gather_with_gradient(given[name][rows] @ weight) for name in ("a", "b"))
same = given["same"].bool()
loss = objective(a, b, same=same)
# Each process also asks something of its own: not all of them have the same for a row.
(loss + (a[:, 0] * (1 + rank)).sum()).backward()
gradients = {"weight": weight.grad, "temperature": objective.log_temperature.grad}
for gradient in gradients.values():
    dist.all_reduce(gradient)
    gradient /= 2
save_file({"loss": loss.detach(), "rows": a.detach(), **gradients}, folder / f"{rank}.safetensors")
dist.destroy_process_group()
"""


def test_two_processes_have_the_loss_and_gradient_of_one_with_the_joined_batch(
    tmp_path: Path,
) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    given = {
        "a": torch.randn(8, 5),
        "b": torch.randn(8, 5),
        "weight": torch.randn(5, 3),
        "same": torch.eye(8),
    }
    given["same"][0, 5] = 1
    save_file(given, tmp_path / "given.safetensors")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), str(rank)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    weight = given["weight"].requires_grad_()
    objective = InfoNCE(0.1, learn=True)
    a, b = (gather_with_gradient(given[name] @ weight) for name in ("a", "b"))
    loss = objective(a, b, same=given["same"].bool())
    (loss + 1.5 * a[:, 0].sum()).backward()
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(found["loss"], loss.detach(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found["rows"], a.detach(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found["weight"], weight.grad, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            found["temperature"], objective.log_temperature.grad, rtol=1e-5, atol=1e-6
        )
