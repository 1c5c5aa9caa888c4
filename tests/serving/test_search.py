from __future__ import annotations

import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from running import Running

from isometry import Space
from isometry.serving.embedding import Embedder

QUESTIONS = ["the day of the week", "sort a list in place", "a AND \"b* -- '"]


@pytest.fixture(scope="module")
def client(server: Running) -> httpx2.Client:
    return httpx2.Client(base_url=server.address, timeout=120)


@pytest.fixture(scope="module")
def space(tiny_space: Path) -> Space:
    return Space.open(tiny_space)


def found(client: httpx2.Client, **asked: Any) -> list[dict[str, Any]]:
    answer = client.post("/search", json={"space": "docs", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_it_finds_what_the_space_finds(client: httpx2.Client, space: Space, mode: Any) -> None:
    for question in QUESTIONS:
        expected = [asdict(result) for result in space.search(question, 7, mode)]
        results = found(client, query=question, k=7, mode=mode)
        scores = [row.pop("score") for row in results]
        np.testing.assert_allclose(scores, [row.pop("score") for row in expected], atol=1e-4)
        assert results == expected


def test_an_accent_apart_is_the_accent_of_its_letter(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that strips accents sees no difference: what it is given tells."""
    encoded: list[str] = []
    vectors = Embedder.vectors

    async def given(self: Embedder, model: Any, texts: list[str], *rest: Any, **more: Any) -> Any:
        encoded.extend(texts)
        return await vectors(self, model, texts, *rest, **more)

    monkeypatch.setattr(Embedder, "vectors", given)
    found(client, query=unicodedata.normalize("NFD", "Schlüssel für Größe"), mode="dense")
    assert encoded == [unicodedata.normalize("NFC", "Schlüssel für Größe")]


def test_fewer_dimensions_rank_by_their_own_cosine(client: httpx2.Client, space: Space) -> None:
    index = space.index
    vectors = index.vectors(np.arange(len(index.rows)))[:, :32]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    query = space.encode([QUESTIONS[0]])[0, :32]
    scores = vectors @ (query / np.linalg.norm(query))
    best: dict[str, float] = {}
    for name, score in zip(index.rows.documents.to_pylist(), scores.tolist(), strict=True):
        best[name] = max(score, best.get(name, -1.0))
    expected = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))[:5]
    results = found(client, query=QUESTIONS[0], k=5, mode="dense", dimensions=32)
    assert [row["document"] for row in results] == [name for name, _ in expected]
    np.testing.assert_allclose(
        [row["score"] for row in results], [score for _, score in expected], atol=1e-5
    )
    whole = found(client, query=QUESTIONS[0], k=5, mode="dense", dimensions=64)
    assert whole == found(client, query=QUESTIONS[0], k=5, mode="dense")
    hybrid = found(client, query=QUESTIONS[0], k=5, dimensions=32)
    assert hybrid != found(client, query=QUESTIONS[0], k=5)


def test_only_what_a_filter_lets_through_is_found(client: httpx2.Client, space: Space) -> None:
    asked = {"group": {"prefix": "heapq"}, "order": {"lt": 5}}
    for question in QUESTIONS:
        results = found(client, query=question, k=4, filter=asked)
        expected = space.search(question, 4, filter=asked)
        assert [row["document"] for row in results] == [hit.document for hit in expected]
        assert all(row["document"].startswith("heapq") for row in results)
        # In fewer dimensions too, where the vectors that are compared are others.
        everything = found(client, query=question, k=1000, mode="dense", dimensions=32)
        chosen = [row for row in everything if row["document"] in {"heapq.heappush", "heapq.merge"}]
        assert len(chosen) == 2
        some = {"id": ["heapq.heappush", "heapq.merge", "nothing"]}
        short = found(client, query=question, k=3, mode="dense", dimensions=32, filter=some)
        assert short == [row | {"dense_rank": place} for place, row in enumerate(chosen, 1)]


@pytest.mark.parametrize(
    ("filter", "param", "code"),
    [
        ('{"colour": "red"}', "filter.colour", "filter_column"),
        ('{"kind": {"like": "x"}}', "filter.kind.like", "filter_operator"),
        ('{"order": {"gte": "x"}}', "filter.order.gte", "filter_value"),
        ('{"order": 1e400}', "filter.order.in", "filter_value"),
        ('{"order": NaN}', None, "invalid_json"),
        ('["kind"]', "filter", "dict_type"),
    ],
)
def test_a_filter_that_cannot_be_applied_is_named(
    client: httpx2.Client, filter: str, param: str | None, code: str
) -> None:
    body = f'{{"space": "docs", "query": "x", "filter": {filter}}}'
    answer = client.post("/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_where_one_can_be_searched_it_needs_no_name(client: httpx2.Client) -> None:
    answer = client.post("/search", json={"query": QUESTIONS[0]}).json()
    assert (answer["space"], answer["mode"], len(answer["results"])) == ("docs", "hybrid", 10)


def test_a_long_query_is_cut_as_the_space_cuts_it(client: httpx2.Client, space: Space) -> None:
    question = "calendar " * 300
    expected = [result.document for result in space.search(question, 3, "dense")]
    assert [row["document"] for row in found(client, query=question, k=3, mode="dense")] == expected


@pytest.mark.parametrize(
    ("asked", "status", "param", "code"),
    [
        ({"query": "a", "space": "nope"}, 404, "space", "space_not_found"),
        ({"query": "a", "space": "table"}, 404, "space", "space_not_found"),
        ({"query": "a", "space": 3}, 400, "space", "string_type"),
        ({"query": ""}, 400, "query", "empty_input"),
        ({"query": " \n"}, 400, "query", "empty_input"),
        ({"query": "a " * 25_001}, 400, "query", "query_too_long"),
        ({}, 400, "query", "missing"),
        ({"query": ["a"]}, 400, "query", "string_type"),
        ({"query": "a", "mode": "magic"}, 400, "mode", "literal_error"),
        ({"query": "a", "k": 0}, 400, "k", "invalid_value"),
        ({"query": "a", "k": 10**6}, 400, "k", "invalid_value"),
        ({"query": "a", "k": "3"}, 400, "k", "int_type"),
        ({"query": "a", "k": 3.5}, 400, "k", "int_type"),
        ({"query": "a", "k": True}, 400, "k", "int_type"),
        ({"query": "a", "dimensions": 65}, 400, "dimensions", "dimensions_beyond_model"),
        ({"query": "a", "dimensions": 16}, 400, "dimensions", "dimensions_not_nested"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    client: httpx2.Client, asked: dict[str, Any], status: int, param: str, code: str
) -> None:
    answer = client.post("/search", json=asked)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert set(error) == {"message", "type", "param", "code"}
