"""Which point is kept where smaller sizes are trained too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from isometry.corpora.documents import Document, views_of
from isometry.jobs.preparation import Questions
from isometry.jobs.proof import (
    _examples,  # pyright: ignore[reportPrivateUsage]
    verdict,
)
from isometry.jobs.ranking import Rankings
from isometry.jobs.selection import choose_point, why_base, why_tuned
from isometry.report.figures import certainty

SCORES = {1.0: np.full(50, 0.6)}


def row(**changed: Any) -> dict[str, Any]:
    """A point that is better at all sizes, and whole no worse."""
    return {
        "alpha": 1.0,
        "ndcg@10": 0.7,
        "low": -0.02,
        "high": 0.03,
        "allowed": True,
        "all_sizes": {"ndcg@10": 0.6, "low": 0.2, "high": 0.3},
    } | changed


def sizes(low: float, high: float) -> dict[str, float]:
    return {"ndcg@10": 0.6, "low": low, "high": high}


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, True),
        # The whole alone would not do: it need not gain, but must not surely lose.
        ({"low": -0.05, "high": 0.0}, True),
        ({"low": -0.05, "high": -0.001}, False),
        # A whole that is better does not make up for sizes that are not.
        ({"low": 0.1, "high": 0.2, "all_sizes": sizes(-0.01, 0.2)}, False),
        ({"all_sizes": sizes(0.0, 0.2)}, False),
        ({"allowed": False}, False),
    ],
)
def test_sizes_must_gain_on_average_and_the_whole_must_not_lose(
    changed: dict[str, Any], kept: bool
) -> None:
    found = choose_point([row(**changed)], SCORES)
    assert (found is not None) == kept


def test_the_best_on_average_over_the_sizes_is_the_one_to_be_near_to() -> None:
    """The point that is better as a whole may be worse at the sizes, which count as much."""
    rows = [row(alpha=0.5, **{"ndcg@10": 0.9}), row(alpha=1.0, **{"ndcg@10": 0.7})]
    noise = np.random.default_rng(0).normal(0, 0.01, 50)
    found = choose_point(rows, {0.5: 0.4 + noise, 1.0: np.full(50, 0.6)})
    assert found is not None and found["alpha"] == 1.0


def test_the_reasons_say_what_was_compared() -> None:
    base = {"alpha": 0.0, "ndcg@10": 0.69, "all_sizes": {"ndcg@10": 0.35}}
    words = why_tuned(row(), base, "2x96, 4x192")
    assert (
        "60.0 points of nDCG@10 on validation, on average over 2x96, 4x192 and the whole" in words
    )
    assert "cut to the same sizes, 35.0" in words
    assert "not surely worse than the base (70.0 and 69.0 points)" in words
    assert words.startswith("100% of the way")
    plain = why_tuned({"alpha": 0.5, "ndcg@10": 0.7}, {"ndcg@10": 0.6}, "")
    assert "50% of the way from the base to the tuned weights reaches 70.0" in plain
    assert "sizes" not in plain and plain.endswith("the base 60.0.")
    several = why_tuned({"alpha": 0.5, "ndcg@10": 0.7}, {"ndcg@10": 0.6}, "", 2)
    assert "the base 60.0; of 2 points it is the one nearest to the base" in several


def test_why_the_base_was_kept_names_the_interval_that_decided() -> None:
    unsure = why_base([row(all_sizes=sizes(-0.01, 0.2), low=0.1, high=0.3)], 80)
    assert "80 validation queries on average over all sizes" in unsure
    assert "[-1.0, +20.0] points" in unsure
    worse = why_base([row(low=-0.05, high=-0.01)], 80)
    assert "surely worse as a whole on 80 validation queries" in worse
    assert "[-5.0, -1.0] points" in worse
    assert "forgot more than a point" in why_base([row(allowed=False)], 80)
    plain = {name: value for name, value in row().items() if name != "all_sizes"}
    # One that forgot too much could not have been taken, however good it is.
    better = plain | {"ndcg@10": 0.9, "low": 0.1, "high": 0.3, "allowed": False}
    assert "[-2.0, +3.0]" in why_base([plain, better], 80)
    assert "sizes" not in why_base([plain], 80) and "[-2.0, +3.0]" in why_base([plain], 80)


def test_of_one_page_nothing_is_claimed_for_others() -> None:
    def headline(groups: int) -> str:
        ends = {"low": 0.012, "high": 0.038} if groups > 1 else dict.fromkeys(("low", "high"))
        change = {"difference": 0.025, **ends}
        row = {"mode": "dense", "metric": "ndcg@10", **change}
        size = {"layers": 1, "dimensions": 48, **change}
        proof = {
            "test": {"queries": 60, "groups": groups, "differences": [row]},
            "sizes": [size, size],
        }
        return verdict({"alpha": 1.0, "reasons": ["better"]}, proof)["headline"]

    def said(groups: int) -> str:
        ends = {"low": 0.01, "high": 0.04} if groups > 1 else dict.fromkeys(("low", "high"))
        row = {"mode": "dense", "metric": "ndcg@10", "difference": 0.025, **ends}
        return certainty({"figures": {"test": {"groups": groups, "differences": [row]}}})

    assert "very likely show a gain" in said(2) and "nothing can be said" in said(1)
    assert headline(2) == (
        "Better: +2.5 points of nDCG@10 [+1.2, +3.8] on 60 held-out queries. Smaller, against the"
        " base cut so: 1x48 +2.5 [+1.2, +3.8]."
    )
    # Its queries are alike: how sure they are together is not how sure the next page would be.
    assert headline(1) == (
        "No sure difference: +2.5 points of nDCG@10 on 60 held-out queries, all of pages that"
        " belong together, which says nothing of others. Smaller, against the base cut so: 1x48"
        " +2.5."
    )


def test_of_several_answers_the_one_is_shown_that_stands_where_its_rank_says() -> None:
    documents = [Document(f"d{n}", f"text {n}", title=f"Title {n}") for n in range(4)]
    data = SimpleNamespace(documents=documents, views=views_of(documents))
    asked = Questions(["better", "worse", "none"], [{0: 1, 1: 1}, {0: 1, 1: 1}, {3: 1}])
    before = np.array([[2, 0, 3, 1], [1, 2, 3, 0], [0, 1, 2, -1]])
    after = np.array([[1, 2, 3, 0], [2, 0, 3, 1], [0, 1, 2, -1]])
    found = _examples(
        cast(Any, SimpleNamespace(data=data)),
        asked,
        *(Rankings(order, np.zeros(order.shape)) for order in (before, after)),
    )
    (better,), (worse,) = found["improved"], found["worsened"]
    # Document 0 fell from 2 to 4; it is 1 that stands first now.
    shown = [(row["document"], row["base_rank"], row["tuned_rank"]) for row in (better, worse)]
    assert shown == [("d1", 2, 1), ("d1", 1, 2)]
    assert better["title"] == "Title 1" and better["text"] == "text 1"


def test_of_unsure_points_the_one_is_named_that_is_best_over_the_sizes() -> None:
    best = row(all_sizes={"ndcg@10": 0.7, "low": -0.01, "high": 0.2})
    better_whole = row(all_sizes=sizes(-0.03, 0.1), **{"ndcg@10": 0.9})
    assert "[-1.0, +20.0]" in why_base([better_whole, best], 80)


def test_examples_are_the_five_on_each_side_whose_answer_moved_most() -> None:
    documents = [Document(f"d{n}", "word " * 200) for n in range(12)]
    data = SimpleNamespace(documents=documents, views=views_of(documents))
    moved = [(10, 5), (2, 1), (5, 4), (3, 2), (6, 5), (4, 3)]
    moved += [(after, before) for before, after in moved]
    asked = Questions([f"query {n}" for n in range(12)], [{0: 1}] * 12)

    def rankings(places: list[int]) -> Rankings:
        order = np.array([np.insert(np.arange(1, 12), place - 1, 0) for place in places])
        return Rankings(order, np.zeros(order.shape))

    before, after = (rankings(list(places)) for places in zip(*moved, strict=True))
    found = _examples(cast(Any, SimpleNamespace(data=data)), asked, before, after)
    most = [(2, 1), (3, 2), (10, 5), (4, 3), (5, 4)]
    ranks = {
        side: [(row["base_rank"], row["tuned_rank"]) for row in rows]
        for side, rows in found.items()
    }
    assert ranks == {"improved": most, "worsened": [(after, before) for before, after in most]}
    assert found["improved"][0]["gain"] == 0.5
    assert {len(row["text"]) for row in found["improved"]} == {400}


def test_what_got_worse_is_said_to_be_worse_by_vectors() -> None:
    def change(mode: str, metric: str, low: float) -> dict[str, Any]:
        ends = {"low": low, "high": low + 0.02}
        return {"mode": mode, "metric": metric, "difference": low + 0.01, **ends}

    rows = [
        change("hybrid", "ndcg@10", 0.3),
        change("dense", "mrr@10", 0.2),
        change("dense", "ndcg@10", -0.04),
    ]
    proof = {"test": {"queries": 60, "groups": 9, "differences": rows}, "sizes": []}
    said = verdict({"alpha": 1.0, "reasons": ["better"]}, proof)["headline"]
    assert said == "Worse: -3.0 points of nDCG@10 [-4.0, -2.0] on 60 held-out queries."


def test_a_point_that_changes_nothing_is_not_kept() -> None:
    same = {"alpha": 1.0, "ndcg@10": 0.6, "allowed": True, "low": 0.0, "high": 0.0}
    assert choose_point([same], SCORES) is None
