"""Loads what a server answers for, and loads it anew where its Space was written to."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.jobs.layered import StoredDocuments
from isometry.search.other_vectors import OtherVectors
from isometry.serving.batching import Engine
from isometry.serving.model import Model
from isometry.serving.sources import Source
from isometry.space import Space

if TYPE_CHECKING:
    from isometry.encoders.encoder import Encoder
    from isometry.encoders.text import Precision
    from isometry.serving.metrics import Metrics
    from isometry.serving.settings import Settings

_log = logging.getLogger(__name__)


class Loader:
    """Loads models, whose queues take turns at the processor.

    Args:
        settings: Limits of the queues, and whether Spaces take documents.
        metrics: Where the queues are counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._limits = settings.limits
        self._writable = settings.writable
        self._metrics = metrics
        self._turn = threading.Lock()
        # The passages of each Space that is searched by its base, and their vectors.
        self._encoded: dict[str, dict[str, Float[np.ndarray, " dim"]]] = {}

    def load(self, source: Source, before: Model | None = None, now: Space | None = None) -> Model:
        """Loads a model, with all that an answer needs, so that no request waits for it.

        Args:
            source: What to load.
            before: The same, loaded earlier: what has not changed is taken from it.
            now: The state of its Space; the newest by default.

        Raises:
            InputError: When it cannot be loaded.
        """
        if not source.is_space:
            from isometry.jobs.loading import load_sound

            encoder = load_sound(source.place)
            return self._made(source, encoder, "float32", encoder.fingerprint(), None, None)
        if self._writable:
            return self._stored(source)
        space = now or Space.open(source.place)
        if source.base_of:
            return self._by_base(source, before, space)
        encoder, _, _, _ = space.encoder, space.lexical, space.index.rows, space.index.view
        documents, dims = StoredDocuments(space.documents), nested_widths(space)
        if before and encoder is before.encoder.encoder:
            return replace(before, opened=space, dims=dims, created=_now(), documents=documents)
        said = space.manifest["encoder"]
        precision = cast("Precision", said["precision"])
        made = self._made(source, encoder, precision, said["fingerprint"], dims, space)
        return replace(made, documents=documents)

    def _by_base(self, source: Source, before: Model | None, space: Space) -> Model:
        """A Space with the encoder that its fit began with; its passages are encoded here."""
        if before and before.opened and _base_named(before.opened) != _base_named(space):
            # Another Space stands in this one's place.
            before = None
            self._encoded.pop(source.name, None)
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
        vectors = np.array([known[text] for text in texts], np.float32).reshape(-1, encoder.dim)
        space.__dict__["index"] = OtherVectors(index, numbers, vectors)
        documents = StoredDocuments(space.documents)
        if before:
            return replace(before, opened=space, created=_now(), documents=documents)
        made = self._made(source, encoder, precision, encoder.fingerprint(), None, space)
        return replace(made, documents=documents)

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
        InputError: When it is not there any more, or another model is.
    """
    from isometry.encoders.encoder import load_encoder
    from isometry.encoders.text import TextEncoder

    said = space.fitted
    encoder = load_encoder(said["base"])
    if isinstance(encoder, TextEncoder):
        prompts = {
            role: said.get(f"{role}_prompt", encoder.prompts[role])
            for role in ("query", "document")
        }
        if prompts != dict(encoder.prompts):
            encoder = TextEncoder.load(
                said["base"], query_prompt=prompts["query"], document_prompt=prompts["document"]
            )
    if encoder.fingerprint() != said.get("base_fingerprint", encoder.fingerprint()):
        raise InputError(
            f"'{said['base']}' is not the model that {space.folder} was fitted from.",
            "A path is meant from where the fit ran: serve from there, or leave --beside-base out.",
        )
    return encoder


def _base_named(space: Space) -> tuple[str | None, ...]:
    """What decides about the vectors of a Space's base: its name and its prompts."""
    said = space.fitted
    return said["base"], said.get("query_prompt"), said.get("document_prompt")


def nested_widths(space: Space) -> tuple[int, ...] | None:
    """The widths that a Space's model was trained to be cut to; none where that is unknown."""
    manifest: dict[str, Any] = space.manifest
    if manifest.get("migrated"):
        # The plan is that of the model before.
        return None
    if manifest["figures"]["verdict"]["kept"] == "base":
        return None
    dims = (manifest.get("plan") or {}).get("dims")
    return tuple(sorted(map(int, dims), reverse=True)) if dims else None


def _now() -> int:
    return int(time.time())
