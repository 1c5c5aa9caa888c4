"""How fast this machine encodes and trains, measured on the user's own texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device

from isometry.core.progress import progress_shown
from isometry.encoders.text import Precision, TextEncoder
from isometry.learners.learner import Learner
from isometry.training.determinism import deterministic

# bfloat16 must be clearly faster before its rounding is accepted.
_WORTH_BFLOAT16 = 1.25


class Stopwatch:
    """Times work, and adds up what all of it took.

    Args:
        clock: Seconds; replaced in tests.

    Attributes:
        total: Seconds of all the work.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.total = 0.0

    def seconds(self, work: Callable[[], object]) -> float:
        """Does the work and says how long it took; never 0, so that one may divide by it."""
        start = self._clock()
        work()
        elapsed = self._clock() - start
        self.total += elapsed
        return max(elapsed, 1e-9)


def encode_speeds(
    encoder: TextEncoder, texts: Sequence[str], watch: Stopwatch
) -> dict[Precision, float]:
    """Tokens a second in each precision, the best of three: the cores of shared machines stall."""
    tokens = sum(min(n, encoder.max_tokens) for n in encoder.lengths(texts, "document"))

    def best(precision: Precision) -> float:
        with progress_shown(False):
            return min(
                watch.seconds(lambda: encoder.encode(texts, precision=precision)) for _ in range(3)
            )

    return {"float32": tokens / best("float32"), "bfloat16": tokens / best("bfloat16")}


def worthwhile_precision(speeds: dict[Precision, float]) -> Precision:
    """The precision to compute in, by the speeds of both."""
    fast = speeds["bfloat16"] > _WORTH_BFLOAT16 * speeds["float32"]
    return "bfloat16" if fast else "float32"


def step_seconds(
    learner: Learner,
    batches: Sequence[Sequence[Any]],
    watch: Stopwatch,
    *,
    learning_rate: float,
    bfloat16: bool,
) -> float:
    """Seconds of one optimiser step, the best but the first, which warms up.

    Args:
        learner: It learns: give one that is thrown away.
        batches: The rows of each step that is timed; at least two steps.
        watch: What times it.
        learning_rate: Makes no difference to the time; a large one may give NaN, which does.
        bfloat16: Whether matrix products are in bfloat16.
    """
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate)
    device = trained[0].device

    def step(rows: Sequence[Any]) -> None:
        batch: Any = send_to_device(learner.collate(rows), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = learner.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    with deterministic():
        times = [watch.seconds(lambda rows=rows: step(rows)) for rows in batches]
    return min(times[1:])
