from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from isometry.evaluation.probe import draw_examples, probe


def clusters(spread: float) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    labels = [name for name in "abc" for _ in range(20)]
    centers = {name: random.normal(size=8) for name in "abc"}
    vectors = np.stack([centers[name] + spread * random.normal(size=8) for name in labels])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def test_labels_that_lie_apart_are_told_and_others_are_not() -> None:
    vectors, labels = clusters(0.1)
    told = probe(vectors[::2], labels[::2], vectors[1::2], labels[1::2])
    assert told.dtype == bool and told.all()
    turned = labels[20:] + labels[:20]
    assert not probe(vectors[::2], labels[::2], vectors[1::2], turned[1::2]).any()


def test_it_is_the_logistic_regression_of_scikit_learn_with_little_regularisation() -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, labels = clusters(1.0)
    own, asked = slice(0, None, 3), slice(1, None, 3)
    told = {
        strength: probe(
            vectors[own], labels[own], vectors[asked], labels[asked], strength=strength
        ).tolist()
        for strength in (1e-3, 10.0, 1e3)
    }
    for strength, found in told.items():
        model = LogisticRegression(C=strength, max_iter=1_000).fit(vectors[own], labels[own])
        assert found == (model.predict(vectors[asked]) == np.array(labels[asked])).tolist()
    assert told[10.0] != told[1e-3]
    assert probe(vectors[own], labels[own], vectors[asked], labels[asked]).tolist() == told[10.0]


def test_examples_are_as_many_of_each_label_and_all_of_a_rare_one() -> None:
    labels = [*"abacabaabba", "rare"]
    rows = draw_examples(labels, 3, np.random.default_rng(0))
    assert len(set(rows.tolist())) == len(rows)
    assert Counter(labels[row] for row in rows) == {"a": 3, "b": 3, "c": 1, "rare": 1}
    drawn = {
        tuple(draw_examples(labels, 3, np.random.default_rng(seed)).tolist()) for seed in range(5)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize("turn", [1, 5])
def test_examples_do_not_depend_on_which_label_comes_first(turn: int) -> None:
    labels = list("abacabaabba")
    turned = labels[turn:] + labels[:turn]
    both = [draw_examples(own, 2, np.random.default_rng(0)) for own in (labels, turned)]
    named = [[own[row] for row in rows] for own, rows in zip((labels, turned), both, strict=True)]
    assert named[0] == named[1] == ["a", "a", "b", "b", "c"]
