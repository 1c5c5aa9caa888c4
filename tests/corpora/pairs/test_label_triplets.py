from __future__ import annotations

from collections import Counter

import pytest

from isometry.core.errors import InputError
from isometry.corpora.pairs.label_triplets import label_triplets

TEXTS = ["dog", "cat", "cow", "oak", "elm", "gold", "dog"]
LABELS = ["animal", "animal", "animal", "tree", "tree", "metal", "animal"]
CLASS = dict(zip(TEXTS, LABELS, strict=True))


def test_examples_are_of_the_class_and_negatives_of_others() -> None:
    triplets = label_triplets(TEXTS, LABELS, negatives=3, seed=1)
    # What is alone in its class has no example.
    assert [each.anchor for each in triplets] == ["dog", "cat", "cow", "oak", "elm", "dog"]
    for each in triplets:
        assert each.positive != each.anchor
        assert CLASS[each.positive] == each.label == CLASS[each.anchor]
        assert len(each.negatives) == 3
        assert tuple(CLASS[text] for text in each.negatives) == each.negative_labels
        assert each.label not in each.negative_labels


def test_names_of_classes_are_drawn_without_repetition() -> None:
    triplets = label_triplets(TEXTS, LABELS, "label", negatives=2)
    assert [each.positive for each in triplets] == LABELS
    for each in triplets:
        assert {each.positive, *each.negatives} == set(LABELS)
        assert each.negative_labels == each.negatives


def test_all_examples_are_drawn_and_the_seed_decides() -> None:
    texts, labels = [f"a{row}" for row in range(40)] + ["b0", "b1"], ["a"] * 40 + ["b"] * 2
    one, same, other = (label_triplets(texts, labels, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    drawn = Counter(each.positive for each in one if each.label == "a")
    assert len(drawn) > 20


def test_classes_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InputError, match="1 classes; it takes 2"):
        label_triplets(["a", "b"], ["x", "x"])
    with pytest.raises(InputError, match="2 classes; it takes 3"):
        label_triplets(["a", "b"], ["x", "y"], "label", negatives=2)
    with pytest.raises(InputError, match="No class has two texts"):
        label_triplets(["a", "b", "a"], ["x", "y", "x"])
    for labels, negatives in ((["x"], 1), (["x", "y"], 0)):
        with pytest.raises(ValueError, match="2 texts"):
            label_triplets(["a", "b"], labels, negatives=negatives)


def test_a_positive_that_is_neither_is_refused() -> None:
    with pytest.raises(ValueError, match="'labels'"):
        label_triplets(["a", "b"], ["x", "y"], "labels")  # type: ignore[arg-type]
