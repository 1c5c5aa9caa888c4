"""All that a server answers for: loaded in the background, kept current."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from isometry.core.errors import InputError
from isometry.serving.errors import ApiError, busy, invalid
from isometry.serving.loading import Loader
from isometry.serving.model import Model
from isometry.serving.sources import Source

if TYPE_CHECKING:
    from isometry.serving.metrics import Metrics
    from isometry.serving.settings import Settings

_T = TypeVar("_T")
# What reading a state gives that was compacted away.
_UNREADABLE = (InputError, OSError, RuntimeError, ValueError)
_log = logging.getLogger(__name__)


class Models:
    """All that a server answers for.

    Args:
        sources: What to load.
        settings: Limits of the queues, and whether Spaces take documents.
        metrics: Where reloads are counted.
    """

    def __init__(self, sources: Iterable[Source], settings: Settings, metrics: Metrics) -> None:
        self.sources = {source.name: source for source in sources}
        self._loader = Loader(settings, metrics)
        self._metrics = metrics
        self._loaded: dict[str, Model] = {}
        self._refreshing = asyncio.Lock()
        self._failures: dict[str, str | None] = {}
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
            # A base stands beside its Space: who names nothing means the Space.
            usual = [known for known in suited if self.sources[known].base_of is None]
            if len(usual) != 1:
                there = ", ".join(suited) or "none"
                raise invalid(f"Say which {param}: {there}.", param, "missing")
            name = usual[0]
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
            model = await in_thread(lambda source=source: self._loader.load(source))
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
            return self._loader.load(before.source, before, now)
        except Exception:
            # Just the state that was tried: another may be there by now.
            self._refused[name] = now.manifest
            raise


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


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, InputError) else type(error).__name__
