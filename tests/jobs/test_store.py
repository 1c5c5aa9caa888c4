from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from living_spaces import QUERIES, living
from stored_documents import Item, check, document, items, write_items

import isometry
from isometry import InputError, Space
from isometry.core.journal import Journal
from isometry.jobs import changes
from isometry.jobs.store import Limits, Store, StoreBusyError

KILLS = int(os.environ.get("ISOMETRY_KILLS", "3"))
# Nothing is applied by itself.
NEVER = Limits(records=1 << 30, bytes=1 << 40, seconds=threading.TIMEOUT_MAX)
MODES = ("dense", "lexical", "hybrid")


@pytest.fixture(scope="module")
def origin(tiny_space: Path, tiny_docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Space of few documents, and so a quick one."""
    space, docs = living(tiny_space, tiny_docs, tmp_path_factory.mktemp("origin"))
    for path in docs.glob("*.py"):
        if path.name not in ("heapq.py", "calendar.py"):
            path.unlink()
    isometry.add(space, docs)
    isometry.compact(space, keep_hours=0)
    return space


@pytest.fixture
def space(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "space"))


@pytest.fixture(scope="module")
def pool(origin: Path) -> list[Item]:
    """Nine versions of three new documents, and of one that a source brought."""
    names = ["a", "b", 'it\'s a "name"', "heapq.heappush"]
    documents = [document(names[number % 4], number) for number in range(12)]
    return items(Space.open(origin), documents)


@pytest.fixture(scope="module")
def asked(origin: Path) -> dict[str, np.ndarray]:
    queries = [*QUERIES, "parcel letter", "version heap"]
    return dict(zip(queries, Space.open(origin).encode(queries), strict=True))


def found(store: Store, asked: dict[str, np.ndarray], mode: Any) -> dict[str, dict[str, float]]:
    """All documents that each query finds, with their scores."""
    return {
        query: {hit.document: hit.score for hit in store.search(query, vector, 1000, mode)}
        for query, vector in asked.items()
    }


def test_table_and_journal_are_searched_as_one(
    space: Path, pool: list[Item], asked: dict[str, np.ndarray]
) -> None:
    with Store.open(space, limits=NEVER) as store:
        before = store.space
        old = found(store, asked, "dense")
        for item in pool[:8]:
            item.put(store).result()
        store.delete(["heapq.heappop", "b", "nobody"]).result()
        assert store.waiting == 9
        assert [hit.document for hit in before.search("x", 5, "dense", vector=asked[QUERIES[0]])]
        over = {mode: found(store, asked, mode) for mode in MODES}
        assert over["dense"] != old
        gets = {name: store.get(name) for name in ("a", "b", "heapq.heappush", "heapq.merge")}
        assert store.apply() == 9
        assert store.waiting == 0
        for mode in MODES:
            after = found(store, asked, mode)
            for query in asked:
                assert over[mode][query].keys() == after[query].keys()
                if mode == "dense":
                    for name, score in after[query].items():
                        assert over[mode][query][name] == pytest.approx(score, abs=1e-6)
                assert "b" not in after[query] and "heapq.heappop" not in after[query]
        for name, was in gets.items():
            now = store.get(name)
            assert (was is None) == (now is None)
            if was and now:
                assert (was.document, was.passages) == (now.document, now.passages)
                assert (was.vectors == now.vectors).all()
        assert gets["b"] is None and gets["heapq.merge"] is not None
        check(store, "heapq.heappush", pool[7])
    opened = Space.open(space)
    opened.verify()
    rows = {row["id"]: row for row in pq.read_table(opened.documents).to_pylist()}
    assert len(rows) == pq.read_metadata(opened.documents).num_rows
    # What a source brought stays the source's.
    assert rows["a"]["origin"] == "put" and rows["heapq.heappush"]["origin"] != "put"
    assert isometry.history(space)["states"][0]["added"] == 2


def test_what_is_over_a_table_has_the_scores_of_what_is_in_it(
    space: Path, asked: dict[str, np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    """A copy of a document is found beside it, with the same score, by words too."""
    opened = Space.open(space)
    with Store.open(space, limits=NEVER) as store:
        plain = {mode: found(store, asked, mode) for mode in MODES[:2]}
        for name in ("heapq.merge", "calendar.monthrange", "calendar.isleap"):
            stored = store.get(name)
            assert stored is not None
            copy = replace(stored.document, id=f"{name}-copy")
            passages = stored.passages.set_column(
                0, "document", [[copy.id] * stored.passages.num_rows]
            )
            fingerprint = opened.manifest["encoder"]["fingerprint"]
            store.put([copy], passages, stored.vectors, fingerprint).result()
        shown = 0
        for mode, tolerance in (("dense", 1e-6), ("lexical", 1e-4)):
            now = found(store, asked, mode)
            for query in asked:
                originals = {n: s for n, s in now[query].items() if not n.endswith("-copy")}
                assert originals == plain[mode][query]
                for name, score in now[query].items():
                    if name.endswith("-copy"):
                        original = originals[name.removesuffix("-copy")]
                        assert score == pytest.approx(original, abs=tolerance)
                        shown += 1
        assert shown > len(asked) * 3
    # Lance warns of what it is asked for wrongly.
    assert capfd.readouterr().err == ""


def test_few_are_asked_for_and_the_best_of_both_come(
    space: Path, pool: list[Item], asked: dict[str, np.ndarray]
) -> None:
    """What is hidden takes nobody's place."""
    with Store.open(space, limits=NEVER) as store:
        pool[0].put(store).result()
        for query, vector in asked.items():
            for mode in MODES[:2]:
                every = [hit.document for hit in store.search(query, vector, 1000, mode)]
                if not every:
                    continue
                store.delete(every[:3]).result()
                left = [hit.document for hit in store.search(query, vector, 4, mode)]
                assert left == every[3:7]


def test_only_what_can_be_stored_is_written(space: Path, pool: list[Item]) -> None:
    item = pool[0]
    wrong = item.vectors.copy()
    wrong[0, 0] = np.nan
    huge = item.vectors.astype(np.float64) * 1e300
    other = item.passages.set_column(0, "document", [["x"] * item.passages.num_rows])
    with Store.open(space, limits=NEVER) as store:
        for match, arguments in (
            ("another encoder", ([item.document], item.passages, item.vectors, "0" * 64)),
            ("dimensions", ([item.document], item.passages, item.vectors[:, :8], item.encoder)),
            ("not finite", ([item.document], item.passages, wrong, item.encoder)),
            ("not finite", ([item.document], item.passages, huge, item.encoder)),
            ("0 vectors", ([item.document], item.passages, item.vectors[:0], item.encoder)),
            ("id of its own", ([item.document] * 2, item.passages, item.vectors, item.encoder)),
            ("id of its own", ([], item.passages[:0], item.vectors[:0], item.encoder)),
            ("not put", ([item.document], other, item.vectors, item.encoder)),
            (
                "cannot be stored",
                (
                    [replace(item.document, text="half a pair \ud800")],
                    item.passages,
                    item.vectors,
                    item.encoder,
                ),
            ),
        ):
            with pytest.raises(InputError, match=match):
                store.put(*arguments)
        with pytest.raises(InputError, match="Name the documents"):
            store.delete([])
        # In the journal it would be in the way of whoever applies it.
        with pytest.raises(InputError, match="no document of such an id"):
            store.delete(["half a pair \ud800"])
        assert store.waiting == 0
        assert store.delete(["nobody"]).result() == 1
        store.apply()
    assert isometry.history(space)["current"] == isometry.history(space)["states"][0]["number"]


def test_beyond_its_memory_it_takes_nothing_until_some_are_applied(
    space: Path, pool: list[Item]
) -> None:
    size = len(
        changes.Change.put(
            [pool[0].document], pool[0].passages, pool[0].vectors, pool[0].encoder
        ).to_bytes()
    )
    with Store.open(space, limits=replace(NEVER, most_bytes=size)) as store:
        with pytest.raises(InputError, match="at most"):
            store.put(
                [pool[0].document, pool[1].document],
                pool[0].passages,
                pool[0].vectors,
                pool[0].encoder,
            )
        with store._applying:
            # Nothing can be applied meanwhile.
            pool[0].put(store).result()
            with pytest.raises(StoreBusyError) as busy:
                pool[0].put(store)
            assert busy.value.retry_after >= 1
        # It asked for room, and gets it.
        with store._news:
            assert store._news.wait_for(lambda: not store._sizes, 60)
        pool[0].put(store).result()
        check(store, "a", pool[0])


def test_it_is_applied_by_itself(
    space: Path, pool: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = threading.Event()
    take = Store._take

    def taking(self: Store) -> None:
        take(self)
        if self._applied == 2:
            applied.set()

    monkeypatch.setattr(Store, "_take", taking)
    with Store.open(space, limits=replace(NEVER, records=2)) as store:
        pool[0].put(store).result()
        pool[1].put(store).result()
        assert applied.wait(600)
        check(store, "a", pool[0])
    assert Space.open(space).manifest["applied"] == 2


def test_who_writes_besides_is_told_and_then_brings_in_the_journal(
    space: Path, pool: list[Item]
) -> None:
    before = set(pq.read_table(Space.open(space).documents)["id"].to_pylist())
    docs = Space.open(space).manifest["source"]["name"]
    with Store.open(space, "serve", limits=NEVER) as store:
        pool[0].put(store).result()
        for other in (isometry.compact, Store.open, isometry.rollback):
            with pytest.raises(InputError, match=r"being written .*\(isometry serve\)"):
                other(space)
    opened = Space.open(space)
    opened.verify()
    assert "a" not in pq.read_table(opened.documents)["id"].to_pylist()
    isometry.add(space, docs)
    now = opened.refresh()
    now.verify()
    assert set(pq.read_table(now.documents)["id"].to_pylist()) == before | {"a"}
    with Store.open(space, limits=NEVER) as store:
        assert store.waiting == 0
        check(store, "a", pool[0])
    isometry.rollback(space)
    with Store.open(space, limits=NEVER) as store:
        assert store.get("a") is None
        # The numbers go on.
        assert pool[4].put(store).result() == 2
        store.apply()
        check(store, "a", pool[4])


@pytest.mark.parametrize("place", ["words", "manifest", "documents", "forgetting"])
def test_a_full_disk_stops_the_applying_and_nothing_else(
    place: str, space: Path, pool: list[Item], asked: dict[str, np.ndarray]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Store.open(space, limits=NEVER) as store:
        pool[0].put(store).result()
        before = found(store, asked, "dense")
        with pytest.MonkeyPatch.context() as patcher:
            if place == "words":
                from lancedb.table import LanceTable

                patcher.setattr(LanceTable, "create_index", full)
            elif place == "documents":
                patcher.setattr(pq, "write_table", full)
            elif place == "manifest":
                rename = os.replace
                patcher.setattr(
                    os, "replace", lambda a, b: full() if "space.json" in str(b) else rename(a, b)
                )
            else:
                # After the change, so that it is in the table and in the journal.
                patcher.setattr(Journal, "forget", full)
            with pytest.raises((InputError, OSError)):
                store.apply()
            assert found(store, asked, "dense") == before
            pool[4].put(store).result()
        check(store, "a", pool[4])
        Space.open(space).verify()
        store.apply()
        check(store, "a", pool[4])
    Space.open(space).verify()
    assert Space.open(space).leftovers() == []


def test_a_full_disk_is_rid_of_states_that_nobody_needs(
    space: Path, pool: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isometry.jobs.compact._MOST_WRITTEN", 2)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Store.open(space, limits=NEVER) as store:
        for item in pool[:5]:
            item.put(store).result()
            store.apply()
        assert len(list(space.glob("documents*.parquet"))) == 6
        pool[5].put(store).result()
        with pytest.MonkeyPatch.context() as patcher:
            patcher.setattr(pq, "write_table", full)
            with pytest.raises((InputError, OSError)):
                store.apply()
        # The present one, that which no store wrote, and the last two.
        assert len(list(space.glob("documents*.parquet"))) == 4
        Space.open(space).verify()
        store.apply()
        check(store, pool[5].document.id, pool[5])
    Space.open(space).verify()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 11)),
        st.tuples(st.just("delete"), st.integers(0, 11)),
        st.just(("apply", 0)),
        st.just(("reopen", 0)),
        st.just(("crash", 0)),
    ),
    max_size=10,
)


@settings(deadline=None, max_examples=6)
@given(operations=OPERATIONS)
def test_it_is_a_dictionary(
    origin: Path,
    pool: list[Item],
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, int]],
) -> None:
    folder = tmp_path_factory.mktemp("model") / "space"
    shutil.copytree(origin, folder)
    rows = pq.read_table(Space.open(folder).documents)["id"].to_pylist()
    model: dict[str, Item | None] = {}
    store = Store.open(folder, limits=NEVER)
    try:
        for what, number in operations:
            name = pool[number].document.id
            if what == "put":
                pool[number].put(store).result()
                model[name] = pool[number]
            elif what == "delete":
                store.delete([name]).result()
                model[name] = None
            elif what == "apply":
                store.apply()
            elif what == "crash":
                # Between the change and what follows it.
                with pytest.MonkeyPatch.context() as patcher:
                    patcher.setattr(Journal, "forget", lambda *_: 1 / 0)
                    with contextlib.suppress(ZeroDivisionError):
                        store.apply()
            else:
                store.close()
                store = Store.open(folder, limits=NEVER)
            for other, expected in model.items():
                check(store, other, expected)
        shown = {hit.document for hit in store.space.search("x", 10_000, "dense", vector=ONE)}
        gone = {name for name, item in model.items() if item is None}
        assert shown == ({*rows} | model.keys()) - gone
    finally:
        store.close()
    assert Space.open(folder).verify()


ONE = np.ones(64, dtype=np.float32) / 8

_CHILD = """
import random, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from stored_documents import read_items
from isometry.jobs.store import Limits, Store
assert "torch" not in sys.modules
pool = read_items(Path(sys.argv[2]))
generator = random.Random(int(sys.argv[3]))
def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()
store = Store.open(sys.argv[1], limits=Limits(records=7))
say("open")
while True:
    number = generator.randrange(len(pool))
    what = "put" if generator.random() < 0.8 else "delete"
    say(what, number)
    if what == "put":
        pool[number].put(store).result()
    else:
        store.delete([pool[number].document.id]).result()
    say("done", number)
"""


def lines(stream: Any) -> Iterator[list[str]]:
    for line in stream:
        if line.endswith("\n"):
            yield line.split()


def test_killed_at_random_moments(space: Path, pool: list[Item], tmp_path: Path) -> None:
    """Whatever was acknowledged is there, with the text and the vectors of one version."""
    write_items(tmp_path / "pool", pool)
    model: dict[str, Item | None] = {}
    generator = random.Random(0)
    for life in range(KILLS):
        command = [sys.executable, "-c", _CHILD, str(space), str(tmp_path / "pool"), str(life)]
        child = subprocess.Popen(
            [*command, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        begun: tuple[str, int] | None = None
        left = generator.randrange(2, 120)
        for what, *rest in lines(child.stdout):
            if what == "done":
                assert begun is not None
                item = pool[begun[1]]
                model[item.document.id] = item if begun[0] == "put" else None
                begun = None
            elif what != "open":
                begun = what, int(rest[0])
            left -= 1
            if left == 0:
                child.kill()
        child.wait()
        assert left <= 0
        opened = Space.open(space)
        opened.verify()
        with Store.open(space, limits=NEVER) as store:
            if begun is not None:
                # Not acknowledged: it is there or not, and either is whole.
                name = pool[begun[1]].document.id
                after = pool[begun[1]] if begun[0] == "put" else None
                try:
                    check(store, name, after)
                    model[name] = after
                except AssertionError:
                    if name in model:
                        check(store, name, model[name])
            for name, expected in model.items():
                check(store, name, expected)
            found = {hit.document for hit in store.space.search("x", 1000, "dense", vector=ONE)}
            for name, expected in model.items():
                assert (name in found) == (expected is not None)
    with Store.open(space, limits=NEVER) as store:
        store.apply()
        for name, expected in model.items():
            check(store, name, expected)
    ids = pq.read_table(Space.open(space).documents)["id"].to_pylist()
    assert len(ids) == len(set(ids))


def test_what_is_not_in_the_table_yet_can_be_filtered_by(space: Path, pool: list[Item]) -> None:
    def found(store: Store, filter: dict[str, Any]) -> set[str]:
        vector = np.ones(64, dtype=np.float32) / 8
        hits = store.space.search("heap", 1000, "dense", vector=vector, filter=filter)
        return {hit.document for hit in hits}

    with Store.open(space, limits=NEVER) as store:
        before = found(store, {"group": "heapq"})
        assert {"heapq.heappush", "heapq.nlargest"} < before
        for item in pool[:4]:
            item.put(store).result()
        new = {item.document.id for item in pool[:4]}
        assert "heapq.heappush" in new
        assert found(store, {"id": sorted(new)}) == new
        # What was put is of no group.
        assert found(store, {"group": "heapq"}) == before - new
        store.delete(["heapq.nlargest", "a"]).result()
        assert found(store, {"id": sorted(new)}) == new - {"a"}
        assert found(store, {"group": "heapq"}) == before - new - {"heapq.nlargest"}
        store.apply()
        assert found(store, {"id": sorted(new)}) == new - {"a"}
        assert found(store, {"group": "heapq"}) == before - new - {"heapq.nlargest"}


def test_who_searches_sees_nothing_that_comes_meanwhile(space: Path, pool: list[Item]) -> None:
    with Store.open(space, limits=NEVER) as store:
        pool[0].put(store).result()
        before = store.space
        pool[1].put(store).result()
        # What documents are filtered by is put together when it is first asked for.
        names = set(before.known["id"].to_pylist())
        assert pool[0].document.id in names and pool[1].document.id not in names
        assert pool[1].document.id in store.space.known["id"].to_pylist()


def test_one_thread_opens_it_and_another_closes_it(space: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        store = thread.submit(Store.open, space).result()
    store.close()
    isometry.compact(space)


_ALONE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[3])
from stored_documents import read_items
from isometry.jobs.store import Store
pool = read_items(Path(sys.argv[2]))
with Store.open(sys.argv[1]) as store:
    pool[0].put(store).result()
    assert store.search("version parcel", pool[0].vectors[0], 3)[0].document == "a"
    store.apply()
    assert store.search("version parcel", pool[0].vectors[0], 3)[0].document == "a"
    assert store.get("a") is not None
heavy = {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_it_needs_no_model(space: Path, pool: list[Item], tmp_path: Path) -> None:
    write_items(tmp_path / "pool", pool)
    arguments = [str(space), str(tmp_path / "pool"), str(Path(__file__).parent)]
    subprocess.run([sys.executable, "-c", _ALONE, *arguments], check=True)
