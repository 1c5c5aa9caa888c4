from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.compression.product_quantization import fit_product_quantizer
from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.pairs.tasks import Pair
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.text import TextEncoder
from isometry.jobs.ranking import fused_rankings, tune_fusion
from isometry.systems import retrieval_study as study
from isometry.systems.rankers import Asked, by_vectors, by_words
from isometry.systems.retrieval import dense_retrieval as ladder
from isometry.systems.retrieval_study import Headings
from isometry.systems.run import Run
from isometry.training.negatives import first_negatives

SECTIONS = 90


@pytest.fixture(scope="module")
def headings(pairs: list[tuple[str, str]], small_folder: Path) -> Headings:
    few = pairs[:SECTIONS]
    made = [Pair(query, f"{row}", "", code, "heading") for row, (query, code) in enumerate(few)]
    return Headings(str(small_folder), made)


@pytest.fixture
def run(headings: Headings, asked: Asked, tmp_path: Path) -> ladder.AnyRun:
    half = Asked(asked.library, asked.queries[:10], asked.relevance[:10])
    scale = replace(study.MINIATURE, model=headings.model, precision="float32")
    folders = {"folder": tmp_path / "run", "shared": tmp_path / "shared"}
    return Run(scale, headings, half, seed=0, rate=1e-4, **folders)


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
    dense = by_vectors(run.pretrained)
    sides = [(dense(one), by_words(one)) for one in (held, asked)]
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
    assert raw is not None
    assert (raw == first_negatives(run.train.candidates, 1, run.generator("negatives"))).all()
    expected = first_negatives(run.train.clear(run.pretrained), 1, run.generator("negatives"))
    assert all((one == expected).all() for one in clean if one is not None)
    assert len(clean) == 3
    assert (raw != expected).any()


@pytest.fixture
def shortened(run: ladder.AnyRun, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whoever tunes gets an encoder that lacks a layer: the fingerprint of that."""

    def contrast(run: ladder.AnyRun, *_: object, **__: object) -> TextEncoder:
        encoder = run.encoder()
        del encoder.layers()[1:]
        return encoder

    monkeypatch.setattr(ladder, "contrast", contrast)
    tuned = contrast(run).fingerprint()
    assert tuned != run.pretrained.fingerprint
    return tuned


def test_the_tuned_encoder_finds_what_is_read_again_by_one_taught_with_denoised_lists(
    run: ladder.AnyRun, shortened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[CachedEncoder, Any, dict[str, Any]]] = []
    taught: list[tuple[str, Any, list[Any], list[list[int]]]] = []
    monkeypatch.setattr(ladder, "by_reading", lambda *given, **how: read.append((*given, how)))
    monkeypatch.setattr(Run, "fit", lambda _, *given: taught.append(given))
    ladder.reranked(run)
    ((encoder, score, how),) = read
    assert encoder.fingerprint == shortened
    assert how == {"depth": run.scale.depth, "weight": 0.5}
    ((stage, learner, rows, order),) = taught
    assert stage == "rerank"
    # What reads is what was taught.
    assert score.func.__self__ is learner.encoder
    assert score.keywords["tokens"] == learner.tokens == run.scale.pair_tokens
    k = run.scale.candidates
    wrong = first_negatives(run.train.clear(run.pretrained), k, run.generator("negatives"))
    assert rows == run.train.lists(wrong)
    assert rows != run.train.lists(ladder.confused(run, k))
    assert [len(batch) for batch in order] == [run.scale.lists] * run.scale.steps["rerank"]


def test_what_is_stored_are_vectors_of_the_tuned_encoder(
    run: ladder.AnyRun, shortened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: dict[str, tuple[CachedEncoder, Any, dict[str, bool]]] = {}
    for arm in ("int8", "pq"):
        monkeypatch.setattr(
            ladder,
            "by_stored_vectors",
            lambda *given, arm=arm, **how: stored.setdefault(arm, (*given, how)),
        )
        ladder.system.arms[arm].make(run)
    assert {found[0].fingerprint for found in stored.values()} == {shortened}
    assert [found[2] for found in stored.values()] == [{"rescored": True}, {}]
    # Few vectors can learn few codes.
    vectors = np.random.default_rng(0).normal(size=(90, 96)).astype(np.float32)
    back = stored["pq"][1](vectors)
    quantizer = fit_product_quantizer(vectors, 48, codes=2)
    np.testing.assert_array_equal(back, quantizer.decode(quantizer.encode(vectors)))
    nearest = stored["int8"][1](vectors)
    assert np.abs(nearest - vectors).max() < 0.1 < np.abs(back - vectors).max()


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
