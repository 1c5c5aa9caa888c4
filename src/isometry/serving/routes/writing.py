"""`PUT` and `DELETE /documents/{id}`, `POST /documents`: documents that are searched at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from isometry.corpora.documents import Document, Kind, composed
from isometry.serving import writing
from isometry.serving.embedding import Embedder
from isometry.serving.errors import ApiError, ErrorDetail, invalid, validation_error
from isometry.serving.json_body import StrictRoute, parse_aside
from isometry.serving.model import Model
from isometry.serving.routes.documents import SpaceName
from isometry.serving.routes.shapes import (
    FIRST_ERROR,
    STRICT,
    TheEmbedder,
    TheLimits,
    TheModels,
    json_answer,
)
from isometry.serving.settings import Limits

router = APIRouter(route_class=StrictRoute, tags=["documents"])

_NDJSON = "application/x-ndjson"
# Where a body is described in the server's description of itself.
_PART = "#/components/schemas/{model}"
_LONGEST_ID = 1000
_LONGEST_TITLE = 10_000
_MOST_LINKS = 1000
# So many times a line waits for its turn before it is given up.
_TRIES = 20


class Metadata(BaseModel):
    """What is known of a document besides its text."""

    model_config = STRICT

    context: str = Field(
        default="", max_length=_LONGEST_TITLE, description="The headings above the title."
    )
    group: str = Field(default="", description="What a fit never divides: a page, a file.")
    order: int = Field(default=0, ge=0, lt=2**31, description="The place in the group.")
    kind: Kind = "prose"
    links: Annotated[list[str], FIRST_ERROR] = Field(
        default=[], max_length=_MOST_LINKS, description="Groups."
    )
    source: str = Field(default="", description="Where it came from, for people.")


class DocumentBody(BaseModel):
    """A document, in the shape that `GET /documents/{id}` gives it."""

    model_config = STRICT | {
        "json_schema_extra": {
            "examples": [{"title": "Guide > Keys", "text": "Rotate the keys once a year."}]
        }
    }

    title: str = Field(default="", max_length=_LONGEST_TITLE, description="The heading path.")
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
        return composed(Document(id, self.text, title, **more))


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


def _described(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_PART)
    # What they are made of is a part of other bodies too.
    del schema["$defs"]
    # As the framework writes all others.
    return jsonable_encoder(schema, exclude_none=True)


# What the framework cannot know of, since no body as a whole is one of these.
LINES = {model.__name__: _described(model) for model in (DocumentLine, LineResult)}


@router.put(
    "/documents/{document:id}",
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
    """Stores a document in place of the one with its id; answered when it is on the disk.

    An id has 1 to 1,000 characters, none of them a control character.
    """
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


@router.delete("/documents/{document:id}", response_model=DeletedDocument)
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
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {_NDJSON: {"schema": {"$ref": _PART.format(model="DocumentLine")}}},
        }
    },
    responses={
        200: {
            "description": "A line of result for each line, in their order, as they are stored.",
            "content": {_NDJSON: {"schema": {"$ref": _PART.format(model="LineResult")}}},
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
    body = await request.body()
    if body.count(b"\n") > limits.lines:
        raise invalid(
            f"The body has more than {limits.lines:,} lines; send several.", None, "too_many_lines"
        )
    lines = body.split(b"\n")

    async def results() -> AsyncIterator[bytes]:
        stored = 0
        try:
            async for some in _Bulk(model, embedder, limits).run(lines):
                stored += sum(result.error is None for result in some)
                yield "".join(
                    f"{result.model_dump_json(exclude_unset=True)}\n" for result in some
                ).encode()
        finally:
            request.app.state.metrics.wrote(model.source.name, "put", stored)

    return StreamingResponse(results(), media_type=_NDJSON)


class _Bulk:
    """Stores lines in batches: as many passages as make encoding and flushing worth it."""

    def __init__(self, model: Model, embedder: Embedder, limits: Limits) -> None:
        self._model = model
        self._embedder = embedder
        self._limits = limits

    async def run(self, lines: list[bytes]) -> AsyncIterator[list[LineResult]]:
        """The result of each line, in their order, some at a time."""
        most = self._limits.batch_passages
        batch: list[_Line] = []
        ids: set[str] = set()
        passages = 0
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            line = await self._read(number, text)
            rows = line.made.rows.num_rows if line.made else 0
            twice = line.made is not None and line.made.document.id in ids
            # Bad lines have no passages, but are answered as soon.
            if twice or (passages and passages + rows > most) or len(batch) >= most:
                async for some in self._patiently(batch):
                    yield some
                batch, ids, passages = [], set(), 0
            batch.append(line)
            if line.made:
                ids.add(line.made.document.id)
                passages += rows
        async for some in self._patiently(batch):
            yield some

    async def _patiently(self, batch: list[_Line]) -> AsyncIterator[list[LineResult]]:
        """The results of a batch, and nothing, again and again, while they take long.

        A batch may take more seconds than a part of an answer has; sent again, it would take them
        again. A part without a line keeps the answer alive.
        """
        storing = asyncio.ensure_future(self._stored(batch))
        try:
            while not (await asyncio.wait({storing}, timeout=self._limits.request_seconds / 4))[0]:
                yield []
            yield storing.result()
        finally:
            storing.cancel()

    async def _read(self, number: int, text: bytes) -> _Line:
        id = None
        try:
            value = await parse_aside(text, self._limits.json_depth)
            id = value.get("id") if isinstance(value, dict) else None
            asked = _validated(value)
            document = asked.document(asked.id)
            made = await writing.cut(self._model, document, truncate=asked.truncate, param="text")
            return _Line(number, asked.id, made)
        except ApiError as error:
            known = id if isinstance(id, str) and len(id) <= _LONGEST_ID else None
            return _Line(number, known, error=error)

    async def _stored(self, batch: list[_Line]) -> list[LineResult]:
        """Stores a batch at once; where that is refused, each line alone."""
        # With bad lines only there is nothing to wait for, and nobody else would have a turn.
        await asyncio.sleep(0)
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
        return [_result(line, line.error or written[line.number]) for line in batch]

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


def _result(line: _Line, became: writing.Written | ApiError) -> LineResult:
    if isinstance(became, ApiError):
        return LineResult(line=line.number, id=line.id, error=became.body().error)
    return LineResult(
        line=line.number, id=line.id, passages=became.passages, created=became.created
    )


def _validated(value: Any) -> DocumentLine:
    try:
        asked = DocumentLine.model_validate(value)
    except ValidationError as error:
        if not isinstance(value, dict):
            raise invalid("The line must be a JSON object.", None, "model_type") from None
        # As the framework names places.
        errors = [each | {"loc": ("body", *each["loc"])} for each in error.errors()]
        raise validation_error(errors) from None
    check_id(asked.id)
    return asked


def _id(request: Request) -> str:
    """The id in the address, of which every byte counts."""
    _, _, *raw = request.scope["raw_path"].partition(b"?")[0].split(b"/", 2)
    if not raw:
        # Not even the slash before the id is one.
        raise HTTPException(404)
    try:
        id = unquote_to_bytes(raw[0]).decode("utf-8")
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
