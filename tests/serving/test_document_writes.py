"""Documents over HTTP: on the disk when acknowledged, and searched at once."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import ask
from running import answering, running, sample, until

import isometry
from isometry import InputError, Space
from isometry.jobs.ranking import MOST_CHUNKS
from isometry.jobs.store import Limits as StoreLimits
from isometry.jobs.store import Store
from isometry.serving import writing
from isometry.serving.settings import Limits

KILLS = int(os.environ.get("ISOMETRY_KILLS", "1"))
ERROR = {"message", "type", "param", "code"}
PARCEL = "Print a label for a parcel before the letter box is emptied."


@pytest.fixture
def space(tiny_space: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_space, tmp_path / "docs"))


@pytest.fixture
def client(space: Path) -> Iterator[Any]:
    with answering(str(space), writable=True) as (client, _):
        yield client


def address(id: str, rest: str = "") -> str:
    return f"/documents/{quote(id, safe='')}{rest}"


def put(client: Any, id: str, text: str, **more: Any) -> Any:
    answer = client.put(address(id), json={"text": text, **more})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def bulk(client: Any, *lines: Any) -> list[dict[str, Any]]:
    body = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    answer = client.post(
        "/documents", content=body, headers={"content-type": "application/x-ndjson"}
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def found(client: Any, query: str, **more: Any) -> list[tuple[str, float]]:
    answer = client.post("/search", json={"query": query, "k": 5, **more})
    assert answer.status_code == 200, answer.text
    return [(row["document"], row["score"]) for row in answer.json()["results"]]


def code(answer: Any) -> str:
    return answer.json()["error"]["code"]


def test_what_was_acknowledged_is_found_at_once_and_as_any_other(
    client: Any, space: Path, tmp_path: Path
) -> None:
    before = client.get("/v1/models").json()["data"][0]
    assert before["writable"]
    made = put(client, "parcel", PARCEL, title="Post")
    assert made.pop("object") == "document.stored"
    assert made == {"space": "docs", "id": "parcel", "passages": 1, "created": True}
    here = {mode: found(client, PARCEL, mode=mode) for mode in ("dense", "lexical", "hybrid")}
    cut = found(client, PARCEL, mode="dense", dimensions=32)
    assert all(rows[0][0] == "parcel" for rows in [*here.values(), cut])
    assert client.get("/v1/models").json()["data"][0]["passages"] == before["passages"] + 1
    assert client.get(address("parcel")).json()["text"] == PARCEL
    assert sample(client, "isometry_documents_waiting", model="docs") == 1
    assert sample(client, "isometry_documents_written_total", how="put") == 1

    # The same document, brought by `add` into a Space that nobody serves.
    other = tmp_path / "other"
    shutil.copytree(space, other, ignore=shutil.ignore_patterns("journal", "lock*", "owner*"))
    rows = [{"id": "parcel", "title": "Post", "text": PARCEL}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "post.parquet")
    isometry.add(other, tmp_path / "post.parquet", text="text", title="title", id="id")
    added = Space.open(other).search(PARCEL, 5, "dense")
    assert [name for name, _ in here["dense"]] == [hit.document for hit in added]
    scores = [score for _, score in here["dense"]]
    np.testing.assert_allclose(scores, [hit.score for hit in added], atol=1e-5)


def test_documents_do_not_drive_queries_out_of_the_cache(client: Any) -> None:
    def hits() -> float:
        return sample(client, "isometry_cache_texts_total", model="docs", result="hit")

    found(client, PARCEL, mode="dense")
    put(client, "parcel", PARCEL)
    put(client, "parcel", PARCEL)
    assert hits() == 0
    found(client, PARCEL, mode="dense")
    assert hits() == 1


def test_it_is_a_dictionary(client: Any) -> None:
    total = client.get("/v1/models").json()["data"][0]["passages"]
    assert put(client, "a/b#c", PARCEL)["created"]
    assert not put(client, "a/b#c", "The heap is a binary tree of parcels.")["created"]
    assert client.get("/v1/models").json()["data"][0]["passages"] == total + 1
    assert client.get(address("a/b#c")).json()["text"].startswith("The heap")
    assert found(client, PARCEL, mode="lexical")[0][0] == "a/b#c"
    assert "letter" not in str(client.post("/search", json={"query": PARCEL}).json())
    # One that the fit brought is replaced like any other, and its passages are seen no more.
    old = next(name for name, _ in found(client, "push onto the heap") if name.startswith("heapq"))
    near = client.get(address("a/b#c", "/neighbours")).json()["results"]
    assert near
    assert not put(client, old, PARCEL)["created"]
    assert client.get(address("a/b#c", "/neighbours")).json()["document"] == "a/b#c"
    assert client.get(address(old)).json()["text"] == PARCEL
    assert found(client, PARCEL, mode="dense", dimensions=32)[0][0] == old
    for there in (True, False):
        answer = client.delete(address(old))
        assert answer.json() == {
            "object": "document.deleted", "space": "docs", "id": old, "deleted": there,
        }  # fmt: skip
        assert client.get(address(old)).status_code == 404
        assert client.get(address(old, "/neighbours")).status_code == 404
        for more in ({"mode": "lexical"}, {"mode": "dense"}, {"mode": "dense", "dimensions": 32}):
            assert old not in dict(found(client, PARCEL, **more))
    assert put(client, old, PARCEL)["created"]


@pytest.mark.parametrize("id", ["heapq.heappush", "guide/keys.md#rotate"])
def test_what_was_given_can_be_given_back(client: Any, id: str) -> None:
    metadata = {"context": "A > B", "group": "g", "order": 3, "links": ["x"], "source": "s:1"}
    if id.startswith("guide"):
        put(client, id, PARCEL, title="C", metadata=metadata)
    first = client.get(address(id)).json()
    if id.startswith("guide"):
        assert first["title"] == "A > B > C"
        assert first["metadata"] == {**metadata, "kind": "prose"}
    assert not put(client, id, first["text"], title=first["title"], metadata=first["metadata"])[
        "created"
    ]
    assert client.get(address(id)).json() == first


def test_many_come_in_lines_and_bad_ones_harm_none(client: Any) -> None:
    results = bulk(
        client,
        {"id": "one", "text": PARCEL},
        b"{not json",
        b"",
        {"id": "two", "text": "second", "metadata": {"kind": "poem"}},
        {"text": "no id"},
        {"id": "one", "text": "The other one.", "truncate": True},
        {"id": "three", "text": "  "},
        b'["a"]',
        b'{"id": "four", "text": "\xff"}',
        {"id": "x" * 1001, "text": "long"},
        {"id": "five", "text": "The last one."},
    )
    for row in results:
        assert set(row) == {
            "line",
            "id",
            *(("error",) if "error" in row else ("passages", "created")),
        }
        assert set(row.get("error", ERROR)) == ERROR
    assert [row["line"] for row in results] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [row.get("created") for row in results if "error" not in row] == [True, False, True]
    errors = {
        row["line"]: (row.get("id"), row["error"]["code"]) for row in results if "error" in row
    }
    assert errors == {
        2: (None, "invalid_json"),
        4: ("two", "literal_error"),
        5: (None, "missing"),
        7: ("three", "empty_input"),
        8: (None, "model_type"),
        9: (None, "invalid_utf8"),
        10: (None, "invalid_value"),
    }
    (alone,) = [row["error"]["message"] for row in results if row["line"] == 8]
    assert alone == "The line must be a JSON object."
    assert client.get(address("one")).json()["text"] == "The other one."
    assert client.get(address("five")).status_code == 200
    assert client.get(address("three")).status_code == 404


def test_a_large_body_is_stored_in_batches(space: Path) -> None:
    limits = Limits(batch_passages=8)
    with answering(str(space), writable=True, limits=limits) as (client, state):
        results = bulk(client, *({"id": f"{n}", "text": f"{PARCEL} {n}"} for n in range(30)))
        assert [row["line"] for row in results] == list(range(1, 31))
        # One record holds several documents, and none holds all.
        assert 3 <= state.models.get("docs").store.waiting <= 5
        names = {f"{n}" for n in range(30)}
        answer = client.post("/search", json={"query": PARCEL, "k": 30, "mode": "dense"})
        assert {row["document"] for row in answer.json()["results"]} == names


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/documents/a", {"text": ""}, "empty_input"),
        ("/documents/a", {"text": 3}, "string_type"),
        ("/documents/a", {"title": "x"}, "missing"),
        ("/documents/a", {"text": "x", "title": "t" * 10_001}, "string_too_long"),
        ("/documents/a", {"text": "x", "metadata": {"context": "t" * 10_001}}, "string_too_long"),
        ("/documents/a", {"text": "x", "metadata": {"order": -1}}, "greater_than_equal"),
        ("/documents/a", {"text": "x", "metadata": {"links": ["l"] * 1001}}, "too_long"),
        ("/documents/a%00b", {"text": "x"}, "invalid_value"),
        ("/documents/%ff", {"text": "x"}, "invalid_utf8"),
        ("/documents/" + 1001 * "a", {"text": "x"}, "invalid_value"),
        ("/documents/", {"text": "x"}, "invalid_value"),
        ("/documents/a?space=other", {"text": "x"}, "space_not_found"),
    ],
)
def test_bad_documents(client: Any, path: str, body: Any, expected: str) -> None:
    answer = client.put(path, json=body)
    assert (answer.status_code, code(answer)) == (404 if "other" in path else 400, expected)


def test_an_address_whose_slash_is_none_is_no_document(client: Any) -> None:
    put(client, "x", PARCEL)
    for answer in (
        client.put("/documents%2Fx", json={"text": ""}),
        client.delete("/documents%2Fx"),
    ):
        assert answer.status_code == 404
    assert client.get("/documents/x").json()["text"] == PARCEL


def test_too_many_lines_are_refused_and_bad_ones_keep_nobody_waiting(space: Path) -> None:
    limits = Limits(lines=1000, batch_passages=10)
    with answering(str(space), writable=True, limits=limits) as (client, _):
        kind = [(b"content-type", b"application/x-ndjson")]
        answer = ask(client, "POST", b"/documents", kind, b"x\n" * 1001)
        assert (answer.status, b"too_many_lines" in answer.body) == (400, True)
        turns = 0
        seen: list[int] = []

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        assert client.portal is not None
        waiting = client.portal.start_task_soon(others)
        answer = ask(
            client, "POST", b"/documents", kind, b"x\n" * 1000, lambda _: seen.append(turns)
        )
        waiting.cancel()
        assert len(answer.body.splitlines()) == 1000
        # A few lines, then somebody else's turn.
        assert len(set(seen)) > 90


def test_a_document_beyond_what_is_searched_says_so(client: Any) -> None:
    text = " ".join(f"parcel {number}" for number in range(MOST_CHUNKS * 300))
    answer = client.put("/documents/long", json={"text": text})
    assert (answer.status_code, code(answer)) == (400, "too_many_passages")
    made = put(client, "long", text, truncate=True)
    assert made["passages"] == MOST_CHUNKS
    assert client.get("/documents/long").json()["text"] == text
    # With columns of blanks, so much text has few passages; its end is searched or missed all the
    # same.
    sparse = (" " * 4000 + "parcel\n") * 800 + "letter"
    answer = client.put("/documents/sparse", json={"text": sparse})
    assert (answer.status_code, code(answer)) == (400, "too_many_passages")


def test_a_batch_that_takes_longer_than_an_answer_may_keeps_the_answer_alive(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing = writing.put

    async def slow(*given: Any) -> Any:
        await asyncio.sleep(1.5)
        return await storing(*given)

    monkeypatch.setattr(writing, "put", slow)
    with running(str(space), writable=True, limits=Limits(request_seconds=0.4)) as server:
        client = httpx2.Client(base_url=server.address, timeout=60)
        (result,) = bulk(client, {"id": "late", "text": PARCEL})
        assert result["created"]
        monkeypatch.setattr(writing, "put", storing)
        assert client.get("/documents/late").status_code == 200


def test_nothing_is_written_where_it_was_not_asked_for(space: Path) -> None:
    with answering(str(space)) as (client, _):
        for answer in (
            client.put("/documents/a", json={"text": PARCEL}),
            client.delete("/documents/heapq.heappush"),
            client.post(
                "/documents", content=b"{}", headers={"content-type": "application/x-ndjson"}
            ),
        ):
            assert (answer.status_code, code(answer)) == (403, "read_only")
        assert not client.get("/v1/models").json()["data"][0]["writable"]
    assert not (space / "journal").exists()


def test_lines_are_told_by_their_type(client: Any) -> None:
    answer = client.post("/documents", json={"id": "a", "text": PARCEL})
    assert (answer.status_code, code(answer)) == (415, "content_type")


def test_a_full_disk_refuses_writes_and_nothing_else(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, "parcel", PARCEL)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patcher:
        patcher.setattr(os, "pwrite", full)
        for answer in (
            client.put("/documents/other", json={"text": PARCEL}),
            client.delete("/documents/parcel"),
        ):
            assert (answer.status_code, code(answer)) == (507, "not_written")
            assert "docs" not in answer.text
        (line,) = bulk(client, {"id": "third", "text": PARCEL})
        assert line["error"]["code"] == "not_written"
        assert found(client, PARCEL)[0][0] == "parcel"
        assert client.get("/documents/other").status_code == 404
    assert put(client, "other", PARCEL)["created"]


def test_too_much_is_to_be_sent_again_and_lines_wait(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = StoreLimits(seconds=3600, most_bytes=12_000)
    opening = Store.open
    monkeypatch.setattr(Store, "open", lambda *some: opening(*some, limits=limits))
    with answering(str(space), writable=True) as (client, state):
        store = state.models.get("docs").store
        with monkeypatch.context() as patcher:

            def stuck(*_: object, **__: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patcher.setattr("isometry.jobs.store.write_changes", stuck)
            answers = [client.put(f"/documents/{n}", json={"text": PARCEL}) for n in range(12)]
            refused = answers[-1]
            assert (refused.status_code, code(refused)) == (429, "store_busy")
            assert int(refused.headers["retry-after"]) >= 1
            assert answers[0].status_code == 201
            until(lambda: sample(client, "isometry_documents_failing", model="docs") == 1)
        assert "error" not in bulk(client, {"id": "patient", "text": PARCEL})[0]
        assert store.failure is None


def test_the_server_is_the_only_writer_and_leaves_all_to_the_next(
    space: Path, tmp_path: Path
) -> None:
    pq.write_table(
        pa.Table.from_pylist([{"id": "z", "title": "", "text": "Zebra."}]), tmp_path / "z.parquet"
    )
    with running(str(space), writable=True) as server:
        with httpx2.Client(base_url=server.address, timeout=120) as client:
            put(client, "parcel", PARCEL)
        with pytest.raises(InputError, match="serve --write"):
            isometry.add(space, tmp_path / "z.parquet", text="text", id="id")
    isometry.add(space, tmp_path / "z.parquet", text="text", id="id")
    hits = Space.open(space).search(PARCEL, 1)
    assert [hit.document for hit in hits] == ["parcel"]


def test_the_whole_server_killed_while_it_writes(space: Path) -> None:
    """What a client was told is stored is there after the next start; nothing is there by half."""
    acknowledged: dict[str, str | None] = {}
    generator = random.Random(0)
    for life in range(KILLS + 1):
        command = [sys.executable, "-m", "isometry", "serve", str(space), "--write", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                base = process.stdout.readline().split("OPENAI_BASE_URL=")[1].partition("/v1)")[0]
                with httpx2.Client(base_url=base, timeout=120) as client:
                    until(lambda c=client: c.get("/readyz").status_code == 200, pause=0.1)
                    for id, text in acknowledged.items():
                        answer = client.get(address(id))
                        assert answer.status_code == (404 if text is None else 200)
                        assert text is None or answer.json()["text"] == text
                    if life == KILLS:
                        break
                    _write_until_killed(client, process, acknowledged, generator, life)
            finally:
                process.kill()
    with Store.open(space) as store:
        store.apply()
    opened = Space.open(space)
    opened.verify()
    ids = pq.read_table(opened.documents)["id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert {id for id, text in acknowledged.items() if text} <= set(ids)


def _write_until_killed(
    client: httpx2.Client,
    process: subprocess.Popen[str],
    acknowledged: dict[str, str | None],
    generator: random.Random,
    life: int,
) -> None:
    left = generator.randrange(3, 25)
    for number in range(1000):
        id = f"doc/{generator.randrange(6)}"
        text = None if generator.random() < 0.2 else f"{PARCEL} Version {life}.{number}."
        # Until it is acknowledged, either may be there.
        acknowledged.pop(id, None)
        if number == left:
            # In the middle of the next write, or before it.
            process.send_signal(signal.SIGKILL)
        try:
            if text is None:
                client.delete(address(id)).raise_for_status()
            else:
                client.put(address(id), json={"text": text}).raise_for_status()
        except httpx2.HTTPError:
            return
        acknowledged[id] = text


def test_a_stopped_server_says_who_has_the_lock(space: Path) -> None:
    with Store.open(space, "another"):
        command = [sys.executable, "-m", "isometry", "serve", str(space), "--write", "--port", "0"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 2
    assert "another" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unfinished_write_is_cut_off_and_counted(space: Path) -> None:
    """What a crash within a write leaves: all that was acknowledged before it is there."""
    with answering(str(space), writable=True) as (client, _):
        put(client, "whole", PARCEL)
        put(client, "torn", PARCEL)
    segment = max((space / "journal").glob("*.journal"))
    size = segment.stat().st_size
    os.truncate(segment, size - 7)
    with answering(str(space), writable=True) as (client, _):
        assert client.get(address("whole")).json()["text"] == PARCEL
        assert client.get(address("torn")).status_code == 404
        torn = sample(client, "isometry_journal_torn_bytes", model="docs")
        assert 0 < torn < size
        assert put(client, "torn", PARCEL)["created"]


def test_a_journal_that_is_damaged_in_the_middle_is_refused_by_name(space: Path) -> None:
    with answering(str(space), writable=True) as (client, _):
        put(client, "first", PARCEL)
        put(client, "second", PARCEL)
    (segment,) = (space / "journal").glob("*.journal")
    data = bytearray(segment.read_bytes())
    data[len(data) // 4] ^= 1
    segment.write_bytes(data)
    command = [sys.executable, "-m", "isometry", "serve", str(space), "--write", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 2
    assert f"{segment.name} is damaged at byte" in ended.stderr
    assert "Traceback" not in ended.stderr
    # It is left for whoever repairs it, and can be read without.
    assert segment.read_bytes() == data
    with answering(str(space)) as (client, _):
        assert found(client, PARCEL)


def test_a_model_alone_takes_no_documents(small_folder: Path) -> None:
    command = [sys.executable, "-m", "isometry", "serve", str(small_folder), "--write"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 2
    assert "no Space" in ended.stderr
