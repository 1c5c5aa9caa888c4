from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest
from running import Running

from isometry import Space
from isometry.corpora.documents import from_table


@pytest.fixture(scope="module")
def client(hostile: Running) -> httpx2.Client:
    return httpx2.Client(base_url=hostile.address, timeout=120)


@pytest.fixture(scope="module")
def space(hostile_space: Path) -> Space:
    return Space.open(hostile_space)


def get(client: httpx2.Client, document: str, rest: str = "") -> Any:
    answer = client.get(f"/documents/{quote(document, safe='')}{rest}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_document_is_given_as_it_was_read(client: httpx2.Client, space: Space) -> None:
    documents = from_table(pq.read_table(space.documents))
    strange = [each for each in documents if not each.id.isascii() or set(each.id) & set("/#?% ")]
    assert len(strange) > 4
    for document in [*strange, *documents[:5]]:
        found = get(client, document.id, "?space=hostile")
        assert (found["id"], found["title"], found["text"], found["space"]) == (
            document.id, document.header(), document.body(), "hostile",
        )  # fmt: skip
        assert found["metadata"]["kind"] == document.kind
        assert found["metadata"]["links"] == list(document.links)
        assert set(found["metadata"]) == {"context", "group", "kind", "links", "order", "source"}


def test_an_id_that_ends_like_another_address_is_still_an_id(client: httpx2.Client) -> None:
    found = get(client, "guide/neighbours", "?space=hostile")
    assert (found["object"], found["id"]) == ("document", "guide/neighbours")
    near = get(client, "guide/neighbours", "/neighbours?space=hostile")
    assert (near["object"], near["document"]) == ("list", "guide/neighbours")


def test_an_id_may_have_a_line_break(client: httpx2.Client) -> None:
    """As the rows of a table may: it is an id that is unknown, and no unknown address."""
    for rest in ("", "/neighbours"):
        address = f"/documents/{quote(f'one{chr(10)}two', safe='')}{rest}?space=hostile"
        error = client.get(address).json()["error"]
        assert error["code"] == "document_not_found"
        assert "There is no such address" not in error["message"]


def test_neighbours_are_those_of_the_mean_passage(client: httpx2.Client, space: Space) -> None:
    index = space.index
    names = np.array(index.rows.documents.to_pylist())
    vectors = index.vectors(np.arange(len(names)))
    many = max(set(names), key=lambda name: (names == name).sum())
    assert (names == many).sum() > 3
    for document in (many, "guide/neighbours"):
        mean = vectors[names == document].mean(0)
        scores = vectors @ (mean / np.linalg.norm(mean))
        best: dict[str, float] = {}
        for name, score in zip(names.tolist(), scores.tolist(), strict=True):
            if name != document:
                best[name] = max(score, best.get(name, -1.0))
        expected = sorted(best.items(), key=lambda entry: (-entry[1], entry[0]))[:6]
        found = get(client, document, "/neighbours?space=hostile&k=6")["results"]
        assert [row["document"] for row in found] == [name for name, _ in expected]
        np.testing.assert_allclose(
            [row["score"] for row in found], [score for _, score in expected], atol=1e-5
        )


@pytest.mark.parametrize(
    ("path", "status", "param", "code"),
    [
        ("/documents/nope?space=hostile", 404, "id", "document_not_found"),
        ("/documents/nope/neighbours?space=hostile", 404, "id", "document_not_found"),
        ("/documents/%ff%00?space=hostile", 404, "id", "document_not_found"),
        ("/documents/?space=hostile", 404, "id", "document_not_found"),
        ("/documents/a?space=nope", 404, "space", "space_not_found"),
        ("/documents/a", 400, "space", "missing"),
        ("/documents/guide%2Fneighbours/neighbours?space=hostile&k=0", 400, "k", "invalid_value"),
        ("/documents/guide%2Fneighbours/neighbours?space=hostile&k=x", 400, "k", "int_parsing"),
        ("/spaces/nope/proof", 404, "space", "space_not_found"),
        ("/spaces/nope/report", 404, "space", "space_not_found"),
    ],
)
def test_what_is_not_there_is_refused(
    client: httpx2.Client, path: str, status: int, param: str, code: str
) -> None:
    answer = client.get(path)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)


def test_the_proof_is_the_manifests(client: httpx2.Client, space: Space) -> None:
    proof = client.get("/spaces/docs/proof").json()
    figures = space.manifest["figures"]
    assert proof["headline"] == figures["verdict"]["headline"]
    assert (proof["queries"], proof["report"], proof["migrated"]) == (
        figures["test"]["queries"], True, False,
    )  # fmt: skip
    for row, given in zip(figures["test"]["rows"], proof["rows"], strict=True):
        assert given["metrics"] == {key: row[key] for key in given["metrics"]}
        assert "ndcg@10" in given["metrics"]
    assert str(space.folder.parent) not in client.get("/spaces/hostile/proof").text


def test_the_report_is_trusted_with_nothing(client: httpx2.Client, space: Space) -> None:
    answer = client.get("/spaces/docs/report")
    assert answer.content == space.report.read_bytes()
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert not [part for part in policy if part.startswith("script-src") or "allow-" in part]
