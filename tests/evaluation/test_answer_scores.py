from __future__ import annotations

import numpy as np
import pytest

from isometry.evaluation.answer_scores import answer_scores


def test_words_are_compared_as_squad_does() -> None:
    scores = answer_scores(
        ["The  Cat!", "a black cat sat", "dog", "cat cat", "cat cat"],
        [["cat"], ["black cat"], ["cat"], ["cat dog"], ["cat or cat"]],
    )
    assert scores["exact"].tolist() == [1, 0, 0, 0, 0]
    # 2 of 3 words are right, of 2: 2 * 2 / 5; one of two of each: 2 * 1 / 4; a word counts twice.
    np.testing.assert_allclose(scores["f1"], [1, 0.8, 0, 0.5, 0.8])


def test_no_answer_is_right_only_where_there_is_none() -> None:
    scores = answer_scores(["", "x", "", "the"], [[], [], ["x"], []])
    assert scores["exact"].tolist() == scores["f1"].tolist() == [1, 0, 0, 1]
    # Saying nothing everywhere scores the share of what has no answer.
    nothing = answer_scores([""] * 5, [["x"], [], [], ["y"], []])
    assert nothing["f1"].mean() == 0.6


def test_the_best_right_answer_counts() -> None:
    assert answer_scores(["big dog"], [["cat", "a dog"]])["f1"][0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="zip"):
        answer_scores(["x"], [])
    assert answer_scores([], [])["f1"].tolist() == []


def test_articles_are_whole_words_and_punctuation_is_taken_out_first() -> None:
    found = ["an owl", "in Cuba", "theory", "The U.S.A.", "co-op", "'a' cat"]
    right = [["owl"], ["in Cub"], ["ory"], ["usa"], ["coop"], ["cat"]]
    assert answer_scores(found, right)["exact"].tolist() == [1, 0, 0, 1, 1, 1]
