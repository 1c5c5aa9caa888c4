from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from running import Running

from isometry.encoders.text import TextEncoder
from isometry.serving import batching

QUERY = "how do I rotate the keys"
LONG = {"query": "a", "documents": ["a"], "truncate": False}
TEXTS = ["The cafeteria is closed.", "Keys are rotated every month.", "A key opens a door."]


@pytest.fixture(scope="module")
def client(server: Running) -> httpx2.Client:
    return httpx2.Client(base_url=server.address, timeout=120)


@pytest.fixture(scope="module")
def cosines(prompted: TextEncoder) -> np.ndarray:
    return prompted.encode(TEXTS, "document") @ prompted.encode([QUERY], "query")[0]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_cohere_and_jina(client: httpx2.Client, cosines: np.ndarray, path: str) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1], "id": 7}, TEXTS[2]]
    asked = {
        "model": "prompted",
        "query": QUERY,
        "documents": documents,
        "max_tokens_per_doc": 4096,
    }
    answer = client.post(path, json=asked).json()
    order = np.argsort(-cosines)
    assert [each["index"] for each in answer["results"]] == order.tolist()
    scores = [each["relevance_score"] for each in answer["results"]]
    np.testing.assert_allclose(scores, cosines[order], atol=1e-5)
    assert all(set(each) == {"index", "relevance_score"} for each in answer["results"])
    assert answer["model"] == "prompted"
    shown = client.post(path, json=asked | {"top_n": 2, "return_documents": True}).json()
    assert [each["document"] for each in shown["results"]] == [
        {"text": TEXTS[row]} for row in order[:2]
    ]
    assert shown["usage"] == answer["usage"]


def test_the_official_clients_of_cohere(server: Running, cosines: np.ndarray) -> None:
    import cohere

    options: dict[str, Any] = {"api_key": "none", "base_url": server.address, "timeout": 120}
    order = np.argsort(-cosines)
    for make in (cohere.Client, cohere.ClientV2):
        client = make(**options)
        found = client.rerank(model="prompted", query=QUERY, documents=TEXTS, top_n=2)
        assert [each.index for each in found.results] == order[:2].tolist()
        scores = [each.relevance_score for each in found.results]
        np.testing.assert_allclose(scores, cosines[order[:2]], atol=1e-5)
        with pytest.raises(cohere.NotFoundError, match="nothing"):
            client.rerank(model="nothing", query=QUERY, documents=TEXTS)
        with pytest.raises(cohere.BadRequestError, match="documents is empty"):
            client.rerank(model="prompted", query=QUERY, documents=[])


def test_documents_that_are_too_long_are_cut_as_their_clients_expect(
    server: Running, client: httpx2.Client
) -> None:
    import cohere

    options: dict[str, Any] = {"api_key": "none", "base_url": server.address, "timeout": 120}
    long = "word " * 1000
    found = cohere.ClientV2(**options).rerank(
        model="prompted", query=QUERY, documents=[long, TEXTS[1]], max_tokens_per_doc=50
    )
    assert {each.index for each in found.results} == {0, 1}
    asked = {"model": "prompted", "query": QUERY}
    refused = client.post("/v1/rerank", json={**asked, "documents": [long], "truncate": False})
    assert refused.status_code == 400
    # TEI's clients say when they want it.
    assert client.post("/rerank", json={**asked, "texts": [long]}).status_code == 400
    cut = client.post("/rerank", json={**asked, "texts": [long], "truncate": True})
    assert cut.status_code == 200


def test_tokens_are_those_of_query_and_documents(
    client: httpx2.Client, prompted: TextEncoder
) -> None:
    asked = {"model": "prompted", "query": QUERY, "documents": TEXTS}
    expected = sum(prompted.lengths(TEXTS, "document")) + prompted.lengths([QUERY], "query")[0]
    assert client.post("/rerank", json=asked).json()["usage"] == {"total_tokens": expected}


def test_text_embeddings_inference(client: httpx2.Client, cosines: np.ndarray) -> None:
    asked = {"model": "prompted", "query": QUERY, "texts": TEXTS, "raw_scores": False}
    answer = client.post("/rerank", json=asked).json()
    order = np.argsort(-cosines)
    assert [each["index"] for each in answer] == order.tolist()
    np.testing.assert_allclose([each["score"] for each in answer], cosines[order], atol=1e-5)
    shown = client.post("/rerank", json=asked | {"return_text": True}).json()
    assert [each["text"] for each in shown] == [TEXTS[row] for row in order]


def test_equal_documents_stay_in_their_order(client: httpx2.Client) -> None:
    texts = ["b", *["the same"] * 9, "a"]
    answer = client.post("/rerank", json={"model": "prompted", "query": "x", "texts": texts}).json()
    same = [each for each in answer if 1 <= each["index"] <= 9]
    assert [each["index"] for each in same] == list(range(1, 10))
    assert len({each["score"] for each in same}) == 1


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"query": "a"}, "documents", "missing"),
        ({"query": "a", "documents": ["a"], "texts": ["a"]}, "documents", "missing"),
        ({"query": "a", "documents": []}, "documents", "empty_input"),
        ({"query": "a", "texts": ["a", ""]}, "texts.1", "empty_input"),
        ({"query": "", "texts": ["a"]}, "query", "empty_input"),
        ({"documents": ["a"]}, "query", "missing"),
        ({"query": "a", "documents": "a"}, "documents", "list_type"),
        ({"query": "a", "documents": [{"title": "a"}]}, "documents.0.text", "missing"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n", "invalid_value"),
        ({"query": "a", "documents": ["a"], "top_n": "1"}, "top_n", "int_type"),
        ({**LONG, "documents": ["a", "word " * 200]}, "documents.1", "too_many_tokens"),
        ({**LONG, "query": "word " * 200}, "query", "too_many_tokens"),
        ({"query": "a", "texts": ["a", "word " * 200]}, "texts.1", "too_many_tokens"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    client: httpx2.Client, asked: dict[str, Any], param: str, code: str
) -> None:
    answer = client.post("/v1/rerank", json={"model": "prompted", **asked})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


def test_the_text_without_a_vector_is_named_as_it_was_sent(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is asked once for what comes twice."""
    whole = batching._whole  # pyright: ignore[reportPrivateUsage]

    def broken(parts: list[np.ndarray]) -> Any:
        return batching.NoVectorError(1) if sum(map(len, parts)) == 2 else whole(parts)

    monkeypatch.setattr(batching, "_whole", broken)
    asked = {"model": "prompted", "query": QUERY, "documents": ["a", "a", "broken"]}
    answer = client.post("/v1/rerank", json=asked)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (500, "documents.2", "no_vector")
    assert error["message"] == "The model gives NaN or infinity for documents.2."


def test_several_models_need_a_name(client: httpx2.Client, prompted_folder: Path) -> None:
    error = client.post("/rerank", json={"query": "a", "texts": ["a"]}).json()["error"]
    assert (error["param"], error["code"]) == ("model", "missing")
    assert "docs, prompted, table" in error["message"]
