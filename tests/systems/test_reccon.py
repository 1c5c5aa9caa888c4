from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.pairs.causes import CauseQuestion
from isometry.systems import causes_study
from isometry.systems.causes_study import (
    Causes,
    CauseScale,
    Questions,
    data,
    measure,
    pairs_of,
    untrained,
    vectors_of,
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
        target = vectors_of(run, [question.target])[0]
        values += (vectors_of(run, question.candidates) @ target).tolist()
        right += [place in question.causes for place in range(len(question.candidates))]
    best = max(f1_score(right, np.array(values) >= value) for value in values)
    chosen = f1_score(right, np.array(values) >= model.threshold)
    assert chosen == pytest.approx(best) and best > 0


def test_a_perfect_scorer_has_perfect_figures_and_a_reversed_one_none(
    scale: CauseScale, splits: Splits[Questions, Questions], tmp_path: Path
) -> None:
    run = run_of(scale, splits, tmp_path)
    causes = {words for question in splits.test for _, words in question.spans}
    known = vectors_of(run, sorted(causes))

    def score(first: Any, second: Any, far: Any) -> np.ndarray:
        return (second @ known.T > 1 - 1e-5).any(axis=1).astype(float)

    found = measure(run, Causes(score, 0.5), splits.test)
    for name in ("f1 of causes", "cause found first", "f1 of words", "exact words"):
        assert np.mean(found[name]) == 1, name
    # Each passage is asked again without its cause.
    assert len(np.atleast_1d(found["exact words"])) == 2 * len(splits.test)
    wrong = measure(run, Causes(lambda *given: -score(*given), -0.5), splits.test)
    assert np.mean(wrong["f1 of causes"]) == np.mean(wrong["cause found first"]) == 0
    # It names something in every passage, right or wrong.
    assert np.mean(wrong["exact words"]) == 0


def test_who_is_blind_scores_a_candidate_alike_for_all_targets(
    scale: CauseScale, splits: Splits[Questions, Questions], tmp_path: Path
) -> None:
    system: AnySystem = importlib.import_module("isometry.systems.retrieval.reccon").system
    run = run_of(scale, splits, tmp_path)
    assert not any(pair.first.any() for pair in pairs_of(run, splits.train, "own", blind=True))
    assert all(pair.first.any() for pair in pairs_of(run, splits.train, "own"))
    model = system.arms["blind"].make(run)
    vectors = vectors_of(run, ["a mill", "a barn", "the old colour had faded"])
    one, other = (model.score(vectors[[row]], vectors[[2]], [0]) for row in (0, 1))
    assert one == other
    texts = ["the old colour had faded. nobody is there"]
    assert model.extract(texts, vectors[[0]]) == model.extract(texts, vectors[[1]])


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
