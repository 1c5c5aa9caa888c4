from __future__ import annotations

import importlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.pairs.causes import (
    CausePassage,
    CauseQuestion,
    CauseRow,
    cause_passages,
    cause_rows,
)
from isometry.evaluation.answer_scores import answer_scores
from isometry.learners.causes import SpanExtraction
from isometry.systems import causes_study
from isometry.systems.causes_study import (
    Causes,
    CauseScale,
    Questions,
    data,
    measure,
    nearest,
    untrained,
    vector_pairs,
)
from isometry.systems.run import Run
from isometry.systems.system import AnySystem, Splits

REASONS = [
    ("the {} is locked at night", "nobody is there to watch over it"),
    ("we painted the {} in white", "the old colour had faded in the sun"),
    ("the {} was sold last year", "its owner needed the money at once"),
    ("every {} has a number", "people could not tell them apart before"),
]
THINGS = ("gate", "house", "boat", "bridge", "tower", "garden", "school", "mill", "barn", "shed")


def manual() -> HumanQueries:
    documents = []
    for number, thing in enumerate(THINGS):
        text = " ".join(
            f"There are many more of them here. {effect.format('Nr' + thing).capitalize()} because"
            f" {cause}. You can see it from the road. The {thing} itself is quite old now."
            for effect, cause in REASONS
        )
        documents.append(Document(id=f"d{number}", text=text, group=f"page{number}"))
    return HumanQueries(
        name="manual", documents=documents, queries={}, relevance={}, language="en", about=""
    )


@pytest.fixture
def scale(tiny_folder: Path) -> CauseScale:
    return CauseScale(
        model=str(tiny_folder), steps={"pairs": 2, "spans": 1}, precision="float32", batch=16,
        tokens=64,
    )  # fmt: skip


@pytest.fixture
def splits(scale: CauseScale, monkeypatch: pytest.MonkeyPatch) -> Splits[Questions, Questions]:
    monkeypatch.setattr(causes_study, "python_documentation", manual)
    monkeypatch.setattr(causes_study, "debian_handbook", list)
    return data(scale)


def run_of(scale: CauseScale, splits: Any, folder: Path) -> Run[Any, Any, Any]:
    return Run(
        scale, splits.train, splits.validation, seed=0, rate=1e-3, folder=folder / "run",
        shared=folder,
    )  # fmt: skip


def test_sides_share_no_page(splits: Splits[Questions, Questions]) -> None:
    pages = [{q.group for q in side} for side in (splits.train, splits.validation, splits.test)]
    assert all(pages) and sum(map(len, pages)) == len(set.union(*pages)) == len(THINGS)


def test_the_cosine_with_the_threshold_that_validation_prefers(
    scale: CauseScale, splits: Splits[Questions, Questions], tmp_path: Path
) -> None:
    run = run_of(scale, splits, tmp_path)
    model = untrained(run)
    values, right = [], []
    for question in splits.validation:
        target = run.pretrained.encode([question.target])[0]
        values += (run.pretrained.encode(question.candidates) @ target).tolist()
        right += [place in question.causes for place in range(len(question.candidates))]
    best = max(f1_score(right, np.array(values) >= value) for value in values)
    chosen = f1_score(right, np.array(values) >= model.threshold)
    assert chosen == pytest.approx(best) and best > 0
    # Of words too, where silence is right in half of the passages.
    passages = cause_passages(splits.validation)
    answers = [[words for _, words in passage.answers] for passage in passages]
    by_level = [
        answer_scores(replace(model, words_from=level).words(passages), answers)["f1"].mean()
        for level in [*values, math.inf]
    ]
    reached = answer_scores(model.words(passages), answers)["f1"].mean()
    assert reached == max(by_level) >= 0.5 > min(by_level)


def test_a_perfect_scorer_has_perfect_figures_and_a_reversed_one_none(
    scale: CauseScale, splits: Splits[Questions, Questions], tmp_path: Path
) -> None:
    run = run_of(scale, splits, tmp_path)

    def score(rows: Sequence[CauseRow]) -> np.ndarray:
        return np.array([float(row.is_cause) for row in rows])

    found = measure(run, Causes(score, 0.5), splits.test)
    for name in (
        "f1 of causes", "cause found first", "f1 of words", "exact words", "f1 of no cause",
        "f1 of silence",
    ):  # fmt: skip
        assert np.mean(found[name]) == 1, name
    # Each passage is asked again without its cause.
    assert len(np.atleast_1d(found["exact words"])) == 2 * len(splits.test)
    shares = [1 / len(question.candidates) for question in splits.test]
    assert found["chance"] == pytest.approx(np.mean(shares)) and min(shares) < max(shares)
    assert found["f1 lost to negatives of the same kind"] == 0
    wrong = measure(run, Causes(lambda rows: -score(rows), -0.5), splits.test)
    assert np.mean(wrong["f1 of causes"]) == np.mean(wrong["cause found first"]) == 0
    # It names something in every passage, right or wrong.
    assert np.mean(wrong["exact words"]) == 0
    # Who is always silent is right in half of the passages, and finds nothing.
    silent = measure(run, Causes(score, 0.5, words_from=np.inf), splits.test)
    assert np.mean(silent["f1 of words"]) == 0.5
    assert np.mean(silent["f1 of words, where there are any"]) == 0
    # 2p / (1 + p) for a share p without an answer.
    assert silent["f1 of silence"] == pytest.approx(2 * 0.5 / 1.5)
    assert wrong["f1 of silence"] == wrong["f1 of no cause"] == 0
    rows = cause_rows(splits.test, "own")
    share = 1 - np.mean([row.is_cause for row in rows])
    never = measure(run, Causes(score, 2.0), splits.test)
    assert never["f1 of no cause"] == pytest.approx(2 * share / (1 + share))
    assert np.mean(never["f1 of causes"]) == 0


LABELS = ("joy", "joy", "fear", "fear", "anger", "anger")
TALKS = [
    CauseQuestion(
        f"target {number}", label, tuple(f"{number}{letter}" for letter in "abcde"),
        frozenset({number % 4}), ((number % 4, f"{number}{'abcd'[number % 4]}"),), f"g{number}",
    )
    for number, label in enumerate(LABELS)
]  # fmt: skip


def test_who_takes_all_of_a_kind_for_causes_loses_to_negatives_of_that_kind(
    scale: CauseScale, tmp_path: Path
) -> None:
    def of_the_kind(rows: Sequence[CauseRow]) -> np.ndarray:
        kinds = [LABELS[int(row.candidate[0])] == LABELS[row.question] for row in rows]
        return np.array(kinds, dtype=float)

    run = run_of(scale, Splits([], [], TALKS), tmp_path)
    found = measure(run, Causes(of_the_kind, 0.5), TALKS)
    lost = []
    for seed in range(5):
        f1 = {}
        for kind in ("other", "same label"):
            rows = cause_rows(TALKS, kind, seed)
            f1[kind] = f1_score([row.is_cause for row in rows], of_the_kind(rows) >= 0.5)
        lost.append(f1["other"] - f1["same label"])
    assert found["f1 lost to negatives of the same kind"] == pytest.approx(np.mean(lost))
    assert np.mean(lost) > 0.2 and np.std(lost) > 0.01
    # One cause among five, of which it takes all.
    assert np.mean(found["f1 of causes"]) == pytest.approx(1 / 3)
    assert np.mean(found["cause found first"]) == pytest.approx(found["chance"]) == 0.2


def test_by_distance_alone_the_nearest_are_called(scale: CauseScale, tmp_path: Path) -> None:
    # Of each question the last, and of every second the last but one, too.
    near = [
        CauseQuestion(
            f"target {number}", "joy", tuple(f"{number}{letter}" for letter in "abcd"),
            frozenset({3, 2 + number % 2}), ((3, f"{number}d"),), f"g{number}",
        )
        for number in range(8)
    ]  # fmt: skip
    model = nearest(run_of(scale, Splits([], near, near), tmp_path))
    rows = cause_rows(near, "own")
    assert [row.distance for row in rows[:4]] == [3, 2, 1, 0]
    # "The last" has an F1 of 0.8, "the last two" of 0.86, where ties are not parted.
    called = model.score(rows) >= model.threshold
    assert called.reshape(8, 4).tolist() == [[False, False, True, True]] * 8


def test_distances_have_a_bias_of_their_own_where_they_count(
    scale: CauseScale, splits: Splits[Questions, Questions], tmp_path: Path
) -> None:
    rows = cause_rows(splits.train, "own")
    plain = vector_pairs(run_of(scale, splits, tmp_path), rows)
    assert all(pair.distance is None for pair in plain)
    run = run_of(replace(scale, distances=3), splits, tmp_path)
    pairs = vector_pairs(run, rows)
    size = len(splits.train[0].candidates)
    assert [pair.distance for pair in pairs[:size]] == list(range(size))[::-1]
    reccon: AnySystem = importlib.import_module("isometry.systems.retrieval.reccon").system
    scores = reccon.arms["reccon"].make(run).score(rows)
    assert scores.shape == (len(rows),) and np.isfinite(scores).all()


def test_who_is_blind_scores_a_candidate_alike_for_all_targets(
    scale: CauseScale,
    splits: Splits[Questions, Questions],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system: AnySystem = importlib.import_module("isometry.systems.retrieval.reccon").system
    run = run_of(scale, splits, tmp_path)
    rows = cause_rows(splits.train, "own")
    assert not any(pair.first.any() for pair in vector_pairs(run, rows, blind=True))
    assert all(pair.first.any() for pair in vector_pairs(run, rows))
    asked = [
        CauseRow(0, target, "the old colour had faded", False, 0) for target in ("a mill", "a barn")
    ]
    models = {
        name: system.arms[name].make(run_of(scale, splits, tmp_path / name))
        for name in ("blind", "reccon")
    }
    apart = [abs(np.subtract(*models[name].score(asked))) for name in ("blind", "reccon")]
    assert apart[0] < 1e-6 < 1e-3 < apart[1]
    given: list[np.ndarray] = []
    monkeypatch.setattr(
        SpanExtraction,
        "extract",
        lambda _, rows, **__: given.extend(row.question for row in rows),
    )
    for name in ("blind", "reccon"):
        models[name].extract([CausePassage((row,), ()) for row in asked])
    assert not given[0].any() and not given[1].any()
    assert (given[2] != given[3]).any()


def test_conversations_are_read_where_they_are_named(scale: CauseScale, tmp_path: Path) -> None:
    turns = [
        {"turn": 1, "speaker": "A", "utterance": "We won .", "emotion": "neutral"},
        {
            "turn": 2, "speaker": "B", "utterance": "Great !", "emotion": "happy",
            "expanded emotion cause evidence": [1], "expanded emotion cause span": ["won"],
        },
    ]  # fmt: skip
    talks = CauseScale(model=scale.model, steps=scale.steps, dialogues=str(tmp_path))
    with pytest.raises(InputError, match=r"no file .*dailydialog_train\.json"):
        data(talks)
    for name in ("train", "valid", "test"):
        file = tmp_path / f"dailydialog_{name}.json"
        file.write_text(json.dumps({f"{name}1": [turns]}), encoding="utf-8")
    found = data(talks)
    assert found.test == [
        CauseQuestion(
            "Great !", "happiness", ("We won .", "Great !"), frozenset({0}), ((0, "won"),), "test1"
        )
    ]
    assert found.train[0].group == "train1"
