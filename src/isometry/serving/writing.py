"""Documents that come over HTTP: cut, encoded, and acknowledged when they are on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from isometry.core.errors import InputError
from isometry.core.journal import NotWrittenError
from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import has_words
from isometry.jobs.ranking import MOST_CHUNKS, passages_of
from isometry.jobs.store import Store, StoreBusyError
from isometry.serving.errors import ApiError, busy, invalid

if TYPE_CHECKING:
    from isometry.serving.embedding import Embedder
    from isometry.serving.model import Model


@dataclass(frozen=True)
class Passages:
    """A document that is ready to be encoded.

    Attributes:
        document: The document.
        rows: Its passages, in the columns of `passage_schema`.
    """

    document: Document
    rows: pa.Table


@dataclass(frozen=True)
class Written:
    """What was acknowledged.

    Attributes:
        id: The document's.
        passages: How many are searched of it.
        created: Whether there was none of this id.
    """

    id: str
    passages: int
    created: bool


def store_of(model: Model) -> Store:
    """What takes a Space's documents.

    Raises:
        ApiError: Where nothing is written.
    """
    if model.store is None:
        raise ApiError(
            403,
            f"Documents of '{model.source.name}' are only read here.",
            param="space",
            code="read_only",
        )
    return model.store


async def cut(model: Model, document: Document, *, truncate: bool, param: str | None) -> Passages:
    """Cuts a document into the passages that are searched.

    Args:
        model: Whose encoder reads them.
        document: The document.
        truncate: Whether to leave out what is beyond the most passages; it is an error otherwise.
        param: Where its text stands in the request, for complaints.

    Raises:
        ApiError: For a document with nothing to search, or with too much.
    """
    header, body = document.header(), document.body()
    rows = await asyncio.to_thread(
        passages_of, model.encoder.encoder, [document.id], [(header, body)]
    )
    if not rows.num_rows or not (header.strip() or body.strip()):
        raise invalid("The document has neither title nor text.", param, "empty_input")
    cut_off = has_words(body[rows["end"][-1].as_py() :])
    if cut_off and not truncate:
        raise invalid(
            f"The document has more than {MOST_CHUNKS} passages. Send it in parts, or with"
            ' "truncate": true to search its beginning only.',
            param,
            "too_many_passages",
        )
    return Passages(document, rows)


async def put(model: Model, embedder: Embedder, documents: Sequence[Passages]) -> list[Written]:
    """Stores documents with ids that differ, in place of those with their ids: all or none.

    Args:
        model: A Space that takes documents.
        embedder: What makes their vectors.
        documents: What `cut` gave.

    Returns:
        What is on the disk now, in the order of the documents.

    Raises:
        ApiError: When they cannot be encoded or written, or not now.
    """
    store = store_of(model)
    rows = pa.concat_tables([each.rows for each in documents])
    texts = rows["text"].to_pylist()
    # They are in the Space from now on: in the cache they would only drive the queries out.
    vectors, _ = await embedder.vectors(
        model, texts, "document", ["text"] * len(texts), truncate=True, keep=False
    )
    new = [each.document.id not in store for each in documents]
    whole = [each.document for each in documents]
    await _acknowledged(lambda: store.put(whole, rows, vectors, model.fingerprint))
    return [
        Written(each.document.id, each.rows.num_rows, created)
        for each, created in zip(documents, new, strict=True)
    ]


async def delete(model: Model, id: str) -> bool:
    """Removes a document.

    Returns:
        Whether there was one.

    Raises:
        ApiError: When that cannot be written, or not now.
    """
    store = store_of(model)
    there = id in store
    if there:
        await _acknowledged(lambda: store.delete([id]))
    return there


async def _acknowledged(write: Callable[[], Future[int]]) -> None:
    """Waits until a write is on the disk; who stops waiting does not stop the write."""
    try:
        await asyncio.wrap_future(await asyncio.to_thread(write))
    except StoreBusyError as error:
        raise busy(
            "Too many documents wait to be applied.", error.retry_after, "store_busy"
        ) from None
    except NotWrittenError:
        # What the disk says names places of this machine; the log has it.
        raise ApiError(
            507,
            "The disk did not take this, and nothing of it is stored. Searches go on.",
            code="not_written",
        ) from None
    except InputError:
        raise invalid("This cannot be stored; send less at a time.", None) from None
