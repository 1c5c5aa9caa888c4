"""`PUT` and `DELETE /documents/{id}`, `POST /documents`: documents that are searched at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from isometry.corpora.documents import Document, Kind
from isometry.serving import writing
from isometry.serving.embedding import Embedder
from isometry.serving.errors import ApiError, ErrorDetail, invalid, validation_error
from isometry.serving.json_body import StrictRoute, parse
from isometry.serving.models import Model
from isometry.serving.routes.documents import SpaceName
from isometry.serving.routes.shapes import STRICT, TheEmbedder, TheLimits, TheModels, json_answer
from isometry.serving.settings import Limits

router = APIRouter(route_class=StrictRoute, tags=["documents"])

_NDJSON = "application/x-ndjson"
_LONGEST_ID = 1000
_MOST_LINKS = 1000
# So many times a line waits for its turn before it is given up.
_TRIES = 20


class Metadata(BaseModel):
    """What is known of a document besides its text."""

    model_config = STRICT

    context: str = Field(default="", description="The headings above the title.")
    group: str = Field(default="", description="What a fit never divides: a page, a file.")
    order: int = Field(default=0, ge=0, lt=2**31, description="The place in the group.")
    kind: Kind = "prose"
    links: list[str] = Field(default=[], max_length=_MOST_LINKS, description="Groups.")
    source: str = Field(default="", description="Where it came from, for people.")


class DocumentBody(BaseModel):
    """A document, in the shape that `GET /documents/{id}` gives it."""

    model_config = STRICT | {
        "json_schema_extra": {
            "examples": [{"title": "Guide > Keys", "text": "Rotate the keys once a year."}]
        }
    }

    title: str = Field(default="", description="The heading path.")
    text: str
    metadata: Metadata = Field(default_factory=Metadata)
    truncate: bool = Field(
        default=False, description="Search its beginning only, if it is too long."
    )

    def document(self, id: str) -> Document:
        """It, as a Space holds it."""
        context = self.metadata.context
        # A path begins with the headings above; who sends the title alone says the same.
        title = "" if self.title == context else self.title
        if context:
            title = title.removeprefix(f"{context} > ")
        more: dict[str, Any] = {**self.metadata.model_dump(), "links": tuple(self.metadata.links)}
        return Document(id, self.text, title, **more)


class DocumentLine(DocumentBody):
    """A line of many: a document with its id."""

    model_config = STRICT | {
        "json_schema_extra": {"examples": [{"id": "keys", "text": "Rotate the keys once a year."}]}
    }

    id: str


class StoredDocument(BaseModel):
    """A document that is on the disk, and found from now on."""

    object: Literal["document.stored"] = "document.stored"
    space: str = Field(examples=["docs-space"])
    id: str = Field(examples=["guide/keys.md#rotate-the-keys"])
    passages: int = Field(description="How many are searched of it.")
    created: bool = Field(description="Whether there was none of this id.")


class DeletedDocument(BaseModel):
    """A document that is found no more."""

    object: Literal["document.deleted"] = "document.deleted"
    space: str = Field(examples=["docs-space"])
    id: str
    deleted: bool = Field(description="Whether there was one of this id.")


class LineResult(BaseModel):
    """What became of a line: stored, or an error."""

    line: int = Field(description="Its number, from 1; empty lines count.")
    id: str | None
    passages: int | None = None
    created: bool | None = None
    error: ErrorDetail | None = None


@router.put(
    "/documents/{document:path}",
    response_model=StoredDocument,
    responses={201: {"model": StoredDocument, "description": "There was none of this id."}},
)
async def put_document(
    document: str,
    asked: DocumentBody,
    request: Request,
    models: TheModels,
    embedder: TheEmbedder,
    space: SpaceName = None,
) -> Response:
    """Stores a document in place of the one with its id; answered when it is on the disk."""
    del document
    id = _id(request)
    model = models.get(space, param="space", space=True)
    writing.store_of(model)
    made = await writing.cut(model, asked.document(id), truncate=asked.truncate, param="text")
    (written,) = await writing.put(model, embedder, [made])
    request.app.state.metrics.wrote(model.source.name, "put", 1)
    answer = json_answer(
        {
            "object": "document.stored",
            "space": model.source.name,
            "id": id,
            "passages": written.passages,
            "created": written.created,
        }
    )
    answer.status_code = 201 if written.created else 200
    return answer


@router.delete("/documents/{document:path}", response_model=DeletedDocument)
async def delete_document(
    document: str, request: Request, models: TheModels, space: SpaceName = None
) -> Response:
    """Removes a document; one that is not there does not matter."""
    del document
    id = _id(request)
    model = models.get(space, param="space", space=True)
    deleted = await writing.delete(model, id)
    request.app.state.metrics.wrote(model.source.name, "deleted", int(deleted))
    return json_answer(
        {
            "object": "document.deleted",
            "space": model.source.name,
            "id": id,
            "deleted": deleted,
        }
    )


@router.post(
    "/documents",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_NDJSON: {"schema": DocumentLine.model_json_schema()}},
        }
    },
    responses={
        200: {
            "description": "A line of result for each line, in their order, as they are stored.",
            "content": {_NDJSON: {"schema": LineResult.model_json_schema()}},
        }
    },
)
async def post_documents(
    request: Request,
    models: TheModels,
    embedder: TheEmbedder,
    limits: TheLimits,
    space: SpaceName = None,
) -> Response:
    """Stores many documents, one JSON object a line; a bad line is no matter to the others."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _NDJSON:
        raise ApiError(
            415,
            f"Send one JSON object a line, with Content-Type: {_NDJSON}.",
            code="content_type",
        )
    model = models.get(space, param="space", space=True)
    writing.store_of(model)
    lines = (await request.body()).split(b"\n")

    async def results() -> AsyncIterator[bytes]:
        stored = 0
        try:
            async for result in _Bulk(model, embedder, limits).run(lines):
                stored += result.error is None
                yield to_json(result, exclude_none=True) + b"\n"
        finally:
            request.app.state.metrics.wrote(model.source.name, "put", stored)

    return StreamingResponse(results(), media_type=_NDJSON)


class _Bulk:
    """Stores lines in batches: as many passages as make encoding and flushing worth it."""

    def __init__(self, model: Model, embedder: Embedder, limits: Limits) -> None:
        self._model = model
        self._embedder = embedder
        self._limits = limits

    async def run(self, lines: list[bytes]) -> AsyncIterator[LineResult]:
        """The result of each line, in their order."""
        batch: list[_Line] = []
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            line = await self._read(number, text)
            good = [each.made for each in batch if each.made]
            passages = sum(each.rows.num_rows for each in good)
            if line.made and good:
                passages += line.made.rows.num_rows
                twice = any(each.document.id == line.made.document.id for each in good)
                if twice or passages > self._limits.batch_passages:
                    async for result in self._stored(batch):
                        yield result
                    batch = []
            batch.append(line)
        async for result in self._stored(batch):
            yield result

    async def _read(self, number: int, text: bytes) -> _Line:
        id = None
        try:
            value = parse(text, self._limits.json_depth)
            id = value.get("id") if isinstance(value, dict) else None
            asked = _validated(value)
            document = asked.document(asked.id)
            made = await writing.cut(self._model, document, truncate=asked.truncate, param="text")
            return _Line(number, asked.id, made)
        except ApiError as error:
            known = id if isinstance(id, str) and len(id) <= _LONGEST_ID else None
            return _Line(number, known, error=error)

    async def _stored(self, batch: list[_Line]) -> AsyncIterator[LineResult]:
        """Stores a batch at once; where that is refused, each line alone."""
        good = [line for line in batch if line.made]
        written: dict[int, writing.Written | ApiError] = {}
        try:
            written = await self._put(good)
        except ApiError:
            for line in good:
                try:
                    written |= await self._put([line])
                except ApiError as error:
                    written[line.number] = error
        for line in batch:
            result = line.error or written[line.number]
            if isinstance(result, ApiError):
                yield LineResult(line=line.number, id=line.id, error=result.body().error)
            else:
                yield LineResult(
                    line=line.number,
                    id=line.id,
                    passages=result.passages,
                    created=result.created,
                )

    async def _put(self, lines: list[_Line]) -> dict[int, writing.Written | ApiError]:
        """Stores lines; where there is no room for the moment, it waits."""
        made = [line.made for line in lines if line.made]
        if not made:
            return {}
        for tries in itertools.count(1):
            try:
                written = await writing.put(self._model, self._embedder, made)
            except ApiError as error:
                if error.status_code != 429 or tries == _TRIES:
                    raise
                await asyncio.sleep(float((error.headers or {}).get("Retry-After", 1)))
            else:
                return {line.number: each for line, each in zip(lines, written, strict=True)}
        raise AssertionError


@dataclass(frozen=True)
class _Line:
    """A line that was read: a document, or a complaint."""

    number: int
    id: str | None
    made: writing.Passages | None = None
    error: ApiError | None = None


def _validated(value: Any) -> DocumentLine:
    try:
        asked = DocumentLine.model_validate(value)
    except ValidationError as error:
        # As the framework names places.
        errors = [each | {"loc": ("body", *each["loc"])} for each in error.errors()]
        raise validation_error(errors) from None
    check_id(asked.id)
    return asked


def _id(request: Request) -> str:
    """The id in the address, of which every byte counts."""
    raw = request.scope["raw_path"].partition(b"?")[0].split(b"/", 2)[2]
    try:
        id = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("The id is no UTF-8.", "id", "invalid_utf8") from None
    check_id(id)
    return id


def check_id(id: str) -> None:
    """Refuses what cannot be a document's id.

    Raises:
        ApiError: When it is empty, long, or holds control characters.
    """
    if not 1 <= len(id) <= _LONGEST_ID:
        raise invalid(f"An id has 1 to {_LONGEST_ID:,} characters, not {len(id):,}.", "id")
    if any(ord(letter) < 32 for letter in id):
        raise invalid("An id has no control characters.", "id")
