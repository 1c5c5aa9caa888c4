"""Bodies that no client of good will sends: refused with 400, by name, and nothing is computed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError
from running import answering
from starlette.testclient import TestClient

from isometry.encoders.text import TextEncoder
from isometry.serving import embedding
from isometry.serving.encoding import TOKEN_CHARACTERS, BatchEncoder
from isometry.serving.errors import ApiError
from isometry.serving.json_body import nesting, parse
from isometry.serving.routes.embeddings import EmbeddingRequest
from isometry.serving.routes.rerank import RerankRequest
from isometry.serving.routes.writing import Metadata
from isometry.serving.settings import Limits

LIMITS = Limits(inputs=4, request_characters=40_000, request_tokens=100, body_bytes=50_000)


@pytest.fixture(scope="module")
def client(small_folder: Path) -> Iterator[TestClient]:
    with answering(f"small={small_folder}", limits=LIMITS) as (one, _):
        yield one


def refusal(client: TestClient, body: bytes, kind: str = "application/json") -> dict[str, Any]:
    answer = client.post("/v1/embeddings", content=body, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "missing"),
        (b"[]", None, "model_attributes_type"),
        (b"null", None, "model_attributes_type"),
        (b'"text"', None, "model_attributes_type"),
        (b'{"input": "a"', None, "invalid_json"),
        (b'{"input": "a"} x', None, "invalid_json"),
        (b'{"input": "a", "user": NaN}', None, "invalid_json"),
        (b'{"input": "a", "other": Infinity}', None, "invalid_json"),
        (b'{"input": "a", "other": -Infinity}', None, "invalid_json"),
        (b'{"input": "\xff"}', None, "invalid_utf8"),
        (b'{"input": "\xed\xa0\x80"}', None, "invalid_utf8"),
        (b'{"input": "\\ud800"}', None, "invalid_json"),
        (b"\xfe\xff\x00{", None, "invalid_utf8"),
        (b'{"input": ' + b"[" * 20 + b"]" * 20 + b"}", None, "json_too_deep"),
        (b'{"input": "a", "other": ' + b'{"a":' * 8000 + b"1" + b"}" * 8000 + b"}", None,
         "json_too_deep"),
        (b"[" * 49_000, None, "json_too_deep"),
        (b"{}", "input", "missing"),
        (b'{"input": null}', "input", "input_type"),
        (b'{"input": 5}', "input", "input_type"),
        (b'{"input": {"text": "a"}}', "input", "input_type"),
        (b'{"input": ["a", 1]}', "input.1", "string_type"),
        (b'{"input": [1, "a"]}', "input.1", "int_type"),
        (b'{"input": [1.5]}', "input.0", "string_type"),
        (b'{"input": [true]}', "input.0", "int_type"),
        (b'{"input": [[1, 2.5]]}', "input.0.1", "int_type"),
        (b'{"input": "a", "model": 3}', "model", "string_type"),
        (b'{"input": "a", "model": "nope/../.."}', "model", "model_not_found"),
        (b'{"input": "a", "dimensions": "8"}', "dimensions", "int_type"),
        (b'{"input": "a", "dimensions": 8.0}', "dimensions", "int_type"),
        (b'{"input": "a", "dimensions": 1e400}', "dimensions", "int_type"),
        (b'{"input": "a", "dimensions": true}', "dimensions", "int_type"),
        (b'{"input": "a", "encoding_format": "hex"}', "encoding_format", "literal_error"),
        (b'{"input": "a", "input_type": "passage"}', "input_type", "literal_error"),
        (b'{"input": "a", "truncate": "yes"}', "truncate", "bool_type"),
        (b'{"input": ["a", "b", "c", "d", "e"]}', "input", "too_many_inputs"),
        (b'{"input": ["' + b"a " * 60 + b'", "' + b"b " * 60 + b'"]}', "input",
         "too_many_tokens"),
    ],
)  # fmt: skip
def test_it_is_refused_by_name(
    client: TestClient, body: bytes, param: str | None, code: str
) -> None:
    if code == "model_not_found":
        assert client.post("/v1/embeddings", content=body, headers=JSON).status_code == 404
        return
    error = refusal(client, body)
    assert (error["param"], error["code"]) == (param, code), error
    assert error["type"] == "invalid_request_error"


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        # One token each, as it happens, but nobody counts so far.
        ({"input": ["short", "a" * 33_000]}, "input.1", "too_many_tokens"),
        ({"input": ["a" * 21_000, "b" * 21_000]}, "input", "too_many_characters"),
        ({"input": ["a" * 33_000, "a" * 8_000], "truncate": True}, "input", "too_many_characters"),
    ],
)
def test_beyond_any_limit_nothing_is_tokenised(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
    param: str,
    code: str,
) -> None:
    read: list[str] = []
    monkeypatch.setattr(BatchEncoder, "_read", lambda _, texts, role: read.extend(texts))
    error = refusal(client, json.dumps({**body, "user": code}).encode())
    assert (error["param"], error["code"]) == (param, code), error
    assert read == []


def test_of_a_text_that_is_cut_only_the_beginning_is_tokenised(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    tokenise = BatchEncoder._read

    def reading(self: BatchEncoder, texts: list[str], role: Any) -> list[list[int]]:
        read.extend(texts)
        return tokenise(self, texts, role)

    with answering(f"small={small_folder}") as (client, _):
        monkeypatch.setattr(BatchEncoder, "_read", reading)
        # Words of one token, of twelve letters, of hundreds, which are unknown, and much space.
        for word in ("a ", "international ", "x" * 200 + " ", "a" + " " * 200):
            body = {"input": [word * 130, word * (2_000_000 // len(word))], "truncate": True}
            answer = client.post("/v1/embeddings", json=body)
            assert answer.status_code == 200, answer.text
            short, long = (row["embedding"] for row in answer.json()["data"])
            assert max(abs(one - other) for one, other in zip(short, long, strict=True)) < 1e-5
    assert max(map(len, read)) <= TOKEN_CHARACTERS * 128


def test_many_texts_are_tokenised_in_parts_until_they_are_too_many(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_IN_A_ROW", 1000)
    parts: list[int] = []
    tokenise = BatchEncoder._read

    def reading(self: BatchEncoder, texts: list[str], role: Any) -> list[list[int]]:
        parts.append(sum(map(len, texts)))
        return tokenise(self, texts, role)

    texts = [f"text {number} " * (number % 60 + 1) for number in range(40)]
    encoder = TextEncoder.load(small_folder)
    with answering(f"small={small_folder}", limits=Limits(request_tokens=3000)) as (client, _):
        monkeypatch.setattr(BatchEncoder, "_read", reading)
        body = {"input": texts, "truncate": True}
        vectors = [
            row["embedding"] for row in client.post("/v1/embeddings", json=body).json()["data"]
        ]
        np.testing.assert_allclose(vectors, encoder.encode(texts, "document"), atol=1e-5)
        assert 4 < len(parts) < 40 and sum(parts) == sum(map(len, texts))
        assert max(parts) <= 1000
        parts.clear()
        body = {"input": [f"{number} word {number} " * 20 for number in range(2000)]}
        error = refusal(client, json.dumps(body).encode())
        assert (error["param"], error["code"]) == ("input", "too_many_tokens")
        assert sum(parts) < 40_000


@pytest.mark.parametrize(
    ("model", "value", "place"),
    [
        (EmbeddingRequest, {"input": ["a", *[1] * 5000]}, ("input", "<texts>", 1)),
        (EmbeddingRequest, {"input": [1, *["a"] * 5000]}, ("input", "<ids>", 1)),
        (EmbeddingRequest, {"input": [[1.5]] * 5000}, ("input", "<lists of ids>", 0, 0)),
        (EmbeddingRequest, {"input": [["a"] * 5000]}, ("input", "<lists of ids>", 0, 0)),
        (RerankRequest, {"query": "a", "texts": [1] * 5000}, ("texts", 0)),
        (RerankRequest, {"query": "a", "documents": [1] * 5000}, ("documents", 0, "str")),
        (Metadata, {"links": [1] * 900}, ("links", 0)),
    ],
)
def test_of_a_million_complaints_one_is_made(
    model: type[BaseModel], value: dict[str, Any], place: tuple[str | int, ...]
) -> None:
    """All of them would take a minute, in which the server answers nobody."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(value)
    assert refused.value.errors()[0]["loc"] == place
    # A part that may be of two types gets a complaint about each.
    assert refused.value.error_count() <= 2


def test_only_json_is_read(client: TestClient) -> None:
    body = b'{"input": "a"}'
    assert client.post("/v1/embeddings", content=body, headers=JSON).status_code == 200
    # A page elsewhere may send these to a server on this machine without asking.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert "Content-Type" in refusal(client, body, kind)["message"]


def test_what_is_unknown_is_ignored_and_what_is_null_is_not_said(client: TestClient) -> None:
    body = {"input": "a", "user": "me", "priority": {"high": [1]}, "dimensions": None,
            "encoding_format": None, "input_type": None, "truncate": None}  # fmt: skip
    assert client.post("/v1/embeddings", json=body).status_code == 200


def test_no_answer_repeats_the_text(client: TestClient) -> None:
    for body in (b'{"input": {"SECRET": 1}}', b'{"input": "SECRET', b'{"input": ["SECRET", 1]}',
                 b'{"input": "a", "encoding_format": "SECRET"}', b"SECRET"):  # fmt: skip
        assert "SECRET" not in str(refusal(client, body))


def test_brackets_in_texts_are_no_depth(client: TestClient) -> None:
    text = '[{"\\' * 50
    assert client.post("/v1/embeddings", json={"input": text[:20]}).status_code == 200
    assert nesting(b'["' + rb"[[\"[[\\" + b'", [{}]]') == 3
    assert nesting(b'["' + b"[" * 99) == 1
    assert nesting(b'{"a": [1], "b": [[2]]}') == 3


def test_a_string_without_an_end_is_looked_at_once() -> None:
    # With every quote escaped, a search that began anew at each would take hours.
    with pytest.raises(ApiError, match="no JSON"):
        parse(b"[[" + b'"' + b'\\"' * 2_000_000, 1 << 30)
    assert nesting(b"[" + b'"' + b'\\"[' * 1_000_000) == 1
