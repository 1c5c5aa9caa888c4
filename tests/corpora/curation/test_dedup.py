from __future__ import annotations

import ast
import inspect
import random
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.corpora.curation import dedup
from isometry.corpora.curation.dedup import (
    bands_and_rows,
    contained,
    expected_jaccard,
    near_duplicates,
    says,
    words,
)

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def docstrings(*names: str) -> list[str]:
    found = []
    for name in names:
        tree = ast.parse((STANDARD_LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                found.append(ast.get_docstring(node) or "")
    return found


def edited(text: list[str], rate: float, rng: random.Random) -> list[str]:
    copy = list(text)
    for index in rng.sample(range(len(copy)), int(rate * len(copy))):
        copy[index] = f"edit{rng.random()}"
    return copy


REAL = [words(text) for text in (inspect.getdoc(obj) or "" for obj in vars(inspect).values())]
REAL = [text for text in REAL if len(text) >= 10]


def found_share(rate: float) -> float:
    rng = random.Random(0)
    pairs = [(text, edited(text, rate, rng)) for text in REAL for _ in range(3)]
    hits = 0
    for start in range(0, len(pairs), len(REAL)):
        texts = [" ".join(text) for pair in pairs[start : start + len(REAL)] for text in pair]
        groups = near_duplicates(texts)
        hits += int((groups[::2] == groups[1::2]).sum())
    return hits / len(pairs)


def test_real_texts_with_a_tenth_of_the_words_edited_are_found_and_with_a_quarter_are_not() -> None:
    assert len(REAL) > 60
    assert found_share(0.1) > 0.9
    assert found_share(0.25) < 0.03


def test_different_docstrings_are_not_merged() -> None:
    texts = sorted(set(docstrings("textwrap", "shutil", "heapq", "socket", "calendar")))
    groups = near_duplicates(texts)
    for group in set(groups.tolist()):
        members = [texts[row] for row in np.flatnonzero(groups == group)]
        common = set.intersection(*(set(words(text.casefold())) for text in members))
        assert all(len(common) >= 0.5 * len(set(words(text.casefold()))) for text in members)
    assert len(set(groups.tolist())) >= 0.9 * len(texts)


def test_case_and_space_do_not_count_and_groups_are_numbered_by_first_member() -> None:
    texts = ["B c", "a", " b\n C ", "A ", "d", ""]
    assert near_duplicates(texts).tolist() == [0, 1, 0, 1, 2, 3]
    assert near_duplicates([]).tolist() == []


def test_short_texts_that_differ_in_a_word_stay_apart_but_punctuation_does_not_count() -> None:
    texts = ["Open the file.", "Close the file.", "open the file", "the file open"]
    assert near_duplicates(texts).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    "script", ["今天天气很好我们一起去公园散步然后吃饭喝茶聊天看书听音乐睡觉", "q7"]
)
def test_texts_without_spaces_compare_by_characters(script: str) -> None:
    text = script if len(script) > 2 else "thequickbrownfoxjumpsoverthelazydogandrunsaway"
    other = "".join(reversed(text))
    changed = text[:12] + ("猫" if len(script) > 2 else "z") + text[13:]
    assert near_duplicates([text, other, changed]).tolist() == [0, 1, 0]


def test_a_chain_of_edits_is_one_component_though_its_ends_differ() -> None:
    rng = random.Random(1)
    chain = [[f"w{i}" for i in range(80)]]
    for _ in range(12):
        chain.append(edited(chain[-1], 0.05, rng))
    texts = [" ".join(text) for text in chain]
    assert set(near_duplicates(texts).tolist()) == {0}
    assert near_duplicates([texts[0], texts[-1]]).tolist() == [0, 1]


def test_many_copies_cost_comparisons_in_their_number_not_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    intersect = np.intersect1d

    def counting(*arguments: np.ndarray, assume_unique: bool) -> np.ndarray:
        nonlocal compared
        compared += 1
        return intersect(*arguments, assume_unique=assume_unique)

    monkeypatch.setattr(dedup.np, "intersect1d", counting)
    stem = " ".join(REAL[0][:40])
    groups = near_duplicates([f"{stem} number {i}" for i in range(600)])
    assert set(groups.tolist()) == {0}
    assert compared < 5 * 600


def test_many_pages_of_one_template_are_told_apart_without_comparing_each_with_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(2)
    template = [f"menu{i}" for i in range(110)]
    pages = [[*template, *(f"word{rng.randrange(4000)}" for _ in range(110))] for _ in range(300)]
    pages += [edited(page, 0.04, rng) for page in pages[:20]]
    texts = [" ".join(page) for page in pages]
    proposed = 0
    connecting_pairs = dedup.connecting_pairs

    def counting(sets: list[np.ndarray], least: float) -> list[tuple[int, int]]:
        nonlocal proposed
        pairs = list(connecting_pairs(sets, least))
        proposed += len(pairs)
        return pairs

    monkeypatch.setattr(dedup, "connecting_pairs", counting)
    groups = near_duplicates(texts)
    assert 0 < proposed < 5 * len(texts)
    monkeypatch.setattr(dedup, "CROWD", len(texts))
    assert groups.tolist() == near_duplicates(texts).tolist()
    assert len(set(groups.tolist())) == 300


@given(st.floats(0.0, 0.3), st.sampled_from([2, 3, 5]))
def test_the_bands_find_the_expected_similarity_and_no_larger_rows_would(
    edit_rate: float, size: int
) -> None:
    similarity = expected_jaccard(edit_rate, size)
    bands, rows = bands_and_rows(similarity)
    assert bands * rows <= dedup.PERMUTATIONS
    assert 1 - (1 - similarity**rows) ** bands >= 0.95 - 1e-9
    deeper = dedup.PERMUTATIONS // (rows + 1)
    assert deeper == 0 or 1 - (1 - similarity ** (rows + 1)) ** deeper < 0.95 + 1e-9


def test_expected_jaccard_is_what_random_edits_give() -> None:
    rng = random.Random(0)
    text = [f"w{i}" for i in range(4000)]
    copy = edited(text, 0.1, rng)
    a, b = ({tuple(t[i : i + 5]) for i in range(len(t) - 4)} for t in (text, copy))
    assert len(a & b) / len(a | b) == pytest.approx(expected_jaccard(0.1, 5), abs=0.02)
    with pytest.raises(ValueError, match="edit_rate"):
        near_duplicates(["a"], edit_rate=0.5)


WORD = st.sampled_from(["a", "b", "c"])


@settings(max_examples=150)
@given(
    st.lists(st.lists(WORD, max_size=9), max_size=5),
    st.lists(st.lists(WORD, max_size=25), max_size=4),
)
def test_contained_is_what_the_slow_search_says(
    needles: list[list[str]], haystacks: list[list[str]]
) -> None:
    slow = [
        len(needle) >= 4
        and any(f" {' '.join(needle)} " in f" {' '.join(text)} " for text in haystacks)
        for needle in needles
    ]
    got = contained([" ".join(needle) for needle in needles], [" ".join(t) for t in haystacks])
    assert got.tolist() == slow


def test_contained_ignores_case_and_punctuation_but_not_word_ends_or_text_ends() -> None:
    haystacks = ['He said: "Open the FILE,\n now" and left.', "one two", "three four"]
    needles = ["open the file now!", "open the file no", "open the file", "one two three four"]
    assert contained(needles, haystacks).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a Shoe-Shop is where one buys footwear", "shoe shop", True),
        ("the category of purring beasts", "cat", False),
        ("of the cats", "cat", False),
        ("a car, or motor", "motor car", False),
        ("motor (car", "Motor Car", True),
        ("ein Haus", "HAUS", True),
        # A name without words is in nothing, not in everything.
        ("two words", "!", False),
        ("?", "!", False),
    ],
)
def test_words_in_a_row_are_said(text: str, name: str, expected: bool) -> None:
    assert says(text, name) is expected
