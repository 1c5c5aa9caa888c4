"""The Spaces and encoders of a server, each by its name: loaded in the background, kept current."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.encoders.locate import locate
from isometry.encoders.packaged_models import PREFIX
from isometry.search.other_vectors import OtherVectors
from isometry.serving.batching import Engine
from isometry.serving.errors import ApiError, busy, invalid
from isometry.space import MANIFEST, Space

if TYPE_CHECKING:
    from isometry.encoders.encoder import Encoder
    from isometry.encoders.text import Precision
    from isometry.jobs.store import Store
    from isometry.serving.encoding import BatchEncoder
    from isometry.serving.metrics import Metrics
    from isometry.serving.settings import Settings

_NAMED = re.compile(r"([A-Za-z0-9][\w.-]{0,99})=(.+)", re.DOTALL)
_T = TypeVar("_T")
# What reading a state gives that was compacted away.
_UNREADABLE = (InputError, OSError, RuntimeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What a name stands for.

    Attributes:
        name: What clients call it.
        place: A Space, an encoder's folder, `packaged:NAME`, or a hub id.
        is_space: Whether it can be searched.
        base_of: The Space whose documents are searched by the encoder that its fit began with; none
            where it is their own.
    """

    name: str
    place: str
    is_space: bool
    base_of: str | None = None


def read_sources(arguments: Sequence[str], *, beside_base: bool = False) -> list[Source]:
    """What a user typed, each `NAME=PLACE` or a place that gives the name; opens nothing heavy.

    Args:
        arguments: What was typed.
        beside_base: Whether each Space is also served by its base, as `NAME.base`.

    Raises:
        InputError: When there is no such Space or model, or two have one name.
    """
    sources: list[Source] = []
    for argument in arguments:
        named = None if Path(argument).expanduser().exists() else _NAMED.fullmatch(argument)
        place = named[2] if named else argument
        is_space = (Path(place).expanduser() / MANIFEST).is_file()
        name = named[1] if named else _name_of(place)
        found = [Source(name, place, is_space)]
        if not is_space:
            locate(place)
        else:
            space = Space.open(place)
            if beside_base:
                locate(space.manifest["encoder"]["base"])
                found.append(Source(f"{name}.base", place, True, name))
        for source in found:
            if any(other.name == source.name for other in sources):
                raise InputError(
                    f"Two are called '{source.name}'.", f"Give one another name: OTHER={place}"
                )
            sources.append(source)
    return sources


def _name_of(place: str) -> str:
    folder = Path(place).expanduser()
    return folder.resolve().name if folder.is_dir() else place.removeprefix(PREFIX).split("/")[-1]


@dataclass(frozen=True)
class Model:
    """One that is ready to answer.

    Attributes:
        source: What it was loaded from.
        encoder: What makes its vectors.
        engine: The queue in front of it.
        fingerprint: The hash of what decides a vector.
        dims: The widths that it was trained to be cut to, with the whole; all where unknown.
        opened: The Space as it was when it was loaded; none for an encoder alone.
        created: When it was loaded, in seconds since 1970.
        store: What takes documents; none where nothing is written.
    """

    source: Source
    encoder: BatchEncoder
    engine: Engine
    fingerprint: str
    dims: tuple[int, ...] | None
    opened: Space | None
    created: int
    store: Store | None = None

    @property
    def space(self) -> Space | None:
        """What can be searched: all that was acknowledged until now; none for an encoder alone."""
        return self.store.space if self.store else self.opened

    def check_dimensions(self, dimensions: int | None) -> None:
        """Refuses a width that vectors cannot be cut to.

        Raises:
            ApiError: For a width beyond the model's, or one that it was not trained for.
        """
        if dimensions is None or dimensions == self.encoder.dim:
            return
        if not 1 <= dimensions <= self.encoder.dim:
            raise invalid(
                f"dimensions must be 1 to {self.encoder.dim}.",
                "dimensions",
                "dimensions_beyond_model",
            )
        if self.dims is not None and dimensions not in self.dims:
            known = ", ".join(map(str, self.dims))
            raise invalid(
                f"This model was trained to be cut to {known} dimensions, not {dimensions}.",
                "dimensions",
                "dimensions_not_nested",
            )


def shorten(
    vectors: Float[np.ndarray, "texts dim"], dimensions: int | None
) -> Float[np.ndarray, "texts cut"]:
    """The first dimensions of vectors, to unit length again."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    first = vectors[:, :dimensions]
    # What was zero stays zero.
    return first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)


class Models:
    """All that a server answers for.

    Args:
        sources: What to load.
        settings: Limits of the queues, and whether Spaces take documents.
        metrics: Where reloads are counted.
    """

    def __init__(self, sources: Iterable[Source], settings: Settings, metrics: Metrics) -> None:
        self.sources = {source.name: source for source in sources}
        self._limits = settings.limits
        self._writable = settings.writable
        self._metrics = metrics
        self._loaded: dict[str, Model] = {}
        self._turn = threading.Lock()
        self._refreshing = asyncio.Lock()
        self._failures: dict[str, str | None] = {}
        # The passages of each Space that is searched by its base, and their vectors.
        self._encoded: dict[str, dict[str, Float[np.ndarray, " dim"]]] = {}
        # What could not be taken up, so that it is tried once only.
        self._refused: dict[str, dict[str, Any]] = {}

    @property
    def ready(self) -> bool:
        """Whether all are loaded."""
        return len(self._loaded) == len(self.sources)

    @property
    def loaded(self) -> list[Model]:
        """Those that are ready, in the order they were named."""
        return [self._loaded[name] for name in self.sources if name in self._loaded]

    def get(self, name: str | None, *, param: str = "model", space: bool = False) -> Model:
        """The model of a name.

        Args:
            name: What a client said; where nothing, the only one is meant.
            param: Where it said so, for complaints.
            space: Whether it must be a Space.

        Raises:
            ApiError: When there is none of that name, or it is still being loaded.
        """
        suited = [source.name for source in self.sources.values() if source.is_space or not space]
        if name is None:
            if len(suited) != 1:
                there = ", ".join(suited) or "none"
                raise invalid(f"Say which {param}: {there}.", param, "missing")
            name = suited[0]
        if name not in suited:
            there = ", ".join(suited) or "none"
            # A name beyond any sense is not repeated.
            raise ApiError(
                404,
                f"There is no {param} '{name[:100]}'; there are: {there}.",
                param=param,
                code=f"{param}_not_found",
            )
        if (model := self._loaded.get(name)) is None:
            raise busy(f"The {param} '{name}' is being loaded.", 1, "loading", status=503)
        return model

    async def load(self) -> None:
        """Loads all, one after the other.

        Raises:
            InputError: When one cannot be loaded.
        """
        for name, source in self.sources.items():
            model = await in_thread(lambda source=source: self._load(source))
            self._loaded[name] = model

    async def refresh(self) -> None:
        """Takes up what was written into Spaces; one that cannot be read stays as it was."""
        async with self._refreshing:
            for name, before in list(self._loaded.items()):
                if before.opened is None:
                    continue
                if before.store is not None:
                    # Nobody else writes into it.
                    self._watch(name, before.store.failure)
                    continue
                try:
                    now = await in_thread(lambda b=before: self._refreshed(b))
                except Exception as error:
                    self._metrics.reloaded(name, well=False)
                    _log.error("reload failed", extra={"model": name, "error": _reason(error)})
                    continue
                if now is not before:
                    self._loaded[name] = now
                    self._metrics.reloaded(name, well=True)
                    _log.info("reloaded", extra={"model": name})
                    if now.engine is not before.engine:
                        before.engine.retire()

    async def reading(self, read: Callable[[], Awaitable[_T]]) -> _T:
        """What is read out of a Space, also where its state is compacted away meanwhile.

        Args:
            read: Reads out of the Space as it is now.

        Raises:
            ApiError: When it cannot be read.
        """
        try:
            return await read()
        except _UNREADABLE:
            await self.refresh()
            try:
                return await read()
            except (InputError, OSError):
                raise busy("This Space cannot be read now.", 5, "unavailable", status=503) from None

    def close(self) -> None:
        """Lets the threads end, and writes what waits."""
        for model in self._loaded.values():
            model.engine.retire()
            if model.store is not None:
                model.store.close()

    def _watch(self, name: str, failure: Exception | None) -> None:
        """Says once that documents cannot be applied, and once that they can again."""
        said = _reason(failure) if failure else None
        if said != self._failures.get(name):
            self._failures[name] = said
            if said:
                _log.error("documents wait in the journal", extra={"model": name, "error": said})
            else:
                _log.info("documents are applied again", extra={"model": name})

    def _refreshed(self, before: Model) -> Model:
        name = before.source.name
        assert before.opened is not None
        now = before.opened.refresh()
        if now is before.opened or now.manifest == self._refused.get(name):
            return before
        try:
            return self._load(before.source, before, now)
        except Exception:
            # Just the state that was tried: another may be there by now.
            self._refused[name] = now.manifest
            raise

    def _load(self, source: Source, before: Model | None = None, now: Space | None = None) -> Model:
        """The model; where it was loaded before, of the state that its Space has now."""
        if not source.is_space:
            from isometry.encoders.encoder import load_encoder

            encoder = load_encoder(source.place)
            return self._made(source, encoder, "float32", encoder.fingerprint(), None, None)
        if self._writable:
            return self._stored(source)
        space = now or Space.open(source.place)
        if source.base_of:
            return self._by_base(source, before, space)
        # All that a search needs, so that none waits for it.
        encoder, _, _, _ = space.encoder, space.lexical, space.index.rows, space.index.view
        if before and encoder is before.encoder.encoder:
            return replace(before, opened=space, dims=nested_widths(space), created=_now())
        said = space.manifest["encoder"]
        precision = cast("Precision", said["precision"])
        dims = nested_widths(space)
        return self._made(source, encoder, precision, said["fingerprint"], dims, space)

    def _by_base(self, source: Source, before: Model | None, space: Space) -> Model:
        """A Space with the encoder that its fit began with; its passages are encoded here."""
        encoder = before.encoder.encoder if before else base_of(space)
        precision = cast("Precision", space.manifest["encoder"]["precision"])
        index = space.index
        numbers = np.arange(len(index.rows))
        texts = [hit.text for hit in index.fetch((numbers, np.zeros(len(numbers))))]
        # Most of them are those of the state before.
        known = self._encoded.get(source.name, {})
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        _log.info("encoding", extra={"model": source.name, "passages": len(fresh)})
        made = encoder.encode(fresh, "document", precision=precision)
        known = known | dict(zip(fresh, made, strict=True))
        self._encoded[source.name] = {text: known[text] for text in texts}
        vectors = np.stack([known[text] for text in texts])
        space.__dict__["index"] = OtherVectors(index, numbers, vectors)
        if before:
            return replace(before, opened=space, created=_now())
        return self._made(source, encoder, precision, encoder.fingerprint(), None, space)

    def _stored(self, source: Source) -> Model:
        """A Space that takes documents; this process holds its lock from now on."""
        from isometry.jobs.store import Store

        store = Store.open(source.place, "serve --write")
        try:
            space = store.space
            said = space.manifest["encoder"]
            precision = cast("Precision", said["precision"])
            dims = nested_widths(space)
            made = self._made(source, space.encoder, precision, said["fingerprint"], dims, space)
        except BaseException:
            store.close()
            raise
        return replace(made, store=store)

    def _made(
        self,
        source: Source,
        encoder: Encoder,
        precision: Precision,
        fingerprint: str,
        dims: tuple[int, ...] | None,
        space: Space | None,
    ) -> Model:
        import torch

        from isometry.serving.encoding import BatchEncoder

        batches = BatchEncoder(encoder, precision)
        engine = Engine(
            source.name,
            batches.encode,
            batch_tokens=self._limits.batch_tokens * torch.get_num_threads(),
            queued_tokens=self._limits.queued_tokens,
            turn=self._turn,
            metrics=self._metrics,
        )
        return Model(source, batches, engine, fingerprint, dims, space, _now())


def base_of(space: Space) -> Encoder:
    """The encoder that a Space's fit began with, with the Space's prompts.

    Raises:
        InputError: When it is not there any more.
    """
    from isometry.encoders.encoder import load_encoder
    from isometry.encoders.text import TextEncoder

    said = space.manifest["encoder"]
    encoder = load_encoder(said["base"])
    if isinstance(encoder, TextEncoder):
        prompts = {role: said[f"{role}_prompt"] for role in ("query", "document")}
        if prompts != dict(encoder.prompts):
            return TextEncoder.load(
                said["base"], query_prompt=prompts["query"], document_prompt=prompts["document"]
            )
    return encoder


def nested_widths(space: Space) -> tuple[int, ...] | None:
    """The widths that a Space's model was trained to be cut to; none where that is unknown."""
    manifest: dict[str, Any] = space.manifest
    if manifest.get("migrated"):
        # The plan is that of the model before.
        return None
    dims = (manifest.get("plan") or {}).get("dims")
    return tuple(sorted(map(int, dims), reverse=True)) if dims else None


async def in_thread(function: Callable[[], _T]) -> _T:
    """Runs something long in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The loop is closed: the server is gone.
            return

    threading.Thread(target=work, daemon=True).start()
    return await done


def _now() -> int:
    return int(time.time())


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, InputError) else type(error).__name__
