from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.compression.precision import round_trip
from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.pairs.tasks import Pair
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.jobs.ranking import DEPTH, Rankings, fused_rankings, tune_fusion
from isometry.systems import retrieval_study as study
from isometry.systems.retrieval import dense_retrieval as ladder
from isometry.systems.retrieval_study import Asked, Headings, Library
from isometry.systems.run import Run

SECTIONS = 90


@pytest.fixture(scope="module")
def library(pairs: list[tuple[str, str]], small_folder: Path) -> Library:
    """Functions of the standard library, under their docstrings."""
    few = pairs[:SECTIONS]
    return Library(str(small_folder), 2, [f"{row:02}" for row in range(len(few))], few)


@pytest.fixture(scope="module")
def asked(library: Library) -> Asked:
    """Each docstring, backwards, asks for its function."""
    queries = [" ".join(reversed(header.split())) for header, _ in library.texts]
    return Asked(library, queries[:30], [{row: 1} for row in range(30)])


@pytest.fixture(scope="module")
def headings(pairs: list[tuple[str, str]], small_folder: Path) -> Headings:
    few = pairs[:SECTIONS]
    made = [Pair(query, f"{row}", "", code, "heading") for row, (query, code) in enumerate(few)]
    return Headings(str(small_folder), made)


@pytest.fixture(scope="module")
def encoder(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CachedEncoder:
    folder = tmp_path_factory.mktemp("vectors")
    return CachedEncoder(TextEncoder.load(small_folder), folder, "float32")


@pytest.fixture
def run(headings: Headings, asked: Asked, tmp_path: Path) -> ladder.AnyRun:
    half = Asked(asked.library, asked.queries[:10], asked.relevance[:10])
    scale = replace(study.MINIATURE, model=headings.model, precision="float32")
    folders = {"folder": tmp_path / "run", "shared": tmp_path / "shared"}
    return Run(scale, headings, half, seed=0, rate=1e-4, **folders)


def test_words_and_vectors_search_the_same_first_passages(library: Library) -> None:
    owner, passages = library.collection.owner, library.collection.passages
    uncut = replace(library, most=1000).collection
    assert len(uncut.owner) > len(owner)
    for row in range(SECTIONS):
        own = [text for text, number in zip(passages, owner, strict=True) if number == row]
        every = uncut.chunks.filter(uncut.owner == row).column("text").to_pylist()
        assert own == every[:2]
    # What stands behind the second passage is found by nobody.
    header, body = max(library.texts, key=lambda text: len(text[1]))
    texts = [*library.texts[:3], (header, f"{body}\nxylophone")]
    for most, expected in ((1000, [3]), (2, [])):
        few = Library(library.model, most, list("abcd"), texts)
        assert [number for number, _ in few.by_words(["xylophone"]).found(0)] == expected


def test_candidates_share_words_and_are_never_the_headings_own(headings: Headings) -> None:
    found = headings.candidates
    assert found.shape == (SECTIONS, study.CANDIDATES + 1)
    assert not (found == np.arange(SECTIONS)[:, None]).any()
    whole = headings.library.by_words([pair.query for pair in headings.pairs], 31).order
    for row, own in enumerate(whole):
        assert [x for x in found[row] if x >= 0] == [x for x in own if x >= 0 and x != row]


def test_clear_candidates_lie_below_95_percent_of_the_sections_own_similarity(
    headings: Headings, encoder: CachedEncoder
) -> None:
    clear = headings.clear(encoder)
    queries = encoder.encode([pair.query for pair in headings.pairs], "query")
    bodies = encoder.encode([pair.body for pair in headings.pairs])
    dropped = 0
    for row, (kept, found) in enumerate(zip(clear, headings.candidates, strict=True)):
        scores = bodies @ queries[row]
        limit = scores[row] - 0.05 * abs(scores[row])
        expected = [x if x >= 0 and scores[x] <= limit else -1 for x in found]
        assert kept.tolist() == expected  # in the order of the words, not of the teacher
        dropped += sum(kept != found)
    assert dropped > SECTIONS


def test_negatives_are_the_first_candidates_filled_up_with_others() -> None:
    candidates = np.array([[-1, 3, 2, 1], [-1, -1, -1, -1], [0, -1, 3, -1], [1, 2, -1, 0]])
    rows = study.first_negatives(candidates, 3)
    assert rows[0].tolist() == [3, 2, 1]
    assert sorted(rows[1].tolist()) == [0, 2, 3]
    assert rows[2].tolist() == [0, 3, 1]
    assert rows[3].tolist() == [1, 2, 0]
    assert (study.first_negatives(candidates, 3) == rows).all()


def test_rows_carry_the_texts_of_their_negatives(headings: Headings) -> None:
    negatives = (np.arange(SECTIONS)[:, None] + [1, 2]) % SECTIONS
    bodies = [pair.body for pair in headings.pairs]
    for number, row in enumerate(headings.rows(negatives)):
        assert (row.query, row.document) == (headings.pairs[number].query, bodies[number])
        assert row.negatives == tuple(bodies[other] for other in negatives[number])
        # The same text below two headings answers both.
        assert (row.key, row.negative_keys) == (row.document, row.negatives)
    for number, row in enumerate(headings.lists(negatives)):
        assert row.positive == bodies[number]
        assert row.negatives == tuple(bodies[other] for other in negatives[number])
    assert all(row.negatives == () for row in headings.rows())


def test_a_store_that_loses_nothing_ranks_as_the_vectors(
    asked: Asked, encoder: CachedEncoder
) -> None:
    exact = study.by_vectors(encoder)(asked)
    for rescored in (False, True):
        same = study.by_stored_vectors(encoder, lambda vectors: vectors, rescored=rescored)(asked)
        assert (same.order[:, :10] == exact.order[:, :10]).all()
    assert (exact.order[:, :10] >= 0).all()


def test_rescoring_mends_what_the_store_lost(asked: Asked, encoder: CachedEncoder) -> None:
    exact = study.by_vectors(encoder)(asked)

    def binary(vectors: np.ndarray) -> np.ndarray:
        return round_trip(vectors, "binary")

    coarse = study.by_stored_vectors(encoder, binary)(asked)
    mended = study.by_stored_vectors(encoder, binary, rescored=True)(asked)
    assert (coarse.order[:, :10] != exact.order[:, :10]).any()
    found = len(asked.library.collection.owner)
    assert found > DEPTH  # or else everything would be scored again
    agree = [(ranks.order[:, :10] == exact.order[:, :10]).mean() for ranks in (coarse, mended)]
    assert agree[1] > 0.9 > agree[0]


def test_a_document_stands_where_its_best_passage_does() -> None:
    rows = np.array([[4, 0, 5, 1, -1], [2, 3, 0, 1, 5]])
    scores = np.array([[9.0, 8.0, 7.0, 6.0, -np.inf], [5.0, 4.0, 3.0, 2.0, 1.0]])
    ranked = study.of_passages(rows, scores, np.array([0, 0, 1, 1, 2, 2]))
    assert ranked.order.tolist() == [[2, 0, -1, -1, -1], [1, 0, 2, -1, -1]]
    assert ranked.scores.tolist() == [[9, 8, 0, 0, 0], [5, 3, 1, 0, 0]]


def test_reading_reorders_the_first_and_sees_how_each_begins(asked: Asked) -> None:
    order = np.tile(np.arange(6), (30, 1))
    order[:, 5] = -1
    first = Rankings(order, np.where(order >= 0, 6.0 - order, 0.0))
    openings = asked.library.collection.first_passages(np.arange(4))
    seen: list[tuple[str, str]] = []

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        seen.extend(pairs)
        return np.array([float(openings.index(text)) for _, text in pairs])

    done = study.by_reading(lambda _: first, score, depth=3, weight=1.0)(asked)
    assert done.order.tolist() == [[2, 1, 0, 3, 4, -1]] * 30
    assert seen == [(query, text) for query in asked.queries for text in openings[:3]]
    assert (np.diff(done.scores[:, :5]) < 0).all()


def test_word_vectors_are_what_goes_into_the_first_layer(
    run: ladder.AnyRun, asked: Asked, encoder: CachedEncoder
) -> None:
    transformer: Any = encoder.encoder.model[0]
    few = Asked(asked.library, asked.queries[:5], [])
    found = ladder.word_vectors(run)(few)
    means = []
    for text in asked.library.collection.passages + few.queries:
        batch = encoder.encoder.collate([text], "document")
        with torch.no_grad():
            means.append(transformer.model.embeddings(batch["input_ids"])[0].mean(0).numpy())
    vectors = np.array(means) / np.linalg.norm(means, axis=1, keepdims=True)
    owner = asked.library.collection.owner
    for row, scores in enumerate(vectors[-5:] @ vectors[:-5].T):
        best = [scores[owner == document].max() for document in found.order[row, :10]]
        assert best == pytest.approx(found.scores[row, :10].tolist(), abs=1e-5)
        assert max(scores) == pytest.approx(best[0], abs=1e-5)


def test_the_fusion_is_weighed_on_validation(run: ladder.AnyRun, asked: Asked) -> None:
    ids, held = asked.library.ids, run.validation
    dense = study.by_vectors(ladder.pretrained(run))
    sides = [(dense(one), study.by_words(one)) for one in (held, asked)]
    weight, _, _ = tune_fusion(ids, *sides[0], held.relevance, given=True)
    by_test, _, _ = tune_fusion(ids, *sides[1], asked.relevance, given=True)
    assert weight != by_test
    found = ladder.fused(run)(asked)
    assert (found.order == fused_rankings(ids, *sides[1], weight).order).all()
    assert (found.scores != fused_rankings(ids, *sides[1], by_test).scores).any()


def test_the_rung_below_decides_what_the_tuned_encoder_learns_against(
    run: ladder.AnyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray | None] = []
    monkeypatch.setattr(Headings, "rows", lambda _, negatives=None: seen.append(negatives))
    monkeypatch.setattr(ladder, "contrast", lambda run, *_, **__: run.encoder())
    for arm in ("in-batch", "bm25 negatives", "denoised", "int8", "pq"):
        ladder.system.arms[arm].make(run)
    none, raw, *clean = seen
    assert none is None
    first = study.first_negatives
    assert raw is not None
    assert (raw == first(run.train.candidates, 1)).all()
    expected = first(run.train.clear(ladder.pretrained(run)), 1)
    assert all((one == expected).all() for one in clean if one is not None)
    assert len(clean) == 3
    assert (raw != expected).any()


@pytest.fixture
def documentation(monkeypatch: pytest.MonkeyPatch) -> HumanQueries:
    """Two pages of the FAQ, each with a question twice, and a manual."""

    def page(group: str, titles: list[str]) -> list[Document]:
        return [
            Document(
                f"{group}#{order}", f"It is told below in other words, number {order}.",
                title=title, group=group, order=order,
            )
            for order, title in enumerate(titles)
        ]  # fmt: skip

    documents = (
        page("faq/library.rst.txt", ["", "", ""])
        + page("tutorial.rst.txt", ["Opening of the files", "Closing of the files", "Last words"])
        + page("faq/design.rst.txt", ["", "", "What remains to be said"])
    )
    ids = [document.id for document in documents]
    relevance = {
        "q1": {ids[0]: 1}, "q2": {ids[1]: 1}, "q3": {ids[6]: 1}, "q4": {ids[7]: 1, ids[2]: 1},
    }  # fmt: skip
    made = HumanQueries(
        "one", documents, {key: key + "?" for key in relevance}, relevance, "en", ""
    )
    monkeypatch.setattr(study, "python_documentation", lambda: made)
    return made


def test_the_faq_is_asked_by_whole_pages_and_trains_nothing(documentation: HumanQueries) -> None:
    splits = study.data(study.SMALL)
    library = splits.test.library
    assert library.ids == [document.id for document in documentation.documents]
    # One with an answer on a page that tests is not chosen on.
    assert splits.validation.queries == ["q1?", "q2?"]
    assert splits.test.queries == ["q3?", "q4?"]
    for side in (splits.validation, splits.test):
        for query, relevant in zip(side.queries, side.relevance, strict=True):
            named = {library.ids[row]: grade for row, grade in relevant.items()}
            assert named == documentation.relevance[query[:-1]]
    pages = {pair.document.split("#")[0] for pair in splits.train.pairs}
    assert pages == {"tutorial.rst.txt"}
    assert all(pair.header == "" for pair in splits.train.pairs)


def test_a_slice_keeps_the_answers_of_what_it_asks(documentation: HumanQueries) -> None:
    splits = study.data(replace(study.SMALL, asked=1, others=2, pairs=1))
    library = splits.test.library
    assert (splits.validation.queries, splits.test.queries) == (["q1?"], ["q3?"])
    answers = {"faq/library.rst.txt#0", "faq/design.rst.txt#0"}
    assert answers < set(library.ids)
    assert len(library.ids) == 4
    assert [library.ids[row] for row in splits.test.relevance[0]] == ["faq/design.rst.txt#0"]
    assert len(splits.train.pairs) == 1
