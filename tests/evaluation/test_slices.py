from __future__ import annotations

import numpy as np
import pytest

from isometry.evaluation.significance import paired_bootstrap
from isometry.evaluation.slices import (
    by_slice,
    lexical_overlap,
    overlap_slice,
    query_length_slice,
)


def test_each_label_has_the_mean_and_interval_of_its_own_items() -> None:
    chance = np.random.default_rng(0)
    labels = ["long", "short", "long", "odd"] + ["short", "long"] * 20
    values = chance.random(len(labels))
    found = by_slice(values, labels, seed=3)
    assert [each.label for each in found] == ["long", "odd", "short"]
    assert [each.count for each in found] == [22, 1, 21]
    assert sum(each.count * each.mean for each in found) == pytest.approx(values.sum())
    for each in found:
        own = values[np.array(labels) == each.label]
        assert each.mean == pytest.approx(own.mean())
        if each.label == "odd":
            assert each.interval is None  # one item has no spread
        else:
            assert each.interval is not None
            assert each.interval == paired_bootstrap(0 * own, own, seed=3)
            assert each.interval.low < each.mean < each.interval.high


def test_confidence_and_samples_are_passed_on() -> None:
    values = np.random.default_rng(1).random(30)
    (wide,), (narrow,) = (by_slice(values, ["a"] * 30, confidence=each) for each in (0.99, 0.5))
    assert wide.interval and narrow.interval
    assert wide.interval.low < narrow.interval.low < narrow.interval.high < wide.interval.high
    (one,) = by_slice(values, ["a"] * 30, samples=1)
    assert one.interval and one.interval.low == one.interval.high


def test_figures_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="2 figures, but 1 labels"):
        by_slice(np.zeros(2), ["a"])
    with pytest.raises(ValueError, match="no figure"):
        by_slice(np.zeros(0), [])
    with pytest.raises(ValueError, match="not finite"):
        by_slice(np.array([0, np.nan]), ["a", "a"])


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("glob", "1 to 3 words"),
        ("How, why  & when?", "1 to 3 words"),
        ("How do I sort", "4 to 9 words"),
        ("one two three four five six seven eight nine", "4 to 9 words"),
        ("one two three four five six seven eight nine ten", "over 9 words"),
        ("?!", "no word"),
        ("", "no word"),
    ],
)
def test_a_query_is_as_long_as_it_has_words(query: str, label: str) -> None:
    assert query_length_slice(query) == label


def test_overlap_is_the_share_of_the_querys_words() -> None:
    document = "The CSV reader reads rows; a row is a list of strings."
    assert lexical_overlap("csv Reader", document) == 1
    # Two of four different words; what stands twice counts once.
    assert lexical_overlap("csv csv csv parse file rows", document) == 0.5
    # Parts of words are no words, and the document's length does not count.
    assert lexical_overlap("read", document) == 0
    assert lexical_overlap("rows", document) == lexical_overlap("rows", 50 * document) == 1
    assert lexical_overlap("STRASSE", "Straße") == 1
    assert lexical_overlap("", document) == lexical_overlap("a", "") == 0


@pytest.mark.parametrize(
    ("shared", "label"),
    [
        *((0, "0 to 24%"), (1, "0 to 24%"), (2, "25 to 49%"), (3, "25 to 49%")),
        *((4, "50 to 74%"), (5, "50 to 74%"), (6, "75 to 100%"), (8, "75 to 100%")),
    ],
)
def test_overlap_is_cut_into_quarters(shared: int, label: str) -> None:
    words = list("abcdefgh")
    assert overlap_slice(" ".join(words), " ".join(words[:shared])) == label


def test_words_of_both_sides_are_folded_and_two_items_have_an_interval() -> None:
    assert lexical_overlap("Straße", "STRASSE") == lexical_overlap("STRASSE", "Straße") == 1
    (found,) = by_slice(np.array([0.2, 0.6]), ["a", "a"])
    assert found.interval and found.interval.low < found.mean < found.interval.high
