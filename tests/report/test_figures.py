from __future__ import annotations

import shlex
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isometry.report.figures import (
    advice,
    best_rows,
    decimal,
    difference_place,
    fit_command,
    flatten,
    look_up,
    points,
    safe_line,
    safe_text,
    were_given,
)

any_text = st.text(st.characters(codec=None))


@given(text=any_text)
def test_safe_text_can_be_written_and_holds_no_controls(text: str) -> None:
    safe = safe_text(text)
    safe.encode()
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in safe)


@given(text=st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zs", "Zl", "Zp"))))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert safe_text(text) == text
    assert safe_line(text) == text


@given(text=any_text)
def test_safe_lines_are_one_line_that_cannot_turn_around(text: str) -> None:
    line = safe_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(
        unicodedata.bidirectional(c) in {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI"} for c in line
    )
    assert safe_line(line) == line


def test_paths_lead_through_dictionaries_and_lists_and_never_fail() -> None:
    tree = {"a": [{"b@10": 3}], "n": None, "0": "zero"}
    assert look_up(tree, "a.0.b@10") == 3
    assert look_up(tree, "0") == "zero"
    for path in ("a.1", "a.-1", "a.b", "n.x", "x.y.z", "a.0.b@10.c", ""):
        assert look_up(tree, path) is None


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.12649, True, "+12.6"),
        (-0.1, True, "\u221210.0"),
        (0.00001, True, "0.0"),
        (-0.00001, True, "0.0"),
        (-0.00001, False, "0.0"),
        (None, True, "–"),
        (0.5, False, "50.0"),
        (0.0006, True, "+0.1"),
    ],
)
def test_points_are_rounded_hundredths(value: float | None, sign: bool, text: str) -> None:
    assert points(value, sign=sign) == text


def test_thousands_are_grouped() -> None:
    assert decimal(1234567.0, 0) == "1,234,567"


def test_differences_are_found_by_mode_and_metric(manifest: dict[str, Any]) -> None:
    rows = manifest["figures"]["test"]["differences"]
    for mode in ("dense", "hybrid"):
        place = difference_place(manifest, mode)
        assert place is not None
        assert (rows[place]["mode"], rows[place]["metric"]) == (mode, "ndcg@10")
    rows.reverse()
    place = difference_place(manifest, "dense")
    assert place is not None
    assert rows[place]["difference"] == 0.1258
    assert difference_place(manifest, "other") is None
    rows[place]["difference"] = None
    assert difference_place(manifest, "dense") is None
    assert difference_place({}, "dense") is None


def test_best_rows_share_ties_and_skip_what_is_missing() -> None:
    rows = [{"ndcg@10": 0.5, "recall@1": None}, {"ndcg@10": 0.7}, {"ndcg@10": 0.7}]
    best = best_rows(rows)
    assert best["ndcg@10"] == {1, 2}
    assert best["recall@1"] == set()


def test_the_command_says_again_what_was_asked() -> None:
    settings = {"source": "my docs; rm -rf ~", "minutes": 10.0, "dry_run": True, "force": False}
    settings |= {"queries": None, "exclude": ["a b", "*.min.js"], "seed": 0}
    words = shlex.split(fit_command({"settings": settings}))
    assert words[:3] == ["isometry", "fit", "my docs; rm -rf ~"]
    assert words[3:6] == ["--minutes", "10.0", "--dry-run"]
    assert words[6:] == ["--exclude", "a b", "--exclude", "*.min.js", "--seed", "0"]
    assert fit_command({"source": {"name": "python:networkx"}}) == "isometry fit python:networkx"


def test_flatten_keeps_order_and_paths(manifest: dict[str, Any]) -> None:
    leaves = flatten({"b_c": {"x": 1}, "a": [1, 2], "l": [{"y": 2}]}, "top")
    assert leaves == [
        ("top.b_c.x", "b c · x", 1),
        ("top.a", "a", [1, 2]),
        ("top.l.0.y", "l · 0 · y", 2),
    ]
    for path, _, value in flatten(manifest["plan"], "plan"):
        assert look_up(manifest, path) == value


def test_lines_of_other_systems_end_as_ours_do() -> None:
    assert safe_text("one\r\ntwo") == "one\ntwo"


def test_a_list_with_a_dictionary_among_its_values_is_no_leaf() -> None:
    assert flatten([1, {"y": 2}], "top") == [("top.0", "0", 1), ("top.1.y", "1 · y", 2)]


def test_advice_is_for_what_a_fit_lacked() -> None:
    *said, last = advice({})
    assert last.startswith("Use the Space as it is")
    assert [line.partition(":")[0] for line in said] == [
        "Give queries with the documents that answer them, if you have any"
    ]
    pairs = {"task": "given queries", "train": 999}
    lacking = {"figures": {"data": {"pairs": pairs}}, "plan": {"epochs": 0.5, "nested": [[1, 8]]}}
    assert [line.partition(":")[0] for line in advice(lacking)[:-1]] == [
        "Give more documents",
        "Give more minutes",
        "Leave --nested out",
    ]
    lacking["plan"]["epochs"] = 0.0
    assert any(line.startswith("Give more minutes") for line in advice(lacking))
    pairs["train"], lacking["plan"] = 1000, {"epochs": 1.0, "nested": []}
    assert advice(lacking) == [last]


def test_queries_were_given_also_where_they_were_too_few_for_a_test() -> None:
    assert were_given({"figures": {"test": {"kind": "given"}}})
    assert were_given({"figures": {"test": None, "data": {"pairs": {"task": "given queries"}}}})
    assert not were_given({"figures": {"data": {"pairs": {"task": "heading"}}}})
