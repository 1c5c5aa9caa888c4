from __future__ import annotations

import numpy as np
import pytest

from isometry.evaluation.neighbor_labels import neighbor_labels


def unit(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_scikit_learn_says_the_same_with_each_item_left_out() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    vectors = unit(80, 4)
    labels = [int(row[0] > 0) for row in vectors + 0.4 * unit(80, 4, 1)]
    ours = neighbor_labels(vectors, labels, 5)
    for row in range(80):
        kept = np.arange(80) != row
        model = KNeighborsClassifier(5).fit(vectors[kept], np.array(labels)[kept])
        assert ours[row] == (model.predict(vectors[row : row + 1])[0] == labels[row]), row
    assert 0.5 < ours.mean() < 1


def test_an_item_is_no_neighbour_of_its_own() -> None:
    vectors = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    assert neighbor_labels(vectors, list("aabbcc"), 1).tolist() == [1] * 6
    # Its twin has the other label: its own would have said otherwise.
    assert neighbor_labels(vectors, list("abcdef"), 1).tolist() == [0] * 6


def test_of_equally_frequent_labels_the_nearest_counts() -> None:
    angles = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert neighbor_labels(vectors, ["a", "a", "b", "b", "c"], 4)[0] == 0
    assert neighbor_labels(vectors, ["b", "a", "b", "a", "b"], 2)[0] == 0
    assert neighbor_labels(vectors, ["a", "a", "b", "a", "b"], 2)[0] == 1


def test_what_does_not_fit_raises() -> None:
    for vectors, labels in ((unit(3, 2), ["a"]), (unit(1, 2), ["a"])):
        with pytest.raises(ValueError, match="vectors and"):
            neighbor_labels(vectors, labels)


def test_five_neighbours_are_asked_and_no_more() -> None:
    angles = np.arange(7) / 10
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Of the first: three of the five nearest say "a"; of the three nearest two say "b".
    assert neighbor_labels(vectors, list("abbaaac"))[0] == 1


def test_of_copies_without_the_item_among_them_only_k_are_asked() -> None:
    # Equal scores: an item's own copy may not be among the k + 1 that are found.
    vectors = np.ones((6, 2))
    assert neighbor_labels(vectors, list("abbaaa"), 2)[5] == 1
