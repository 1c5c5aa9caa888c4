"""A queue in front of an encoder: what came while a batch was computed makes the next batch."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from isometry.serving.errors import busy

if TYPE_CHECKING:
    from isometry.serving.encoding import Item
    from isometry.serving.metrics import Metrics

Encode = Callable[[Sequence["Item"]], Float[np.ndarray, "items dim"]]

# How fast a model is taken to be before it has computed anything, in tokens a second.
_FIRST_GUESS = 5000.0


class _Job:
    """The texts of one request, and what is known of them so far."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.taken = 0
        self.parts: list[np.ndarray] = []
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[np.ndarray] = self.loop.create_future()

    def tokens(self) -> int:
        """How many still wait."""
        return sum(len(item.ids) for item in self.items[self.taken :])

    def settle(self, result: np.ndarray | Exception) -> None:
        """Wakes whoever waits, from any thread."""
        # The loop may be closed by now, and nobody wait any more.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, result)

    def _settle(self, result: np.ndarray | Exception) -> None:
        if self.done.done():
            return
        if isinstance(result, Exception):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)


class Engine:
    """One model's queue, first in first out, and the thread that computes what waits.

    Nothing waits for company: an idle engine begins at once, and batches grow by themselves while
    it is busy. A request that is cancelled leaves the queue.

    Args:
        name: The model's.
        encode: Items -> vectors, row by row; it runs in the engine's thread.
        batch_tokens: How many tokens to take at once.
        queued_tokens: How many may wait.
        turn: Held while computing: engines that share it take turns on the processor.
        metrics: Where the queue's length and the batches' sizes are noted.
    """

    def __init__(
        self,
        name: str,
        encode: Encode,
        *,
        batch_tokens: int,
        queued_tokens: int,
        turn: threading.Lock,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._encode = encode
        self._batch_tokens = batch_tokens
        self._queued_tokens = queued_tokens
        self._turn = turn
        self._metrics = metrics
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._speed = _FIRST_GUESS
        self._changed = threading.Condition()
        self._running = False
        self._retired = False

    @property
    def waiting_tokens(self) -> int:
        """How many tokens nobody computes yet."""
        return self._waiting

    async def vectors(self, items: Sequence[Item]) -> Float[np.ndarray, "items dim"]:
        """The vectors of a request's texts.

        Raises:
            ApiError: When too much waits already.
            NoVectorError: When the model gives no numbers for a text.
        """
        job = _Job(items)
        self._submit(job)
        try:
            return await job.done
        finally:
            self._withdraw(job)

    def retire(self) -> None:
        """Lets the thread end once nothing waits; what comes later is still computed."""
        with self._changed:
            self._retired = True
            self._changed.notify()

    def _submit(self, job: _Job) -> None:
        tokens = job.tokens()
        with self._changed:
            # A request that is let in at all must fit into an empty queue.
            if self._waiting and self._waiting + tokens > self._queued_tokens:
                seconds = self._waiting / self._speed
                raise busy("Too much is waiting for this model.", seconds, "overloaded")
            self._jobs.append(job)
            self._count(tokens)
            if not self._running:
                self._running = True
                threading.Thread(
                    target=self._work, name=f"engine {self._name}", daemon=True
                ).start()
            self._changed.notify()

    def _withdraw(self, job: _Job) -> None:
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._count(-job.tokens())

    def _count(self, tokens: int) -> None:
        self._waiting += tokens
        self._metrics.queued(self._name, self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._retired:
                    self._changed.wait()
                if not self._jobs:
                    self._running = False
                    return
            with self._turn:
                # Only now, so that what came while another model computed comes along.
                with self._changed:
                    taken = self._take()
                if taken:
                    self._compute(taken)

    def _take(self) -> list[tuple[_Job, Sequence[Item], bool]]:
        """What comes next, some of each job, and whether that was the last of it."""
        taken: list[tuple[_Job, Sequence[Item], bool]] = []
        room = self._batch_tokens
        while self._jobs and room > 0:
            job = self._jobs[0]
            start = job.taken
            while job.taken < len(job.items) and room > 0:
                room -= len(job.items[job.taken].ids)
                job.taken += 1
            last = job.taken == len(job.items)
            if last:
                self._jobs.popleft()
            taken.append((job, job.items[start : job.taken], last))
        self._count(-sum(len(item.ids) for _, items, _ in taken for item in items))
        return taken

    def _compute(self, taken: list[tuple[_Job, Sequence[Item], bool]]) -> None:
        items = [item for _, some, _ in taken for item in some]
        tokens = sum(len(item.ids) for item in items)
        start = time.perf_counter()
        try:
            vectors = self._encode(items)
        except Exception as error:
            if len(taken) == 1:
                taken[0][0].settle(error)
            else:
                # One request's text fails no other's.
                for one in taken:
                    self._compute([one])
            return
        seconds = time.perf_counter() - start
        self._speed += 0.2 * (tokens / max(seconds, 1e-6) - self._speed)
        self._metrics.computed(self._name, len(items), tokens, seconds)
        row = 0
        for job, some, last in taken:
            job.parts.append(vectors[row : row + len(some)])
            row += len(some)
            if last:
                job.settle(_whole(job.parts))


class NoVectorError(Exception):
    """The model gives NaN or infinity for a text.

    Attributes:
        row: Which of those that were given.
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"The model gives NaN or infinity for text {row}.")
        self.row = row


def _whole(parts: list[np.ndarray]) -> np.ndarray | Exception:
    vectors = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if np.isfinite(vectors).all():
        return vectors
    number = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
    return NoVectorError(number)
