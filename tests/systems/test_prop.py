from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from isometry.core.fingerprint import fingerprint
from isometry.corpora.curation.dirichlet_lm import DirichletLM
from isometry.corpora.documents import Document
from isometry.corpora.packaged import kept
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.questions import comparable
from isometry.corpora.pairs.queries import heading_query
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.learners.pairwise_ranking import ListwiseRanking, PairwiseRanking, PreferenceRow
from isometry.search.first_stage import FirstStage, document_of
from isometry.systems import reranking_study
from isometry.systems.reranking_study import (
    Held,
    Manual,
    Rerankers,
    RerankingScale,
    Training,
    measure,
    read_manual,
    reranked,
    unchanged,
)
from isometry.systems.retrieval.prop import PropScale, data, system
from isometry.systems.run import Run
from isometry.systems.system import Splits

PAGES = ("tutorial", "faq/design.rst.txt", "faq/programming.rst.txt")


@pytest.fixture(scope="module")
def small_manual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HumanQueries]:
    """Python's manual without all but its tutorial and two pages of its FAQ."""
    packaged = importlib.import_module("isometry.corpora.packaged.python_documentation")
    whole, part = kept.data_path("python3.13-doc"), tmp_path_factory.mktemp("manual")
    (part / "faq").mkdir()
    for name in PAGES:
        copy = shutil.copytree if (whole / name).is_dir() else shutil.copy
        copy(whole / name, part / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "data_path", lambda _: part)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        # Past what this process has, which keeps the whole manual for the rest of the process.
        small = packaged.python_documentation.__wrapped__()
        patch.setattr(reranking_study, "python_documentation", lambda: small)
        yield small


ANY_RUN = cast("Run[Any, Any, Any]", None)


class Measured:
    """What `measure` reads of a run."""

    scale = RerankingScale(model="none", steps={}, depth=9)


@pytest.fixture(scope="module")
def manual_scale() -> RerankingScale:
    return RerankingScale(
        model="packaged:minilm", steps={}, asked=6, questions=20, labelled=5, negatives=3, depth=9
    )


@pytest.fixture(scope="module")
def manual(small_manual: HumanQueries, manual_scale: RerankingScale) -> Manual:
    return read_manual(manual_scale)


def test_sides_share_no_passage_and_the_faq_is_on_none(
    manual: Manual, small_manual: HumanQueries
) -> None:
    sides = {name: set(own) for name, own in manual.passages.items()}
    assert set(sides) == {"train", "validation", "test"}
    assert all(sides.values())
    assert len(sides["train"]) > len(sides["validation"]) + len(sides["test"])
    assert not sides["train"] & sides["validation"]
    assert not sides["train"] & sides["test"]
    found = {n: t for n, t in manual.test.texts.items() if document_of(n).startswith("faq/")}
    assert found
    assert not set.union(*sides.values()) & set(found.values())
    pages: dict[str, set[str]] = {}
    for document in small_manual.documents:
        opening = document.body()[:40].strip()
        if len(opening) == 40 and not document.group.startswith("faq/"):
            own = {name for name, side in sides.items() if any(opening in text for text in side)}
            assert own, document.id
            pages.setdefault(document.group, set()).update(own if len(own) == 1 else ())
    assert len(pages) > 10
    assert max(len(own) for own in pages.values()) == 1


def test_each_query_has_the_best_passages_of_some_documents(
    manual: Manual, manual_scale: RerankingScale
) -> None:
    for found in (manual.labelled, manual.validation, manual.test):
        assert len(found.queries) == len(found.rankings) == len(found.relevance) > 0
        for ranking in found.rankings:
            documents = [document_of(name) for name, _ in ranking]
            assert 0 < len(documents) == len(set(documents)) <= manual_scale.depth
            assert all(name in found.texts for name, _ in ranking)
            scores = [score for _, score in ranking]
            assert scores == sorted(scores, reverse=True)
    assert len(manual.validation.queries) == manual_scale.asked
    assert len(manual.test.queries) == manual_scale.questions
    assert max(len(ranking) for ranking in manual.test.rankings) == manual_scale.depth


def test_headings_ask_for_sections_of_their_side_that_do_not_show_them(manual: Manual) -> None:
    seen = 0
    for side, found in (("train", manual.labelled), ("validation", manual.validation)):
        for query, ranking, judged in zip(
            found.queries, found.rankings, found.relevance, strict=True
        ):
            assert len(judged) == 1
            for text in [found.texts[name] for name, _ in ranking if document_of(name) in judged]:
                assert text in manual.passages[side]
                assert comparable(query) not in comparable(text)
                seen += 1
    assert seen > 3
    assert not set(manual.labelled.queries) & set(manual.validation.queries)


def test_answers_and_others_alike_begin_with_headings(
    manual: Manual, small_manual: HumanQueries
) -> None:
    by_id = {document.id: document for document in small_manual.documents}
    rows = 0
    for found in (manual.labelled, manual.validation):
        asking = {name for judged in found.relevance for name in judged}
        answers = {name for name in found.texts if document_of(name) in asking}
        for name, text in found.texts.items():
            document = by_id[document_of(name)]
            heading, _, below = text.partition("\n")
            above = document.context if name in answers else document.header()
            # A long path is cut.
            assert heading and above.startswith(heading), name
            assert below.strip(), name
        for row in found.candidates(3):
            rows += 1
            texts = (row.positive, *row.negatives)
            assert all(text.partition("\n")[0] in everything(small_manual) for text in texts)
    assert rows > 5


def test_a_heading_that_stands_elsewhere_with_sections_below_it_is_not_asked(
    small_manual: HumanQueries, manual_scale: RerankingScale, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twins that no task would ask about, and that show the heading all the same.
    named = [each for each in small_manual.documents if heading_query(each)]
    doubled = named[::2]
    twins = [
        twin
        for number, each in enumerate(doubled)
        for twin in (
            replace(each, id=f"twin {number}", text=f"No. {number}.", group="twins"),
            Document(f"below {number}", "More.", "Below", each.header(), group="twins"),
        )
    ]
    more = replace(small_manual, documents=small_manual.documents + twins)
    monkeypatch.setattr(reranking_study, "python_documentation", lambda: more)
    found = read_manual(replace(manual_scale, asked=1_000, labelled=1_000))
    asked = {query for side in (found.labelled, found.validation) for query in side.queries}
    assert len(asked) > 20
    assert asked.isdisjoint(heading_query(each) for each in doubled)


def everything(manual: HumanQueries) -> str:
    return "\n".join(document.header() for document in manual.documents)


def test_no_heading_that_another_section_shows_is_asked(
    manual: Manual, small_manual: HumanQueries
) -> None:
    for found in (manual.labelled, manual.validation):
        for query, judged in zip(found.queries, found.relevance, strict=True):
            (answer,) = judged
            for document in small_manual.documents:
                if document.id != answer:
                    assert heading_query(document) != query
                    below = document.context.split(" > ")
                    own = next(d for d in small_manual.documents if d.id == answer)
                    assert document.group != own.group or own.title not in below


def test_the_faq_is_asked_its_questions(manual: Manual, small_manual: HumanQueries) -> None:
    for query, judged in zip(manual.test.queries, manual.test.relevance, strict=True):
        names = [name for name, text in small_manual.queries.items() if text == query]
        assert small_manual.relevance[names[0]] == judged
    hits = [
        any(document_of(name) in judged for name, _ in ranking)
        for ranking, judged in zip(manual.test.rankings, manual.test.relevance, strict=True)
    ]
    assert np.mean(hits) > 0.4


@pytest.fixture
def stage() -> FirstStage:
    """Two queries; no answer of the second is found."""
    return FirstStage(
        ["one", "two"],
        [[("a\n0", 9.0), ("b\n3", 5.0), ("c\n1", 4.0)], [("b\n2", 2.0), ("c\n0", 1.0)]],
        {"a\n0": "A0", "b\n3": "B3", "c\n1": "C1", "b\n2": "B2", "c\n0": "C0"},
        [{"c": 1}, {"d": 1}],
    )


def test_a_scorers_order_is_scored_alone_and_with_the_first_stage(stage: FirstStage) -> None:
    # Standard scores, of BM25: 1.39, -0.46, -0.93; of the scorer, -0.27, -1.07, 1.34.
    values = {"A0": 1.0, "B3": 0.0, "C1": 3.0, "B2": 0.0, "C0": 1.0}

    def score(pairs: list[tuple[str, str]]) -> np.ndarray:
        return np.array([values[text] for _, text in pairs])

    alone, both = reranked(stage, score, 3)
    assert alone.tolist() == [1.0, 0.0]
    assert both.tolist() == [0.5, 0.0]
    values["C1"] = 0.5
    assert reranked(stage, score, 3)[0].tolist() == [0.5, 0.0]


def test_what_finds_all_equally_good_keeps_the_first_stages_figures(stage: FirstStage) -> None:
    model = unchanged(ANY_RUN)
    rows = _pairs(5)
    figures = measure(cast("Any", Measured()), model, Held(stage, rows))
    assert np.asarray(figures["pairwise accuracy"]).tolist() == [0.5] * 5
    for name in set(figures) - {"pairwise accuracy"}:
        assert np.asarray(figures[name]).tolist() == pytest.approx([1 / 3, 0.0]), name


def test_figures_tell_before_from_after_the_labels(stage: FirstStage) -> None:
    def right(pairs: list[tuple[str, str]]) -> np.ndarray:
        return np.array([float(text == "C1" or query == "better") for query, text in pairs])

    def wrong(pairs: list[tuple[str, str]]) -> np.ndarray:
        return -right(pairs)

    held = Held(stage, _pairs(3))
    figures = measure(cast("Any", Measured()), Rerankers(right, wrong), held)
    assert np.asarray(figures["mrr@10, zero-shot"]).tolist() == [1.0, 0.0]
    assert np.asarray(figures["mrr@10, fine-tuned"]).tolist() == pytest.approx([1 / 3, 0.0])
    assert np.asarray(figures["pairwise accuracy"]).tolist() == [1.0] * 3
    figures = measure(cast("Any", Measured()), Rerankers(wrong, right), held)
    assert np.asarray(figures["pairwise accuracy"]).tolist() == [0.0] * 3


def _pairs(count: int) -> list[PreferenceRow]:
    return [PreferenceRow("better", "worse", "A text") for _ in range(count)]


@pytest.fixture(scope="module")
def scale(tiny_folder: Path) -> PropScale:
    return PropScale(
        model=str(tiny_folder),
        steps={"pretraining": 2, "fine-tuning": 2},
        precision="float32",
        passages=40,
        sets=2,
        held=30,
        asked=5,
        questions=8,
        labelled=5,
        negatives=2,
        batch=4,
        lists=2,
        passage_tokens=40,
        tokens=64,
        depth=6,
    )


@pytest.fixture(scope="module")
def splits(small_manual: HumanQueries, scale: PropScale) -> Splits[Training, Held]:
    return data(scale)


def make_run(scale: PropScale, splits: Any, folder: Path, seed: int = 0) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation,
        seed=seed, rate=1e-3, folder=folder / "own", shared=folder,
    )  # fmt: skip


def test_the_better_set_is_likelier_under_its_passage_and_no_longer(
    scale: PropScale, splits: Splits[Training, Held]
) -> None:
    passages = read_manual(scale).passages
    model = DirichletLM.fit(passages["train"])
    for side, rows in (
        ("train", splits.train.pairs),
        ("validation", splits.validation.pairs),
        ("test", splits.test.pairs),
    ):
        assert {row.document for row in rows} <= set(passages[side])
        for row in rows:
            better, worse = row.better.split(" "), row.worse.split(" ")
            assert len(better) == len(worse) > 0
            assert model.logprob(better, row.document) > model.logprob(worse, row.document)
    assert 60 < len(splits.train.pairs) <= 80
    assert len({row.document for row in splits.train.pairs}) > 30
    assert 20 < len(splits.test.pairs) == len({row.document for row in splits.test.pairs}) <= 30
    assert 0 < len(splits.train.headings) <= 5
    assert max(len(row.negatives) for row in splits.train.headings) == 2


def test_the_data_is_the_same_every_time_and_how_much_trains_does_not_change_the_rest(
    scale: PropScale, splits: Splits[Training, Held]
) -> None:
    other = data(replace(scale, passages=None, sets=1))
    assert fingerprint(data(scale)) == fingerprint(splits)
    assert len(other.train.pairs) > len(splits.train.pairs)
    assert fingerprint([other.validation, other.test]) == fingerprint(
        [splits.validation, splits.test]
    )
    assert splits.validation.pairs != splits.test.pairs


def test_pretrained_arms_differ_in_the_objective_alone(
    scale: PropScale,
    splits: Splits[Training, Held],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[tuple[str, Any, Any, Any, dict[str, torch.Tensor]]] = []

    def fit(_: Any, stage: str, learner: Any, rows: Any, order: Any) -> None:
        state = {name: value.clone() for name, value in learner.encoder.state_dict().items()}
        fitted.append((stage, learner, rows, order, state))
        assert len(order) == scale.steps[stage]

    monkeypatch.setattr(Run, "fit", fit)
    for name in ("mlm", "rop"):
        system.arms[name].make(make_run(scale, splits, tmp_path))
    system.arms["rop"].make(make_run(scale, splits, tmp_path, seed=1))
    mlm, mlm_tuned, rop, rop_tuned, other, _ = fitted
    for one, same in ((mlm, rop), (mlm_tuned, rop_tuned)):
        assert one[0] == same[0]
        assert one[2] is same[2]
        assert one[3] == same[3]
        assert all(torch.equal(one[4][key], same[4][key]) for key in one[4])
    assert other[3] != rop[3]
    assert mlm[0] == "pretraining"
    assert isinstance(mlm_tuned[1], ListwiseRanking)
    assert mlm[1].objective is None
    assert rop[1].objective is not None
    assert (mlm[1].tokens, mlm_tuned[1].tokens) == (64, 64)
    for learner in (mlm[1], rop[1]):
        assert isinstance(learner, PairwiseRanking)
        embeddings = learner.encoder.model.get_input_embeddings()
        assert learner.head.decoder.weight is embeddings.weight
    # A passage meets itself in no batch.
    for batch in rop[3]:
        assert len({splits.train.pairs[row].document for row in batch}) == len(batch) == 4


def test_the_ranking_head_learns_from_word_sets_and_labels(
    scale: PropScale, splits: Splits[Training, Held], tmp_path: Path
) -> None:
    pairs = [(row.better, row.document) for row in splits.test.pairs]
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in ("mlm", "rop"):
        run = make_run(scale, splits, tmp_path / name)
        fresh = CrossEncoder.from_encoder(run.encoder(), run.seed)
        model = system.arms[name].make(run)
        assert run.steps == scale.steps
        assert run.rows == {"pretraining": 8, "fine-tuning": 4}
        zero_shot, tuned = (part.func.__self__ for part in (model.zero_shot, model.tuned))
        head, before, after = (each.model.classifier.weight for each in (fresh, zero_shot, tuned))
        assert torch.equal(head, before) is (name == "mlm")
        assert not torch.equal(before, after)
        words = (
            each.model.bert.encoder.layer[0].output.dense.weight for each in (fresh, zero_shot)
        )
        assert not torch.equal(*words)
        scores[name] = model.zero_shot(pairs), model.tuned(pairs)
        figures = system.measure(run, model, splits.test)
        assert {np.asarray(own).shape for own in figures.values()} == {(8,), (len(pairs),)}
    assert not np.array_equal(scores["mlm"][0], scores["rop"][0])
    assert not np.array_equal(*scores["rop"])


def test_the_gates_are_those_that_were_set_beforehand() -> None:
    decide = [gate for gate in system.gates if not gate.report_only]
    assert [(gate.metric, gate.at_least, gate.versus) for gate in decide] == [
        ("mrr@10, zero-shot", 0.0, "mlm"),
        ("pairwise accuracy", 0.65, None),
    ]
    assert (system.method, system.baseline) == ("rop", "mlm")
