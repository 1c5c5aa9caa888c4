"""A Space that changes while it is served."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from running import answering, sample, until
from starlette.testclient import TestClient

import isometry
from isometry import InputError, Space
from isometry.core.files import read_json
from isometry.core.writing import write_json
from isometry.encoders.encoder import load_encoder
from isometry.jobs.store import Store
from isometry.serving.app import create_app
from isometry.serving.loading import base_of
from isometry.serving.searching import Searcher
from isometry.serving.settings import Limits, Settings
from isometry.serving.sources import read_sources

SOON = Limits(refresh_seconds=0.05)


@pytest.fixture
def pair(tiny_space: Path, tiny_docs: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A Space and its source, which may be changed."""
    docs = Path(shutil.copytree(tiny_docs, tmp_path / "docs"))
    space = Path(shutil.copytree(tiny_space, tmp_path / "docs-space"))
    manifest = read_json(space / "space.json")
    manifest["source"] |= {"name": str(docs), "place": str(docs)}
    write_json(space / "space.json", manifest)
    return space, docs


def names(client: Any, query: str) -> list[str]:
    answer = client.post("/search", json={"query": query, "k": 3})
    assert answer.status_code == 200, answer.text
    return [row["document"] for row in answer.json()["results"]]


def test_what_was_added_is_found_and_nobody_is_refused(pair: tuple[Path, Path]) -> None:
    space, docs = pair
    query = "print a label for a parcel"
    with answering(str(space), limits=SOON) as (client, state):
        assert "parcels.label" not in names(client, query)
        before = state.models.get("docs-space")
        (docs / "parcels.py").write_text(
            'def label(parcel):\n    """Print a label for a parcel."""\n    return parcel.address\n'
        )
        isometry.add(space, docs)
        until(lambda: names(client, query)[0].startswith("parcels"))
        after = state.models.get("docs-space")
        # The encoder is the same: what waits for it goes on waiting for it.
        assert after.engine is before.engine
        assert client.get("/v1/models").json()["data"][0]["passages"] > len(before.space.index.rows)
        assert sample(client, "isometry_reloads_total", result="ok") == 1
        found = [result.document for result in Space.open(space).search(query, 3)]
        assert names(client, query) == found


def test_documents_are_those_of_the_state_and_no_request_reads_all_of_them(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, docs = pair
    with answering(str(space), limits=SOON, beside_base=True) as (client, _):

        def texts(document: str) -> list[str | None]:
            answers = [
                client.get(f"/documents/{document}?space={name}").json()
                for name in ("docs-space", "docs-space.base")
            ]
            return [answer.get("text") for answer in answers]

        assert texts("parcels.label") == [None, None]
        (known,) = {text for text in texts("heapq.merge") if text}
        (docs / "parcels.py").write_text('def label():\n    """Print a label for a parcel."""\n')
        (docs / "heapq.py").write_text('def merge():\n    """Merge two heaps."""\n')
        isometry.add(space, docs)
        until(lambda: None not in texts("parcels.label"))

        def read_whole(*_: Any, **__: Any) -> Any:
            raise AssertionError("a request reads all documents")

        monkeypatch.setattr(pq, "read_table", read_whole)
        (changed,) = set(texts("heapq.merge"))
        assert changed and changed.startswith("Merge two heaps.") and changed != known


def test_another_encoder_in_the_folder_is_refused(
    pair: tuple[Path, Path], prompted_folder: Path
) -> None:
    space, _ = pair
    with answering(str(space), limits=SOON) as (client, _):
        expected = names(client, "sort a list")
        # As if somebody had copied a model over, and a writer had gone on.
        shutil.copytree(space / "model", space / "model-2")
        shutil.copytree(prompted_folder, space / "model-2", dirs_exist_ok=True)
        manifest = read_json(space / "space.json")
        manifest["current"]["model"] = "model-2"
        write_json(space / "space.json", manifest)
        until(lambda: sample(client, "isometry_reloads_total", result="failed") > 0)
        # What was loaded goes on answering; the failure is not repeated, for nothing is new.
        until(lambda: sample(client, "isometry_requests_total", route="/metrics") > 20)
        assert sample(client, "isometry_reloads_total", result="failed") == 1
        assert names(client, "sort a list") == expected
    failures: list[InputError] = []
    app = create_app(read_sources([str(space)]), Settings(), failures.append)
    with TestClient(app, base_url="http://localhost") as client:
        until(lambda: bool(failures))
        assert client.get("/readyz").status_code == 503
    assert "is not the one that made the index" in failures[0].message


def test_whatever_is_wrong_with_a_file_is_told_and_ends_the_waiting(
    pair: tuple[Path, Path],
) -> None:
    space, _ = pair
    for data in space.rglob("data/*.lance"):
        data.unlink()
    failures: list[InputError] = []
    app = create_app(read_sources([str(space)]), Settings(), failures.append)
    with TestClient(app, base_url="http://localhost") as client:
        until(lambda: bool(failures))
        assert client.get("/readyz").status_code == 503
    assert "\n" not in str(failures[0]) and "loaded" in str(failures[0])


def test_a_state_that_was_compacted_away_is_left_for_the_present_one(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, docs = pair
    # Nobody looks by the clock.
    with answering(str(space), limits=Limits(refresh_seconds=3600)) as (client, state):
        index = state.models.get("docs-space").space.index
        expected = names(client, "sort a list")

        def gone(*_: Any) -> Any:
            raise OSError("no such file: /home/me/docs-space/index")

        (docs / "calendar.py").write_text('def nothing():\n    """Nothing at all."""\n')
        isometry.add(space, docs)
        monkeypatch.setattr(index, "rank_lexical", gone)
        assert names(client, "sort a list") == expected
        assert state.models.get("docs-space").space.index is not index


def test_the_base_follows_what_is_added(pair: tuple[Path, Path]) -> None:
    space, docs = pair
    sources = read_sources([str(space)], beside_base=True)
    assert [source.name for source in sources] == ["docs-space", "docs-space.base"]
    base = load_encoder(Space.open(space).manifest["encoder"]["base"])
    query = "print a label for a parcel"

    def expected() -> list[tuple[str, float]]:
        index = Space.open(space).index
        numbers = np.arange(len(index.rows))
        hits = index.fetch((numbers, np.zeros(len(numbers))))
        scores = base.encode([hit.text for hit in hits], "document") @ base.encode([query])[0]
        best: dict[str, float] = {}
        for hit, score in zip(hits, scores.tolist(), strict=True):
            best[hit.document] = max(score, best.get(hit.document, -1.0))
        return sorted(best.items(), key=lambda each: (-each[1], each[0]))[:5]

    with answering(str(space), limits=SOON, beside_base=True) as (client, state):

        def found() -> list[tuple[str, float]]:
            asked = {"query": query, "k": 5, "mode": "dense", "space": "docs-space.base"}
            rows = client.post("/search", json=asked).json()["results"]
            return [(row["document"], row["score"]) for row in rows]

        def check() -> None:
            names, scores = zip(*expected(), strict=True)
            assert [name for name, _ in found()] == list(names)
            np.testing.assert_allclose([score for _, score in found()], scores, atol=1e-5)

        check()
        entries = client.get("/v1/models").json()["data"]
        assert [entry["base_of"] for entry in entries] == [None, "docs-space"]
        encoded = state.models._loader._encoded["docs-space.base"]
        (docs / "parcels.py").write_text(
            'def label(parcel):\n    """Print a label for a parcel."""\n    return parcel.address\n'
        )
        isometry.add(space, docs)
        until(lambda: found()[0][0].startswith("parcels"))
        check()
        # What was there is not encoded again.
        now = state.models._loader._encoded["docs-space.base"]
        assert len(now) > len(encoded)
        assert all(now[text] is encoded[text] for text in encoded)


def test_the_base_stays_what_the_fit_began_with(pair: tuple[Path, Path], tiny_folder: Path) -> None:
    space, _ = pair
    base = load_encoder(Space.open(space).manifest["encoder"]["base"])
    asked = {"input": "print a label", "model": "docs-space.base", "input_type": "query"}

    def vector(client: TestClient) -> list[float]:
        return client.post("/v1/embeddings", json=asked).json()["data"][0]["embedding"]

    expected = base.encode(["print a label"])[0]
    isometry.migrate(space, tiny_folder)
    with answering(str(space), beside_base=True) as (client, _):
        np.testing.assert_allclose(vector(client), expected, atol=1e-5)
        # Who names no Space means the Space itself.
        answer = client.post("/search", json={"query": "a parcel"}).json()
        assert answer["space"] == "docs-space"


def test_another_model_under_the_name_of_the_base_is_refused(
    pair: tuple[Path, Path], tiny_folder: Path
) -> None:
    space, _ = pair
    manifest = read_json(space / "space.json")
    assert base_of(Space.open(space)).fingerprint() == manifest["encoder"]["base_fingerprint"]
    manifest["encoder"]["base"] = str(tiny_folder)
    write_json(space / "space.json", manifest)
    with pytest.raises(InputError, match=r"is not the model that .* was fitted from"):
        base_of(Space.open(space))


def test_a_space_without_documents_is_served_beside_its_base(pair: tuple[Path, Path]) -> None:
    space, _ = pair
    with Store.open(space) as store:
        names = pq.read_table(store.space.documents)["id"].to_pylist()
        store.delete(names).result()
        store.apply()
    with answering(str(space), beside_base=True) as (client, _):
        for name in ("docs-space", "docs-space.base"):
            answer = client.post("/search", json={"query": "a parcel", "space": name})
            assert (answer.status_code, answer.json()["results"]) == (200, []), name


def test_tables_of_fewer_dimensions_go_with_their_state(pair: tuple[Path, Path]) -> None:
    space, docs = pair
    searcher = Searcher()
    opened = Space.open(space)
    query = opened.encode(["print a label"])[0]
    found = searcher.search(opened, "print a label", query, 5, "dense", 32)
    table = weakref.ref(opened.index)
    assert searcher.search(opened, "print a label", query, 5, "dense", 32) == found
    (docs / "parcels.py").write_text('def label():\n    """Print a label for a parcel."""\n')
    isometry.add(space, docs)
    opened = opened.refresh()
    gc.collect()
    assert table() is None
    assert searcher.search(opened, "print a label", query, 5, "dense", 32) != found
