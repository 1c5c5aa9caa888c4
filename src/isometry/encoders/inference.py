"""Forward passes without gradients, as fast as a CPU allows: packed weights, a batch a core."""

from __future__ import annotations

import contextlib
import platform
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Work = TypeVar("Work")

# Tokens of a batch on one core: its states then stay in that core's share of the caches.
CORE_TOKENS = 1024
# A smaller batch is not worth a thread.
_LEAST_TOKENS = 128
# Of a batch on any other device.
_DEVICE_TOKENS = 8192
# More Python threads than this wait for each other; further cores share in a batch's products.
_MOST_WORKERS = 8
# Laying out the weights takes as long as so many tokens gain by it, measured with MiniLM.
_WORTH_PACKING = {torch.bfloat16: 256, torch.float32: 1024}


class PackedLinears(TorchFunctionMode):
    """Inside the block, products with a model's `nn.Linear` weights run on laid-out copies.

    oneDNN lays each weight out once for its own kernels, in the precision asked for, where autocast
    rounds every weight again in every forward pass and MKL's float32 products are slower. The model
    is left as it is; all else that it computes is untouched. One object serves several threads.

    Args:
        model: Its weights must not change inside the block.
        dtype: float32 or bfloat16; what the products take and give.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        # With the weight itself: an id belongs to one object only as long as that lives.
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}
        with torch.no_grad():
            for part in model.modules():
                if isinstance(part, nn.Linear) and part.weight.dtype == torch.float32:
                    weight = part.weight.detach().to(dtype).contiguous()
                    packed = torch.ops.mkldnn._reorder_linear_weight(weight, CORE_TOKENS)
                    self._packed[id(part.weight)] = (part.weight, packed)

    @staticmethod
    def is_possible() -> bool:
        """Whether this machine's build of torch has oneDNN's kernels for x86."""
        return (
            platform.machine().lower() in ("x86_64", "amd64")
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_linear_pointwise")
            and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replaces `torch.nn.functional.linear` where its weight is one of the model's."""
        if func is nn.functional.linear:
            return self._linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kept, packed = self._packed.get(id(weight), (None, weight))
        known = input.dtype in (torch.float32, self._dtype) and input.numel() > 0
        if kept is not weight or not known:
            return nn.functional.linear(input, weight, bias)
        return torch.ops.mkldnn._linear_pointwise(
            input.to(self._dtype).contiguous(),
            packed,
            None if bias is None else bias.to(self._dtype),
            *("none", [], ""),
        )


def products(
    model: nn.Module, device: torch.device, bfloat16: bool, tokens: int
) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """How to multiply while so many tokens are encoded: a context for every thread to enter.

    An x86 CPU without instructions for bfloat16 computes in float32: emulated, it is slower.

    Args:
        model: Its weights must not change as long as the context is used.
        device: Where it is.
        bfloat16: Whether products may be rounded to bfloat16.
        tokens: How many will be encoded.
    """
    packed: PackedLinears | None = None
    if device.type == "cpu" and PackedLinears.is_possible():
        bfloat16 = bfloat16 and torch.cpu._is_avx512_bf16_supported()
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        packed = PackedLinears(model, dtype) if tokens >= _WORTH_PACKING[dtype] else None

    @contextlib.contextmanager
    def context() -> Generator[None]:
        # Autocast beside it, for the products that are no layer's: attention, above all.
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
            packed or contextlib.nullcontext(),
        ):
            yield

    return context


def share_out(tokens: int, device: torch.device) -> tuple[int, int]:
    """How many batches to compute at once, and how many padded tokens make a batch.

    Args:
        tokens: All that there are.
        device: Where they are computed.
    """
    if device.type != "cpu":
        return 1, _DEVICE_TOKENS
    threads = torch.get_num_threads()
    workers = max(1, min(threads, _MOST_WORKERS, tokens // _LEAST_TOKENS))
    return workers, min(CORE_TOKENS * (threads // workers), max(_LEAST_TOKENS, tokens // workers))


def side_by_side(
    works: Iterator[Work],
    compute: Callable[[Work], None],
    context: Callable[[], contextlib.AbstractContextManager[None]],
    workers: int,
) -> None:
    """Computes all works, `workers` of them at once, each with its share of torch's threads.

    On few cores, a batch a core is faster than all cores on one batch: nobody waits at the end of
    every operation, and torch lets go of Python's lock while it computes.

    Args:
        works: Taken one by one, never two at once.
        compute: Does one of them, in any thread.
        context: What every thread enters first.
        workers: How many threads; 1 is the calling thread.
    """
    lock, stopped = threading.Lock(), threading.Event()
    threads = torch.get_num_threads()

    def take() -> Work | None:
        with lock:
            return None if stopped.is_set() else next(works, None)

    def work() -> None:
        with context():
            while (one := take()) is not None:
                compute(one)

    def work_beside() -> None:
        torch.set_num_threads(max(1, threads // workers))
        work()

    if workers == 1:
        work()
        return
    try:
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(work_beside) for _ in range(workers)]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                # After an error or Ctrl-C, each finishes its batch only.
                stopped.set()
    finally:
        # The number is each thread's own, but also that of threads to come.
        torch.set_num_threads(threads)
