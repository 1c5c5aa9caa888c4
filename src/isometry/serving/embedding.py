"""From what a request asks for to vectors: the cache, the tokenizer, the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Float

from isometry.serving.cache import VectorCache
from isometry.serving.errors import invalid

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
            made = await model.engine.vectors(items)
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
        def read() -> list[Item]:
            if isinstance(inputs[0], str):
                texts = cast("Sequence[str]", inputs)
                return model.encoder.of_texts(texts, role, places, truncate=truncate)
            ids = cast("Sequence[list[int]]", inputs)
            return model.encoder.of_ids(ids, role, places, truncate=truncate)

        if sum(map(len, inputs)) <= _AT_ONCE:
            items = read()
        else:
            items = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        tokens = sum(len(item.ids) for item in items)
        if tokens > self._limits.request_tokens:
            raise invalid(
                f"The request has {tokens:,} tokens; {self._limits.request_tokens:,} are allowed.",
                places[0].split(".")[0],
                "too_many_tokens",
            )
        return items
