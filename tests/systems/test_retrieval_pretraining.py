from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isometry.core.errors import InputError
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.python_documentation import python_documentation
from isometry.corpora.pairs.queries import sentence_queries
from isometry.corpora.pairs.structure import BodyFirst, InverseCloze, LinkPrediction
from isometry.corpora.pairs.tasks import group_pages
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.jobs.ranking import Rankings, fused_rankings, tune_fusion
from isometry.learners.learner import Learner
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.systems import pages_study
from isometry.systems.pages_study import (
    Pages,
    PagesScale,
    Rankers,
    by_words,
    measure,
    structure_rows,
    words,
)
from isometry.systems.rankers import Asked, Library
from isometry.systems.retrieval.retrieval_pretraining import MIX, system
from isometry.systems.run import Run
from isometry.systems.system import Splits

SCALE = PagesScale(
    model="packaged:minilm", steps={"pretraining": 3, "fine-tuning": 2}, seeds=1, layers=1,
    batch=8, rounds=2, labelled=20,
)  # fmt: skip
TASKS = {"ict": InverseCloze(), "bfs": BodyFirst(), "wlp": LinkPrediction(), "mix": MIX}
SLICE = (
    "faq/",
    "tutorial/",
    "howto/a",
    "howto/f",
    "howto/l",
    "library/c",
    "library/h",
    "library/j",
)


@pytest.fixture(scope="module")
def corpus() -> HumanQueries:
    """The FAQ and some other pages of Python's manual."""
    whole = python_documentation()
    documents = [document for document in whole.documents if document.group.startswith(SLICE)]
    return HumanQueries("slice", documents, whole.queries, whole.relevance, "en", "")


@pytest.fixture(scope="module")
def splits(corpus: HumanQueries) -> Splits[Pages, Asked]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages_study, "python_documentation", lambda: corpus)
        return system.data(SCALE)


def comparable(text: str) -> str:
    return " ".join(text.split())


def test_nothing_of_the_faq_is_trained_on(
    corpus: HumanQueries, splits: Splits[Pages, Asked]
) -> None:
    answers = [comparable(d.body()) for d in corpus.documents if d.group.startswith("faq/")]
    assert len(answers) > 150 and len(splits.train.labelled) == SCALE.labelled
    rows = splits.train.labelled + [
        row
        for task in TASKS.values()
        for row in structure_rows(splits.train.documents, task, 1, seed=0)
    ]
    assert not any(str(row.key).startswith("faq/") for row in rows)
    assert not any(document.group.startswith("faq/") for document in splits.train.documents)
    trained = {comparable(text) for row in rows for text in (row.query, row.document)}
    trained |= {comparable(document.body()) for document in splits.train.documents}
    assert trained.isdisjoint(answers) and trained.isdisjoint(corpus.queries.values())


def test_whole_pages_are_held_out_and_asked_for_by_headings_that_they_do_not_show(
    corpus: HumanQueries, splits: Splits[Pages, Asked]
) -> None:
    by_id = {document.id: document for document in corpus.documents}
    held = splits.validation
    pages = {by_id[name].group for name in held.library.ids}
    trained = {document.group for document in splits.train.documents}
    assert pages and pages.isdisjoint(trained)
    assert pages | trained == {d.group for d in corpus.documents if not d.group.startswith("faq/")}
    assert 0.03 < len(held.library.ids) / len(corpus.documents) < 0.25
    assert pages.isdisjoint(by_id[str(row.key)].group for row in splits.train.labelled)
    assert len(held.queries) == len(held.relevance) > 10
    for query, relevant in zip(held.queries, held.relevance, strict=True):
        (answer,) = relevant
        document = by_id[held.library.ids[answer]]
        assert document.title in query
        assert held.library.texts[answer] == ("", document.body())


def test_labels_are_headings_and_the_text_below_them_alone(
    corpus: HumanQueries, splits: Splits[Pages, Asked]
) -> None:
    by_id = {document.id: document for document in corpus.documents}
    assert len({row.key for row in splits.train.labelled}) == SCALE.labelled
    for row in splits.train.labelled:
        document = by_id[str(row.key)]
        assert document.title in row.query and row.document == document.body()


def test_every_question_is_asked_of_every_section(
    corpus: HumanQueries, splits: Splits[Pages, Asked]
) -> None:
    test = splits.test
    assert test.queries == list(corpus.queries.values()) and len(test.queries) == 174
    assert test.library.ids == [document.id for document in corpus.documents]
    named = [{test.library.ids[row] for row in relevant} for relevant in test.relevance]
    assert named == [set(corpus.relevance[name]) for name in corpus.queries]
    sections = {d.id: (d.header(), d.body()) for d in corpus.documents}
    assert test.library.texts == list(sections.values())


def test_fewer_queries_search_their_answers_and_few_others(
    corpus: HumanQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_study, "python_documentation", lambda: corpus)
    test = system.data(replace(SCALE, asked=5, others=7)).test
    assert test.queries == list(corpus.queries.values())[:5]
    named = [{test.library.ids[row] for row in relevant} for relevant in test.relevance]
    assert named == list(map(set, list(corpus.relevance.values())[:5]))
    assert len(test.library.ids) == 7 + len(set().union(*named))


def test_the_page_that_links_answers_for_the_page_that_is_linked_to(
    splits: Splits[Pages, Asked],
) -> None:
    pages = group_pages(splits.train.documents)
    group = {document.id: document.group for document in splits.train.documents}
    asking: dict[str, set[str]] = {}
    for page, sections in pages.items():
        for query in sentence_queries(sections[0]):
            asking.setdefault(query, set()).add(page)
    links = {
        page: {link for document in sections for link in document.links}
        for page, sections in pages.items()
    }
    one_way = 0
    rows = structure_rows(splits.train.documents, TASKS["wlp"], 2, seed=0)
    assert len(rows) > 25
    for row in rows:
        source = group[str(row.key)]
        targets = asking[row.query] & links[source] - {source}
        assert targets, row.query
        one_way += all(source not in links[target] for target in targets)
    assert one_way > 5


def test_a_page_first_asks_for_another_section_of_itself(splits: Splits[Pages, Asked]) -> None:
    pages = group_pages(splits.train.documents)
    group = {document.id: document.group for document in splits.train.documents}
    rows = structure_rows(splits.train.documents, TASKS["bfs"], 1, seed=0)
    assert len(rows) > 40
    for row in rows:
        first, *others = pages[group[str(row.key)]]
        assert row.query in sentence_queries(first)
        assert row.key in {document.id for document in others}


def test_only_sections_that_may_answer_too_are_no_negatives(
    tiny_original: TextEncoder, splits: Splits[Pages, Asked]
) -> None:
    group = {document.id: document.group for document in splits.train.documents}
    page = max(group.values(), key=list(group.values()).count)

    def some(task: str) -> PairRow:
        rows = structure_rows(splits.train.documents, TASKS[task], 1, seed=0)
        return next(row for row in rows if group[str(row.key)] == page)

    cloze, first = some("ict"), some("bfs")
    elsewhere = next(
        row
        for row in structure_rows(splits.train.documents, TASKS["wlp"], 1, seed=0)
        if group[str(row.key)] != page
    )
    learner = TwoTowers(tiny_original, InfoNCE(), query_tokens=8, document_tokens=8)
    cloze = replace(cloze, key=next(k for k in group if group[k] == page and k != first.key))
    same = learner.collate([cloze, first, elsewhere])["same"].tolist()
    assert same == [[True, False, False], [True, True, False], [False, False, True]]


def test_the_page_that_asks_for_another_answers_too(
    tiny_original: TextEncoder, splits: Splits[Pages, Asked]
) -> None:
    pages = group_pages(splits.train.documents)
    group = {document.id: document.group for document in splits.train.documents}
    rows = structure_rows(splits.train.documents, TASKS["wlp"], 1, seed=0)
    learner = TwoTowers(tiny_original, InfoNCE(), query_tokens=8, document_tokens=8)
    for row in rows[:20]:
        asking = [page for page in pages if row.query in sentence_queries(pages[page][0])]
        own = [replace(rows[0], key=each.id) for page in asking for each in pages[page]]
        others = [replace(rows[0], key=name) for name in group if group[name] not in asking]
        others = [each for each in others if group[str(each.key)] != group[str(row.key)]]
        same = learner.collate([row, *own[:3], others[0]])["same"][0]
        assert same.tolist() == [True] * (1 + len(own[:3])) + [False]


def test_no_section_of_a_held_out_page_is_nearly_one_that_trains(
    corpus: HumanQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each section once more, on a page of its own.
    few = [document for document in corpus.documents if document.group.startswith("tutorial/")]
    copies = [
        replace(each, id=f"copy {each.id}", group=f"copy/{each.group}", text=f"{each.text} Indeed.")
        for each in few
    ]
    doubled = replace(corpus, documents=corpus.documents + copies)
    monkeypatch.setattr(pages_study, "python_documentation", lambda: doubled)
    found = system.data(SCALE)
    held, trained = (
        {name.removeprefix("copy ") for name in side}
        for side in (
            found.validation.library.ids,
            (document.id for document in found.train.documents),
        )
    )
    assert held and held.isdisjoint(trained)


def test_each_round_draws_other_sentences_and_a_seed_repeats_them(
    splits: Splits[Pages, Asked],
) -> None:
    documents, task = splits.train.documents, InverseCloze(keep=0.0)
    rows = structure_rows(documents, task, 2, seed=0)
    assert rows == structure_rows(documents, task, 2, seed=0)
    assert rows != structure_rows(documents, task, 2, seed=1)
    half = len(rows) // 2
    pairs = list(zip(rows[:half], rows[half:], strict=True))
    assert all(one.key == other.key for one, other in pairs)
    assert sum(one.query != other.query for one, other in pairs) > half / 2
    bodies = {document.id: document for document in documents}
    for row in rows:
        document = bodies[str(row.key)]
        assert row.document.startswith(f"{document.header()}\n")
        assert comparable(row.query) not in comparable(row.document)
        assert comparable(row.query) in comparable(document.body())


def test_the_mix_has_a_third_of_each_task(splits: Splits[Pages, Asked]) -> None:
    rows = structure_rows(splits.train.documents, MIX, 2, seed=0)
    share = sum(not row.answers for row in rows) / len(rows)
    assert len(rows) > 80 and share == pytest.approx(1 / 3, abs=0.1)
    pages = group_pages(splits.train.documents)
    tasks = Counter(pair.task for pair in MIX.pairs(pages, random.Random(0)))
    assert set(tasks) == {"inverse_cloze", "body_first", "link_prediction"}
    total = sum(tasks.values())
    assert all(count / total == pytest.approx(1 / 3, abs=0.12) for count in tasks.values())


class Recorded(Run[Any, Any, Any]):
    """A run that notes what it would train."""

    def __init__(
        self, splits: Splits[Pages, Asked], seed: int, folder: Path, pretrained: TextEncoder
    ) -> None:
        super().__init__(
            SCALE, splits.train, splits.validation,
            seed=seed, rate=1e-3, folder=folder, shared=folder,
        )  # fmt: skip
        self.start = pretrained
        self.fits: dict[str, tuple[str, set[str], list[list[Any]]]] = {}
        self.rates: dict[str, float] = {}

    def encoder(self) -> TextEncoder:
        return copy.deepcopy(self.start)

    def fit(
        self,
        stage: str,
        learner: Learner,
        rows: Sequence[Any],
        order: Sequence[Sequence[int]],
        *,
        warmup: float = 0.1,
    ) -> None:
        encoder: Any = learner.encoder
        trained = {name for name, part in encoder.named_parameters() if part.requires_grad}
        batches = [[rows[row] for row in batch] for batch in order]
        self.rates[stage] = self.rate
        self.fits[stage] = (encoder.fingerprint(), trained, batches)
        with torch.no_grad():
            for part in encoder.parameters():
                if part.requires_grad:
                    part.add_(0.01 * torch.randn(part.shape, generator=torch.Generator()))


@pytest.fixture(scope="module")
def made(
    splits: Splits[Pages, Asked], minilm: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], tuple[Recorded, Rankers]]:
    found: dict[tuple[str, int], tuple[Recorded, Rankers]] = {}
    for name, seed in [*((name, 0) for name in system.arms if name != "words"), ("mix", 1)]:
        run = Recorded(splits, seed, tmp_path_factory.mktemp("run"), minilm)
        found[name, seed] = run, system.arms[name].make(run)
    return found


@pytest.fixture(scope="module")
def runs(
    made: dict[tuple[str, int], tuple[Recorded, Rankers]],
) -> dict[tuple[str, int], Recorded]:
    return {key: run for key, (run, _) in made.items()}


def test_the_ranker_without_labels_stays_as_it_was_pretrained(
    splits: Splits[Pages, Asked], made: dict[tuple[str, int], tuple[Recorded, Rankers]]
) -> None:
    library = splits.validation.library
    few = Library(library.model, 1, library.ids[:6], library.texts[:6])
    asked = Asked(few, splits.validation.queries[:3], [])
    for name in ("none", "mix"):
        _, rankers = made[name, 0]
        unlabelled, labelled = (ranker(asked).scores[:, :6] for ranker in rankers)
        assert np.abs(unlabelled - labelled).max() > 1e-3, name


def test_every_arm_gets_the_same_start_steps_rows_and_labels(
    runs: dict[tuple[str, int], Recorded],
) -> None:
    starts: dict[str, str] = {}
    for (name, seed), run in runs.items():
        assert tuple(run.fits) == system.arms[name].stages
        for stage, (_, trained, batches) in run.fits.items():
            assert [len(batch) for batch in batches] == [SCALE.batch] * SCALE.steps[stage]
            assert trained and not any("embeddings" in weight for weight in trained), name
        starts[f"{name} {seed}"] = next(iter(run.fits.values()))[0]
        if seed == 0:
            assert run.fits["fine-tuning"][2] == runs["none", 0].fits["fine-tuning"][2]
    transformers = {start for name, start in starts.items() if name not in ("bow-mlp 0", "mix 1")}
    assert len(transformers) == 1 and len(set(starts.values())) == 3
    mix, bag = (runs[name, 0].fits["pretraining"][2] for name in ("mix", "bow-mlp"))
    assert mix == bag != runs["mix", 1].fits["pretraining"][2]


def test_labels_have_a_rate_of_their_own_after_pretraining(
    runs: dict[tuple[str, int], Recorded],
) -> None:
    for (name, _), run in runs.items():
        labels = 1e-3 if name == "none" else SCALE.label_rate
        rates = {"pretraining": 1e-3, "fine-tuning": labels}
        assert run.rates == {stage: rates[stage] for stage in system.arms[name].stages}
        assert run.rate == 1e-3
    assert SCALE.label_rate != 1e-3


def test_arms_are_pretrained_on_what_they_say(
    splits: Splits[Pages, Asked], runs: dict[tuple[str, int], Recorded]
) -> None:
    for name, task in TASKS.items():
        made = structure_rows(splits.train.documents, task, SCALE.rounds, seed=0)
        batches = runs[name, 0].fits["pretraining"][2]
        assert all(row in made for batch in batches for row in batch), name
        assert all(len({row.key for row in batch}) == SCALE.batch for batch in batches), name
    shown = {f"{each.header()}\n{each.body()}" for each in splits.train.documents}
    masked = runs["mlm", 0].fits["pretraining"][2]
    assert {text for batch in masked for text in batch} <= shown


def test_words_alone_are_bm25_in_every_figure(
    splits: Splits[Pages, Asked], runs: dict[tuple[str, int], Recorded]
) -> None:
    run, test = runs["none", 0], splits.test
    figures = measure(run, words(run), test)
    own = score_rankings(by_words(test).order, test.relevance, ("recall@10", "mrr@10"))
    assert set(figures) == {
        f"{metric}{how}" for metric in own for how in ("", ", with words", ", no labels")
    }
    for name, scores in figures.items():
        np.testing.assert_allclose(scores, own[name.partition(",")[0]], err_msg=name)
    assert 0.4 < own["recall@10"].mean() < 1


def test_each_ranker_gives_its_figure_and_validation_weighs_the_words(
    splits: Splits[Pages, Asked], runs: dict[tuple[str, int], Recorded]
) -> None:
    def right(asked: Asked) -> Rankings:
        order = np.full((len(asked.queries), 100), -1)
        order[:, 0] = [next(iter(relevant)) for relevant in asked.relevance]
        return Rankings(order, (order >= 0).astype(float))

    def only_in_validation(asked: Asked) -> Rankings:
        return right(asked) if asked is splits.validation else wrong(asked)

    def wrong(asked: Asked) -> Rankings:
        order = np.tile(np.arange(100), (len(asked.queries), 1))
        return Rankings(order, np.linspace(1, 0, 100) * np.ones((len(order), 1)))

    run, test = runs["none", 0], splits.test
    figures = measure(run, Rankers(right, only_in_validation), test)
    assert np.mean(figures["mrr@10, no labels"]) == 1
    assert np.mean(figures["mrr@10"]) < 0.1
    weights = [
        tune_fusion(
            asked.library.ids, only_in_validation(asked), by_words(asked), asked.relevance,
            given=True,
        )[0]
        for asked in (splits.validation, test)
    ]  # fmt: skip
    assert weights[0] > 0.5 > weights[1]
    fused = fused_rankings(test.library.ids, wrong(test), by_words(test), weights[0])
    np.testing.assert_array_equal(
        figures["recall@10, with words"],
        score_rankings(fused.order, test.relevance, ("recall@10",))["recall@10"],
    )


def test_pages_without_links_are_refused(splits: Splits[Pages, Asked]) -> None:
    bare = [replace(document, links=()) for document in splits.train.documents]
    with pytest.raises(InputError, match="No page links to another"):
        structure_rows(bare, LinkPrediction(), 1, seed=0)
