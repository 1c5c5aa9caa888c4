from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from query_server import QueryServer, Reply, completion, failure, serving

from isometry.core.workspace import Workspace
from isometry.corpora.documents import Document
from isometry.corpora.pairs.query_writer import OpenAIWriter
from isometry.corpora.pairs.structure import Pair
from isometry.corpora.views.sentences import sentences
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.jobs import ranking
from isometry.jobs.writing import (
    ANSWERS,
    STEP,
    filter_pairs,
    round_trip,
    sample_documents,
    written_pairs,
)
from isometry.search.lancedb import Lexical

SIDES = ["train", "train", "train", "validation", "test"]


@pytest.fixture(scope="module")
def documents(texts: list[str]) -> list[Document]:
    """60 docstrings of the standard library; every fifth is for validation, or for the test."""
    long = [text for text in texts if len(text.split()) >= 20][:60]
    return [Document(f"d{row}", text, group=f"d{row}") for row, text in enumerate(long)]


@pytest.fixture(scope="module")
def sides(documents: list[Document]) -> list[str]:
    return [SIDES[row % len(SIDES)] for row in range(len(documents))]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISOMETRY_QUERY_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def passage(prompt: str) -> str:
    return prompt.split("Passage:\n", 1)[1]


def backwards(text: str) -> str:
    """The longest sentence of a text, its words in the opposite order, and a word more."""
    return " ".join([*reversed(max(sentences(text), key=len).split()[:20]), "please"])


def good(prompt: str) -> Reply:
    return completion(f"Here you are:\n1. {backwards(passage(prompt))}\n2. {passage(prompt)}")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "w", "test") as work:
        yield work


def write(
    work: Workspace,
    server: QueryServer,
    documents: list[Document],
    sides: list[str],
    *,
    limit: int = 1000,
    seconds: float = 60.0,
    concurrency: int = 4,
) -> tuple[list[Pair], dict[str, object]]:
    writer = OpenAIWriter(server.url, "writer", retries=1, concurrency=concurrency)
    return written_pairs(work, documents, sides, writer, limit=limit, seconds=seconds)


def test_only_training_documents_are_sent_and_their_pairs_come_back(
    work: Workspace, documents: list[Document], sides: list[str]
) -> None:
    with serving(good) as server:
        pairs, facts = write(work, server, documents, sides)
    train = [document for document, side in zip(documents, sides, strict=True) if side == "train"]
    sent = {passage(prompt) for prompt in server.prompts}
    assert sent == {document.text[:2000].strip() for document in train}
    assert len(server.prompts) == len(train)
    assert [pair.document for pair in pairs] == [document.id for document in train]
    for pair, document in zip(pairs, train, strict=True):
        assert pair.query == backwards(document.text[:2000].strip())
        assert (pair.header, pair.body, pair.task) == ("", document.text, "written")
    count = len(train)
    assert facts.pop("seconds") is not None
    assert facts == {
        "model": "writer",
        "documents": count,
        "asked": count,
        "answered": count,
        "failed": 0,
        "ended": None,
        "written": count,
    }


def test_the_sample_is_random_and_the_same_for_a_seed(
    documents: list[Document], sides: list[str]
) -> None:
    first = sample_documents(documents, sides, 10, 0)
    assert len({document.id for document in first}) == 10
    assert sample_documents(documents, sides, 10, 0) == first
    assert sample_documents(documents, sides, 10, 1) != first
    assert sample_documents(documents, sides, 20, 0)[:10] == first
    assert first != sorted(first, key=lambda document: int(document.id[1:]))
    short = Document("short", "Nine words are too few to ask anything about.")
    assert sample_documents([short], ["train"], 10, 0) == []


def test_a_killed_run_asks_only_for_what_is_missing(
    work: Workspace, documents: list[Document], sides: list[str]
) -> None:
    with serving(good) as server:
        whole, _ = write(work, server, documents, sides, limit=20)
        answers = work.path / ANSWERS
        lines = answers.read_bytes().splitlines(keepends=True)
        assert len(lines) == 20
        # Killed while the thirteenth was being written, before the step was finished.
        answers.write_bytes(b"".join(lines[:12]) + lines[12][:25])
        work.discard(f"{STEP}.json")
        server.prompts.clear()
        again, facts = write(work, server, documents, sides, limit=20)
        assert len(server.prompts) == 8
        assert again == whole
        assert facts["asked"] == facts["answered"] == 20
        # And once it is finished, nothing.
        assert write(work, server, documents, sides, limit=20)[0] == whole
        assert len(server.prompts) == 8
    assert answers.read_bytes().startswith(b"".join(lines[:12]))


def test_the_time_counts_over_all_runs(
    work: Workspace, documents: list[Document], sides: list[str]
) -> None:
    row = {"document": documents[0].id, "queries": ["what is this about"], "seconds": 60.1}
    (work.path / ANSWERS).write_text(json.dumps(row) + "\n")
    with serving(good) as server:
        pairs, facts = write(work, server, documents, sides)
        assert server.prompts == []
    assert [pair.query for pair in pairs] == ["what is this about"]
    assert facts["ended"] == "the time for it was over"


def test_it_goes_on_with_what_it_has_when_the_server_dies(
    work: Workspace, documents: list[Document], sides: list[str], tmp_path: Path
) -> None:
    def reply(prompt: str) -> Reply:
        return good(prompt) if len(set(server.prompts)) <= 5 else failure(500)

    with serving(reply) as server:
        pairs, facts = write(work, server, documents, sides, concurrency=1)
        assert len(pairs) == facts["answered"] == 5
        assert facts["failed"] == 8
        assert facts["asked"] == 13
        assert "8 times in a row, at last with HTTP 500" in str(facts["ended"])
        assert len(set(server.prompts)) <= 14
    with serving(lambda _: failure(500)) as server, Workspace(tmp_path / "v", "test") as other:
        assert write(other, server, documents, sides)[0] == []


def test_failures_here_and_there_do_not_end_it(
    work: Workspace, documents: list[Document], sides: list[str]
) -> None:
    kinds = [failure(400), Reply(body=b"{"), completion(""), completion("?!")]

    def reply(prompt: str) -> Reply:
        number = len(server.prompts)
        return good(prompt) if number % 2 else kinds[number // 2 % 4]

    with serving(reply) as server:
        pairs, facts = write(work, server, documents, sides, concurrency=1)
    assert facts["ended"] is None
    # Two of the kinds are answers, though empty ones.
    assert (facts["asked"], facts["failed"], len(pairs)) == (36, 9, 18)


def test_the_key_is_in_no_file(
    work: Workspace, documents: list[Document], sides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOMETRY_QUERY_KEY", "secret-key")
    with serving(lambda _: failure(401)) as server:
        _, facts = write(work, server, documents, sides)
        assert all(
            headers["authorization"] == "Bearer secret-key" for _, headers in server.requests
        )
    assert "secret" not in repr(facts)
    for file in work.path.rglob("*"):
        assert b"secret" not in file.read_bytes()


def test_round_trip_by_hand() -> None:
    order = np.array([[3, 0, 2], [2, 3, 1], [4, -1, -1], [-1, -1, -1], [0, 1, 2]])
    rankings = ranking.Rankings(order, np.zeros(order.shape))
    answers = np.array([0, 1, 0, 4, 4])
    clusters = np.array([0, 1, 2, 3, 4])
    assert round_trip(answers, rankings, clusters, 1).tolist() == [False] * 5
    assert round_trip(answers, rankings, clusters, 2).tolist() == [True] + [False] * 4
    assert round_trip(answers, rankings, clusters, 3).tolist() == [True, True] + [False] * 3
    # 0 and 4 are near-duplicates, so each answers for the other.
    copies = np.array([0, 1, 2, 3, 0])
    assert round_trip(answers, rankings, copies, 1).tolist() == [False, False, True, False, True]


@pytest.fixture(scope="module")
def encoder(small_folder: Path) -> TextEncoder:
    return TextEncoder.load(small_folder)


def filtered(
    work: Workspace,
    encoder: TextEncoder,
    documents: list[Document],
    sides: list[str],
    pairs: list[Pair],
    *,
    clusters: list[int] | None = None,
    dense_weight: float = 0.5,
    held_out: tuple[str, ...] = (),
    k: int = 3,
) -> tuple[list[str], dict[str, object]]:
    ids = [document.id for document in documents]
    views = [(document.header(), document.body()) for document in documents]
    ranked = ranking.collection(ids, ranking.passages_of(encoder, ids, views))
    ranked = ranked.only(np.array(sides) == "train")
    index = ranking.build_index(
        work.path / "lexical", ranked.chunks, None, Lexical.for_language("en")
    )
    kept, facts = filter_pairs(
        pairs,
        ranked,
        np.array(clusters or range(len(documents))),
        index,
        CachedEncoder(encoder, work.path / "vectors", "float32"),
        dense_weight=dense_weight,
        held_out=held_out,
        k=k,
    )
    return [pair.query for pair in kept], facts


def pair(query: str, document: Document) -> Pair:
    return Pair(query, document.id, "", document.text, "written")


def test_queries_that_find_their_document_are_kept_and_others_are_not(
    work: Workspace, documents: list[Document], sides: list[str], encoder: TextEncoder
) -> None:
    train = [document for document, side in zip(documents, sides, strict=True) if side == "train"]
    own = [pair(backwards(document.text), document) for document in train]
    # The same queries, each given to a document far away.
    foreign = [
        pair(f"{query.query} now", other)
        for query, other in zip(own, train[18:] + train[:18], strict=True)
    ]
    kept, facts = filtered(work, encoder, documents, sides, own + foreign)
    right = {query.query for query in own}
    assert len(right & set(kept)) > 0.8 * len(own)
    assert len(set(kept) - right) < 0.2 * len(foreign)
    assert facts == {
        "written": 72,
        "dropped": 0,
        "kept": len(kept),
        "share": round(len(kept) / 72, 4),
        "k": 3,
    }


@pytest.mark.parametrize("dense_weight", [0.0, 1.0])
def test_only_training_documents_stand_in_the_way(
    work: Workspace, documents: list[Document], encoder: TextEncoder, dense_weight: float
) -> None:
    query = "quaternion rotation of rigid bodies"
    nearer = [Document(f"near{row}", f"{query}.", group="n") for row in range(5)]
    own = Document("own", f"{query}, among many other things: {documents[0].text}", group="o")
    found: list[int] = []
    for side in ("test", "train"):
        work.discard("lexical")
        kept, _ = filtered(
            work,
            encoder,
            [own, *nearer],
            ["train"] + [side] * 5,
            [pair(query, own)],
            dense_weight=dense_weight,
        )
        found.append(len(kept))
    assert found == [1, 0]


def test_queries_of_other_sides_and_of_several_documents_are_dropped(
    work: Workspace, documents: list[Document], sides: list[str], encoder: TextEncoder
) -> None:
    first, second, third = (documents[row] for row in (0, 1, 2))
    query, other = backwards(first.text), backwards(second.text)
    shared = [pair(query, first), pair(query.upper(), third), pair(other, second)]
    kept, facts = filtered(work, encoder, documents, sides, shared)
    assert kept == [other]
    assert facts["dropped"] == 2
    # Near-duplicates may share a query.
    clusters = [0, 1, 0, *range(3, len(documents))]
    work.discard("lexical")
    kept, _ = filtered(work, encoder, documents, sides, shared, clusters=clusters)
    assert kept == [query, query.upper(), other]
    work.discard("lexical")
    kept, _ = filtered(
        work, encoder, documents, sides, shared[2:], held_out=(re.sub(" ", "  ", other).upper(),)
    )
    assert kept == []


def test_nothing_written_is_nothing_kept(
    work: Workspace, documents: list[Document], sides: list[str], encoder: TextEncoder
) -> None:
    kept, facts = filtered(work, encoder, documents, sides, [])
    assert kept == []
    assert facts["share"] == 0.0
