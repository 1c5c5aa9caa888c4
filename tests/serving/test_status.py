from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import answering, held, sample, until
from starlette.testclient import TestClient

from isometry import Space
from isometry.serving.observing import JsonLines


@pytest.fixture(scope="module")
def both(tiny_space: Path, prompted_folder: Path) -> Iterator[tuple[TestClient, Any]]:
    with answering(f"docs={tiny_space}", str(prompted_folder)) as made:
        yield made


@pytest.fixture(scope="module")
def client(both: tuple[TestClient, Any]) -> TestClient:
    return both[0]


def test_models_say_what_they_are(client: TestClient, tiny_space: Path) -> None:
    answer = client.get("/models").json()
    assert answer == client.get("/v1/models").json()
    assert answer["object"] == "list"
    docs, prompted = answer["data"]
    space = Space.open(tiny_space)
    assert docs["fingerprint"] == space.manifest["encoder"]["fingerprint"]
    assert (docs["kind"], docs["dimensions"], docs["nested_dimensions"]) == ("space", 64, [64, 32])
    assert (docs["max_tokens"], docs["passages"]) == (128, space.index.chunks)
    assert (prompted["id"], prompted["kind"]) == ("prompted", "encoder")
    assert prompted["nested_dimensions"] is prompted["passages"] is None
    assert client.get("/v1/models/docs").json() == docs


def test_it_lives_before_it_is_ready(small_folder: Path) -> None:
    with answering(f"small={small_folder}", ready=False) as (client, state):
        # Whether loading is over by now does not matter: it is taken back.
        until(lambda: state.models.ready)
        model = state.models._loaded.pop("small")
        assert client.get("/healthz").json() == {"status": "ok"}
        # As monitors ask.
        head = client.head("/healthz")
        assert head.status_code == 200 and head.content == b""
        for answer in (
            client.get("/readyz"),
            client.post("/v1/embeddings", json={"input": "a"}),
            client.post("/rerank", json={"query": "a", "texts": ["a"]}),
        ):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == "loading"
        assert client.get("/v1/models").json()["data"] == []
        state.models._loaded["small"] = model
        assert client.get("/readyz").json() == {"status": "ok"}


def test_an_id_goes_with_every_answer(client: TestClient) -> None:
    given = client.get("/healthz", headers={"x-request-id": "abc-1.2_3"})
    assert given.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("", "a b", "a" * 65, "<script>"):
        made = client.get("/nope", headers={"x-request-id": bad}).headers["x-request-id"]
        assert made != bad
        assert made.isalnum()
    assert client.get("/healthz").headers["x-request-id"] != made


def test_headers_keep_browsers_from_anything(client: TestClient) -> None:
    for answer in (client.get("/healthz"), client.get("/nope"), client.post("/search")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert client.options("/search", headers=asked).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/index.html", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/embeddings/", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("GET", "/v1/models/..%2fetc", 404),
        ("GET", "/v1/embeddings", 405),
        ("DELETE", "/search", 405),
        ("POST", "/healthz", 405),
    ],
)
def test_what_is_not_there_has_an_error_object(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if status == 405:
        assert answer.headers["allow"]


def test_an_address_names_all_its_methods(client: TestClient) -> None:
    assert client.patch("/documents/a").headers["allow"] == "DELETE, GET, PUT"
    assert client.patch("/documents/a/neighbours").headers["allow"] == "DELETE, GET, PUT"
    assert client.get("/documents").headers["allow"] == "POST"
    assert client.get("/search").headers["allow"] == "POST"


def test_what_breaks_inside_stays_inside(
    both: tuple[TestClient, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, state = both
    engine = state.models.loaded[0].engine

    def broken(_: Any) -> Any:
        raise RuntimeError("/home/me/secret and the text of a client")

    monkeypatch.setattr(engine, "_encode", broken)
    with caplog.at_level(logging.INFO, logger="isometry.serving"):
        for path in ("/v1/embeddings", "/rerank"):
            body = {"model": "docs", "input": "q", "query": "what I look for", "texts": ["mine"]}
            answer = client.post(path, json=body, headers={"x-request-id": "find-me"})
            assert answer.status_code == 500
            assert answer.json()["error"]["type"] == "server_error"
            assert "secret" not in answer.text
            assert "Traceback" not in answer.text
            assert answer.headers["x-request-id"] == "find-me"
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert any(
        line["event"] == "failed" and line["id"] == "find-me" and "RuntimeError" in line["error"]
        for line in lines
    )
    assert "secret" not in str(lines)


def test_the_log_says_all_but_texts(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="isometry.serving"):
        client.post("/search", json={"query": "PRIVATE words"})
        client.post("/v1/embeddings", json={"model": "docs", "input": ["PRIVATE", ""]})
        client.get("/PRIVATE?q=PRIVATE")
    lines = [JsonLines().format(record) for record in caplog.records]
    assert "PRIVATE" not in str(lines)
    found = [json.loads(line) for line in lines if json.loads(line)["event"] == "request"]
    assert [(line["route"], line["status"]) for line in found] == [
        ("/search", 200), ("/v1/embeddings", 400), ("other", 404),
    ]  # fmt: skip
    assert all(line["id"] and line["ms"] > 0 and line["level"] == "info" for line in found)


def test_metrics_count_what_was_done(both: tuple[TestClient, Any], prompted: Any) -> None:
    client, _ = both

    def value(name: str, **labels: str) -> float:
        return sample(client, name, **labels)

    route = {"route": "/v1/embeddings", "status": "200"}
    names = {"model": "prompted"}
    before = value("isometry_requests_total", **route)
    texts, tokens = (
        value("isometry_batch_texts_sum", **names),
        value("isometry_tokens_total", **names),
    )
    misses = value("isometry_cache_texts_total", result="miss", **names)
    hits = value("isometry_cache_texts_total", result="hit", **names)
    asked = {"model": "prompted", "input": ["metrics one", "metrics two", "metrics one"]}
    first = client.post("/v1/embeddings", json=asked).json()
    again = client.post("/v1/embeddings", json=asked).json()
    assert first == again
    assert value("isometry_requests_total", **route) == before + 2
    assert value("isometry_request_seconds_count", route="/v1/embeddings") >= 2
    assert value("isometry_batch_texts_sum", **names) == texts + 2
    lengths = prompted.lengths(asked["input"], "document")
    assert value("isometry_tokens_total", **names) == tokens + sum(lengths[:2])
    assert first["usage"]["prompt_tokens"] == sum(lengths)
    assert value("isometry_cache_texts_total", result="miss", **names) == misses + 2
    assert value("isometry_cache_texts_total", result="hit", **names) == hits + 4
    assert value("isometry_queue_tokens", **names) == 0
    client.get("/v1/models/docs")
    client.get("/a/path/of/many")
    assert value("isometry_requests_total", route="/v1/models/{name}") >= 1
    assert value("isometry_requests_total", route="other") >= 1
    assert "/a/path" not in client.get("/metrics").text


def test_the_queue_can_be_watched(both: tuple[TestClient, Any]) -> None:

    client, state = both
    body = {"model": "docs", "input": "a text that waits"}
    with held(state.models):
        asking = threading.Thread(
            target=client.post, args=("/v1/embeddings",), kwargs={"json": body}
        )
        asking.start()
        until(lambda: sample(client, "isometry_queue_tokens", model="docs") > 0)
    asking.join()
    assert sample(client, "isometry_queue_tokens", model="docs") == 0


def test_the_description_has_every_route_with_an_example(client: TestClient) -> None:
    about = client.get("/openapi.json").json()
    assert {"/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/search", "/models",
            "/v1/models", "/documents/{document}", "/documents/{document}/neighbours",
            "/spaces/{name}/proof", "/spaces/{name}/report", "/healthz", "/readyz",
            "/metrics"} <= set(about["paths"])  # fmt: skip
    for path in ("/v1/embeddings", "/v1/rerank", "/search"):
        operation = about["paths"][path]["post"]
        assert set(operation["responses"]) == {"200", "4XX", "5XX"}
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        examples = about["components"]["schemas"][name.rpartition("/")[2]]["examples"]
        assert examples
        for example in examples:
            for key in ("model", "space"):
                if key in example:
                    example[key] = "docs"
            example.setdefault("space" if path == "/search" else "model", "docs")
            example.pop("dimensions", None)
            assert client.post(path, json=example).status_code == 200, example
