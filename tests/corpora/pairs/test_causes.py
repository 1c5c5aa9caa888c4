from __future__ import annotations

from collections import Counter

import pytest

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.pairs.causes import (
    CauseQuestion,
    causal_clauses,
    cause_passages,
    cause_rows,
)

PAGE = """\
The cache is small by default. Large tables are kept on the disk of the server, and old rows move
there first. The Index is rebuilt every night because the old one grows too large, which nobody
wants at all. Readers see the former one until then. It can be switched off in the settings file.
Only the owner may do so. Backups go to another place, since one disk can always fail.
"""


def pages(text: str, name: str = "p") -> list[Document]:
    return [Document(id=name, text=text, group=name)]


def test_the_clause_before_the_marker_asks_and_the_one_behind_it_answers() -> None:
    first, second = causal_clauses(pages(PAGE))
    assert first.target == "the Index is rebuilt every night"
    assert first.label == "because"
    (cause,) = first.causes
    assert first.candidates[cause] == "the old one grows too large"
    assert first.spans == ((cause, "the old one grows too large"),)
    assert set(first.candidates) == {
        "the cache is small by default",
        "large tables are kept on the disk of the server",
        "and old rows move there first",
        "the old one grows too large",
        "which nobody wants at all",
        "readers see the former one until then",
        "it can be switched off in the settings file",
        "only the owner may do so",
    }
    assert (second.target, second.label) == ("backups go to another place", "since")
    assert not any("because" in text or "since" in text for text in first.candidates)


@pytest.mark.parametrize(
    "sentence",
    [
        "It fails because of that.",
        "It has been so since the third version of it.",
        "We wait for it because it is slow because it reads all of it.",
        "The `call(x)` returns at once because it does nothing here.",
        "Nobody knows because it is so.",
    ],
)
def test_what_marks_no_cause_or_tells_too_little_is_left_out(sentence: str) -> None:
    plain = PAGE.replace("because the old one", "and the old one").replace(", since one", ". One")
    assert causal_clauses(pages(plain)) == []
    assert causal_clauses(pages(f"{plain}{sentence} {plain}")) == []


def test_the_order_of_candidates_tells_nothing() -> None:
    many = [
        Document(id=f"p{n}", text=PAGE.replace("Index", f"Index{n}"), group=f"p{n}")
        for n in range(200)
    ]
    questions = [one for one in causal_clauses(many) if one.label == "because"]
    places = Counter(place for one in questions for place in one.causes)
    assert len(questions) == 200 and set(places) == set(range(8))
    assert max(places.values()) < 2 * 200 / 8
    assert causal_clauses(many) == causal_clauses(many)
    assert causal_clauses(many, seed=1) != causal_clauses(many)


def question(number: int, label: str) -> CauseQuestion:
    own = tuple(f"{number}{letter}" for letter in "abc")
    return CauseQuestion(
        f"target {number}", label, own, frozenset({1}), ((1, own[1]),), f"g{number}"
    )


QUESTIONS = [question(number, label) for number, label in enumerate(("joy", "joy", "fear", "fear"))]


def test_negatives_come_from_where_they_are_said_to() -> None:
    own = cause_rows(QUESTIONS, "own")
    assert [row.candidate for row in own] == [text for q in QUESTIONS for text in q.candidates]
    assert [row.is_cause for row in own] == [False, True, False] * 4
    assert [row.distance for row in own] == [2, 1, 0] * 4
    drawn: dict[str, set[tuple[int, int]]] = {"other": set(), "same label": set()}
    for kind in ("other", "same label"):
        for seed in range(20):
            rows = cause_rows(QUESTIONS, kind, seed)  # pyright: ignore[reportArgumentType]
            # The causes are the same, and there are as many rows.
            assert [row for row in rows if row.is_cause] == [row for row in own if row.is_cause]
            assert len(rows) == len(own)
            drawn[kind] |= {
                (row.question, int(row.candidate[0])) for row in rows if not row.is_cause
            }
    assert drawn["other"] == {(one, two) for one in range(4) for two in range(4) if one != two}
    assert drawn["same label"] == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_without_other_texts_there_are_no_other_negatives() -> None:
    with pytest.raises(InputError, match="Only one text has causes"):
        cause_rows(QUESTIONS[:1], "other")
    # A label that one text alone has takes any others.
    alone = {
        int(row.candidate[0])
        for seed in range(20)
        for row in cause_rows(QUESTIONS[:3], "same label", seed)
        if row.question == 2 and not row.is_cause
    }
    assert alone == {0, 1}


def test_a_passage_has_all_words_that_are_a_cause_where_they_are() -> None:
    turns = ("We lost again.", "It is late and we lost.", "We lost the key", "Oh no")
    spans = ((1, "late"), (1, "we lost"), (2, "We lost"), (2, "the keys"))
    one = CauseQuestion("Oh no", "sad", turns, frozenset({1, 2}), spans, "g")
    whole, without = cause_passages([one])
    assert whole.text == "We lost again.. It is late and we lost.. We lost the key. Oh no"
    assert [words for _, words in whole.answers] == [words for _, words in spans]
    places = [start for start, _ in whole.answers]
    assert [whole.text[start : start + len(words)] for start, words in whole.answers[:3]] == [
        "late", "we lost", "We lost",
    ]  # fmt: skip
    # Not where another turn says the same; and nowhere for words that no turn says.
    assert places[2] == whole.text.index("We lost the key") > places[1] > places[0]
    assert places[3] == -1
    assert [row.candidate for row in without.rows] == [turns[0], turns[3]]
    # Each candidate begins where its border is.
    assert [whole.text[place:] for place in whole.borders] == [
        whole.text[whole.text.index(turn) :] for turn in turns[1:]
    ]
    assert without.text[without.borders[0] :] == turns[3] and len(without.borders) == 1
    # They stay as far from the target as they are.
    assert [row.distance for row in without.rows] == [3, 0]
    assert without.answers == ()


def test_of_a_passage_that_is_too_long_the_newest_turns_stay() -> None:
    turns = ("We lost.", "It is late.", "Oh no")
    spans = ((0, "We lost"), (1, "late"))
    one = CauseQuestion("Oh no", "sad", turns, frozenset({0, 1}), spans, "g")
    whole, _ = cause_passages([one])
    assert whole.newest(lambda _: True) == whole
    shorter = whole.newest(lambda text: len(text) < len(whole.text))
    assert shorter.text == "It is late.. Oh no"
    # What is cut away stands nowhere; what is left stands where it says.
    assert shorter.answers == ((-1, "We lost"), (shorter.text.index("late"), "late"))
    assert whole.newest(lambda _: False).text == "Oh no"


def test_there_is_no_passage_without_candidates_and_none_with_a_cause_that_was_not_said() -> None:
    turns = ("Oh", "no")
    unsaid = CauseQuestion("no", "sad", turns, frozenset(), (), "g")
    (only,) = cause_passages([unsaid])
    assert (only.text, only.answers) == ("Oh. no", ())
    both = CauseQuestion("no", "sad", turns, frozenset({0, 1}), ((0, "Oh"), (1, "no")), "g")
    (only,) = cause_passages([both])
    assert only.answers == ((0, "Oh"), (4, "no"))
    first, second, third = cause_passages([both, *QUESTIONS[:1]])
    assert [row.question for row in (*first.rows, *second.rows, *third.rows)] == [
        0,
        0,
        1,
        1,
        1,
        1,
        1,
    ]


def test_negatives_from_elsewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="'others'"):
        cause_rows([], "others")  # type: ignore[arg-type]
