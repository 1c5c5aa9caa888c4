"""From what a request asks for to vectors: the cache, the tokenizer, the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from jaxtyping import Float

from isometry.serving.batching import NoVectorError
from isometry.serving.cache import VectorCache
from isometry.serving.errors import ApiError, invalid

if TYPE_CHECKING:
    from isometry.encoders.text import Role
    from isometry.serving.encoding import Item
    from isometry.serving.metrics import Metrics
    from isometry.serving.model import Model
    from isometry.serving.settings import Limits

# The tokenizer spreads a long list over the cores by itself.
_TOKENISING_THREADS = 2
# So many characters are tokenised sooner than another thread could begin.
_AT_ONCE = 256
# So many are tokenised before others have their turn: a fraction of a second, and little memory.
_IN_A_ROW = 128 * 1024


class Embedder:
    """Vectors for requests; of the event loop's thread.

    Args:
        limits: What a request may ask for.
        metrics: Where hits are counted.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._cache = VectorCache(limits.cache_bytes)
        self._threads = ThreadPoolExecutor(_TOKENISING_THREADS, "tokenising")

    async def vectors(
        self,
        model: Model,
        inputs: Sequence[str] | Sequence[list[int]],
        role: Role,
        places: Sequence[str],
        *,
        truncate: bool,
        keep: bool = True,
    ) -> tuple[Float[np.ndarray, "inputs dim"], int]:
        """Unit vectors of texts or token ids, and how many tokens they have.

        Args:
            model: Whose vectors.
            inputs: Texts, or the token ids of each.
            role: Whose prompt they get.
            places: Where each stands in the request, for complaints.
            truncate: Whether to cut what is too long.
            keep: Whether they may be asked for again; then they stay in the cache.

        Raises:
            ApiError: For what cannot be encoded, or not now.
        """
        self._check_number(len(inputs), places)
        if not isinstance(inputs[0], str):
            # Before the cache, which cannot hold what is beyond 64 bits.
            model.encoder.check_ids(cast("Sequence[list[int]]", inputs), places)
        keys = [
            VectorCache.key(model.fingerprint, role, model.encoder.precision, truncate, each)
            for each in inputs
        ]
        vectors = np.empty((len(inputs), model.encoder.dim), dtype=np.float32)
        missing: dict[bytes, list[int]] = {}
        counts = np.zeros(len(inputs), dtype=np.int64)
        for row, key in enumerate(keys):
            if found := self._cache.get(key):
                vectors[row], counts[row] = found
            else:
                missing.setdefault(key, []).append(row)
        self._metrics.looked_up(model.source.name, len(inputs) - len(missing), len(missing))
        if missing:
            firsts = [rows[0] for rows in missing.values()]
            items = await self._read(
                model,
                [inputs[row] for row in firsts],
                role,
                [places[row] for row in firsts],
                truncate,
            )
            try:
                made = await model.engine.vectors(items)
            except NoVectorError as error:
                # As the request has it: what was known, and what came twice, was not asked for.
                place = places[firsts[error.row]]
                raise ApiError(
                    500,
                    f"The model gives NaN or infinity for {place}.",
                    param=place,
                    code="no_vector",
                ) from None
            for (key, rows), item, vector in zip(missing.items(), items, made, strict=True):
                vectors[rows], counts[rows] = vector, len(item.ids)
                if keep:
                    self._cache.put(key, vector, len(item.ids))
        return vectors, int(counts.sum())

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False)

    def _check_number(self, inputs: int, places: Sequence[str]) -> None:
        if inputs > self._limits.inputs:
            raise invalid(
                f"A request may have {self._limits.inputs:,} texts, not {inputs:,}.",
                places[-1].split(".")[0],
                "too_many_inputs",
            )

    async def _read(
        self,
        model: Model,
        inputs: Sequence[str | list[int]],
        role: Role,
        places: Sequence[str],
        truncate: bool,
    ) -> list[Item]:
        if isinstance(inputs[0], str):
            texts = cast("Sequence[str]", inputs)
            inputs = model.encoder.within_reach(texts, places, truncate=truncate)
            self._check_size(sum(map(len, inputs)), "characters", places)

        def read(rows: slice) -> list[Item]:
            if isinstance(inputs[0], str):
                texts = cast("Sequence[str]", inputs[rows])
                return model.encoder.of_texts(texts, role, places[rows], truncate=truncate)
            ids = cast("Sequence[list[int]]", inputs[rows])
            return model.encoder.of_ids(ids, role, places[rows], truncate=truncate)

        items: list[Item] = []
        tokens = 0
        at_once = sum(map(len, inputs)) <= _AT_ONCE
        loop = asyncio.get_running_loop()
        for rows in _in_a_row(inputs):
            part = read(rows) if at_once else await loop.run_in_executor(self._threads, read, rows)
            tokens += sum(len(item.ids) for item in part)
            self._check_size(tokens, "tokens", places)
            items += part
        return items

    def _check_size(
        self, size: int, unit: Literal["characters", "tokens"], places: Sequence[str]
    ) -> None:
        most = getattr(self._limits, f"request_{unit}")
        if size > most:
            raise invalid(
                f"The request has more than {most:,} {unit}; send several.",
                places[0].split(".")[0],
                f"too_many_{unit}",
            )


def _in_a_row(inputs: Sequence[str | list[int]]) -> Iterator[slice]:
    """Parts of a list, each of a limited size or of one text."""
    start = size = 0
    for row, each in enumerate(inputs):
        if row > start and size + len(each) > _IN_A_ROW:
            yield slice(start, row)
            start, size = row, 0
        size += len(each)
    yield slice(start, len(inputs))
