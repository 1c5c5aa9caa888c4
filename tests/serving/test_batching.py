"""The queue by itself: what is taken together, in which order, and what leaves it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from isometry.serving.batching import Engine, NoVectorError
from isometry.serving.encoding import Item
from isometry.serving.errors import ApiError
from isometry.serving.metrics import Metrics


def items(*numbers: int, length: int = 10) -> list[Item]:
    """Texts whose first token tells them apart."""
    return [Item(np.full(length, number, dtype=np.int32), "document") for number in numbers]


class Bench:
    """An engine over a function that notes what it is given."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[list[int]] = []
        self.turn = threading.Lock()
        given = {"batch_tokens": 100, "queued_tokens": 1000, **options}
        self.engine = Engine("m", self.encode, turn=self.turn, metrics=Metrics(), **given)

    def encode(self, given: Sequence[Item]) -> np.ndarray:
        numbers = [int(item.ids[0]) for item in given]
        self.batches.append(numbers)
        if 666 in numbers:
            raise RuntimeError("out of memory")
        return np.array([[n, np.nan if n == 13 else n] for n in numbers], dtype=np.float32)

    async def ask(self, *numbers: int, length: int = 10) -> list[float]:
        return (await self.engine.vectors(items(*numbers, length=length)))[:, 0].tolist()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.engine.retire()


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(main())


async def begun(*asking: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Tasks that have each come to wait."""
    tasks = [asyncio.create_task(each) for each in asking]
    await asyncio.sleep(0)
    return tasks


def test_what_waited_is_computed_together_first_come_first_served(bench: Bench) -> None:
    async def main() -> None:
        with bench.turn:
            tasks = await begun(*(bench.ask(n) for n in range(20, 45)))
            assert bench.engine.waiting_tokens == 250
        assert await asyncio.gather(*tasks) == [[n] for n in range(20, 45)]

    run(main)
    assert bench.batches == [[*range(20, 30)], [*range(30, 40)], [*range(40, 45)]]
    assert bench.engine.waiting_tokens == 0


def test_a_request_larger_than_a_batch_is_cut_and_put_together_again(bench: Bench) -> None:
    async def main() -> None:
        with bench.turn:
            tasks = await begun(bench.ask(*range(20, 35)), bench.ask(99), bench.ask(7, length=500))
        assert await asyncio.gather(*tasks) == [[*range(20, 35)], [99], [7]]

    run(main)
    # A text beyond the budget is computed all the same.
    assert bench.batches == [[*range(20, 30)], [*range(30, 35), 99, 7]]


def test_an_idle_engine_waits_for_nobody(bench: Bench) -> None:
    run(lambda: bench.ask(1))
    assert bench.batches == [[1]]


def test_who_goes_away_leaves_the_queue(bench: Bench) -> None:
    async def main() -> None:
        with bench.turn:
            first, second, third = await begun(bench.ask(1), bench.ask(2, 3), bench.ask(4))
            second.cancel()
            await asyncio.wait({second})
            assert bench.engine.waiting_tokens == 20
        assert [await first, await third] == [[1], [4]]

    run(main)
    assert bench.batches == [[1, 4]]


def test_who_goes_away_half_computed_leaves_the_rest(bench: Bench) -> None:
    async def main() -> None:
        (task,) = await begun(bench.ask(*range(20, 45)))
        task.cancel()
        await asyncio.wait({task})
        assert await bench.ask(1) == [1]

    run(main)
    assert bench.engine.waiting_tokens == 0
    assert bench.batches[-1] == [1]


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    bench = Bench(queued_tokens=40)

    async def main() -> None:
        with bench.turn:
            # Larger than the queue, but it is empty.
            tasks = await begun(bench.ask(*range(5)))
            with pytest.raises(ApiError) as refused:
                await bench.ask(9)
            assert refused.value.status_code == 429
            assert int(refused.value.headers["Retry-After"]) >= 1  # type: ignore[index]
            assert bench.engine.waiting_tokens == 50
        await asyncio.gather(*tasks)
        assert await bench.ask(9) == [9]

    run(main)
    bench.engine.retire()


def test_ones_failure_is_no_others(bench: Bench) -> None:
    async def main() -> None:
        with bench.turn:
            tasks = await begun(bench.ask(1), bench.ask(666), bench.ask(2), bench.ask(12, 13))
        good, bad, other, odd = await asyncio.gather(*tasks, return_exceptions=True)
        assert (good, other) == ([1], [2])
        assert isinstance(bad, RuntimeError)
        assert isinstance(odd, NoVectorError) and odd.row == 1
        assert await bench.ask(3) == [3]

    run(main)


def test_one_that_was_retired_still_answers(bench: Bench) -> None:
    async def main() -> None:
        with bench.turn:
            tasks = await begun(bench.ask(1))
            bench.engine.retire()
        assert await tasks[0] == [1]
        # A request that had the old one in its hands.
        assert await bench.ask(2) == [2]

    run(main)


def test_models_take_turns_on_the_processor() -> None:
    turn = threading.Lock()
    inside: list[int] = []

    def encode(given: Sequence[Item]) -> np.ndarray:
        inside.append(1)
        assert len(inside) == 1
        vectors = np.ones((len(given), 2), dtype=np.float32)
        inside.pop()
        return vectors

    options = {"batch_tokens": 10, "queued_tokens": 10**6, "turn": turn, "metrics": Metrics()}
    engines = [Engine(name, encode, **options) for name in "ab"]  # type: ignore[arg-type]

    async def main() -> None:
        await asyncio.gather(*(engine.vectors(items(n)) for n in range(50) for engine in engines))

    run(main)
    for engine in engines:
        engine.retire()
