from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from isometry.core.errors import InputError
from isometry.corpora.pairs.causes import cause_rows, dialogue_causes
from isometry.corpora.readers.dialogues import read_dialogues
from isometry.corpora.readers.reading import ReadingReport

CAUSE, SPAN = "expanded emotion cause evidence", "expanded emotion cause span"


def turn(place: int, text: str, emotion: str = "neutral", **more: Any) -> dict[str, Any]:
    return {
        "turn": place,
        "speaker": "AB"[place % 2],
        "utterance": text,
        "emotion": emotion,
        **more,
    }


TALK = [
    turn(1, "We  won the cup !"),
    turn(2, "Great !", "happy", **{CAUSE: [1], SPAN: ["won the cup"]}),
    turn(3, "And my car is gone .", "sad", **{CAUSE: ["b"], SPAN: [""]}),
    turn(4, "Oh no . Oh no .", "angry", **{CAUSE: [3, 3, 4], SPAN: ["my car", "gone", "no"]}),
]


def written(folder: Path, value: Any) -> Path:
    path = folder / "talks.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_turns_have_their_causes_and_spans(tmp_path: Path) -> None:
    report = ReadingReport()
    (talk,) = read_dialogues(written(tmp_path, {"t1": [TALK]}), report)
    assert talk.id == "t1"
    assert [one.text for one in talk.turns[:2]] == ["We won the cup !", "Great !"]
    assert [one.emotion for one in talk.turns] == ["neutral", "happiness", "sadness", "anger"]
    assert [one.causes for one in talk.turns] == [(), (0,), (), (2, 2, 3)]
    assert talk.turns[3].spans == ("my car", "gone", "no")
    assert [one.asked for one in talk.turns] == [False, True, True, True]
    assert not report.skipped


def test_each_asked_turn_becomes_a_question_with_all_turns_up_to_it(tmp_path: Path) -> None:
    talks = read_dialogues(written(tmp_path, {"t1": [TALK]}), ReadingReport())
    first, latent, last = dialogue_causes(talks)
    assert first.target == "Great !" and first.candidates == ("We won the cup !", "Great !")
    assert first.causes == {0} and first.spans == ((0, "won the cup"),)
    # A cause that nobody said makes all turns none.
    assert latent.causes == frozenset() and len(latent.candidates) == 3
    assert last.causes == {2, 3} and len(last.candidates) == 4 and last.label == "anger"
    assert {one.group for one in (first, latent, last)} == {"t1"}
    # What comes later changes nothing.
    longer = {"t1": [[*TALK, turn(5, "What now ?")]]}
    again = dialogue_causes(read_dialogues(written(tmp_path, longer), ReadingReport()))
    assert again == [first, latent, last]


def test_who_speaks_changes_nothing(tmp_path: Path) -> None:
    other = [{**one, "speaker": {"A": "B", "B": "A"}[one["speaker"]]} for one in TALK]
    plain, swapped = (
        dialogue_causes(read_dialogues(written(tmp_path, {"t1": [talk]}), ReadingReport()))
        for talk in (TALK, other)
    )
    assert swapped == plain


# The folder of the published files, data/original_annotation of github.com/declare-lab/RECCON.
PUBLISHED = os.environ.get("ISOMETRY_RECCON", "")


@pytest.mark.skipif(not PUBLISHED, reason="ISOMETRY_RECCON names no folder of RECCON's files")
@pytest.mark.parametrize(
    ("name", "spans", "causes", "others", "f1"),
    [
        # Counted in the files apart from this code: causes, once for each span and once for each
        # turn, and what is none. The F1 are those of "at most one turn back", of both classes.
        ("dailydialog_test.json", 1_894, 1_767, 5_330, (0.6412, 0.8589)),
        ("dailydialog_valid.json", 347, 328, 838, None),
        ("iemocap_test.json", 1_080, None, 11_305, (0.4192, 0.9471)),
    ],
)
def test_the_published_files_have_as_many_causes_as_is_published(
    name: str, spans: int, causes: int | None, others: int, f1: tuple[float, float] | None
) -> None:
    talks = read_dialogues(Path(PUBLISHED) / name, ReadingReport())
    questions = dialogue_causes(talks)
    rows = cause_rows(questions, "own")
    right = np.array([row.is_cause for row in rows])
    assert sum(len(question.spans) for question in questions) == spans
    assert (~right).sum() == others
    if causes:
        assert right.sum() == causes
    if f1:
        near = np.array([row.distance <= 1 for row in rows])
        times = [
            max(1, [place for place, _ in question.spans].count(place))
            for question in questions
            for place in range(len(question.candidates))
        ]
        found = (
            f1_score(right, near, sample_weight=times),
            f1_score(~right, ~near, sample_weight=times),
        )
        assert found == pytest.approx(f1, abs=5e-5)


def test_a_span_that_is_not_in_its_turn_is_told(tmp_path: Path) -> None:
    odd = [TALK[0], turn(2, "Great !", "happy", **{CAUSE: [1], SPAN: ["lost it"]})]
    report = ReadingReport()
    read_dialogues(written(tmp_path, {"t1": [odd]}), report)
    (skipped,) = report.skipped
    assert skipped.path == "t1#1"


@pytest.mark.parametrize(("place", "number"), [(3, 3), (0, 0)])
def test_a_cause_in_a_later_turn_or_in_none_is_left_out_and_told(
    tmp_path: Path, place: int, number: int
) -> None:
    # The published training file has two: turn 9 as the cause of turn 7 (tr_5961), and turn 3 as
    # that of turn 2 (tr_2313).
    asked = turn(2, "Oh .", "sad", **{CAUSE: [place, 1], SPAN: ["x", "lost"]})
    report = ReadingReport()
    path = written(tmp_path, {"t1": [[turn(1, "We lost ."), asked, turn(3, "x")]]})
    (talk,) = read_dialogues(path, report)
    assert talk.turns[1].causes == (0,) and talk.turns[1].spans == ("lost",)
    (skipped,) = report.skipped
    assert skipped.path == f"t1#{number}" and "turn 2" in skipped.reason


def test_nobody_is_asked_about_an_unknown_emotion(tmp_path: Path) -> None:
    typo = turn(1, "Oh .", "sadnes", **{CAUSE: [1], SPAN: ["Oh"]})
    report = ReadingReport()
    (talk,) = read_dialogues(written(tmp_path, {"t1": [[typo]]}), report)
    assert not talk.turns[0].asked
    (skipped,) = report.skipped
    assert "'sadnes'" in skipped.reason


def test_a_turn_with_two_spans_is_one_row(tmp_path: Path) -> None:
    # RECCON's own files count its second span as a row, of which the page of counts speaks.
    talks = read_dialogues(written(tmp_path, {"t1": [TALK]}), ReadingReport())
    rows = cause_rows(dialogue_causes(talks), "own")
    assert (len(rows), sum(row.is_cause for row in rows)) == (9, 3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"t1": [[turn(1, "Oh .", "sad", **{CAUSE: [1]})]]}, "holds no conversations"),
        ({"t1": [[{"turn": 1}]]}, "holds no conversations"),
        (["t1"], "holds no conversations"),
    ],
)
def test_what_is_no_annotation_is_refused(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_dialogues(written(tmp_path, value), ReadingReport())
