"""Conversations whose emotions are annotated with their causes, as RECCON publishes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isometry.core.errors import InputError
from isometry.core.files import read_json
from isometry.corpora.readers.reading import ReadingReport

_NEUTRAL = "neutral"
# Of each two both occur.
_SAME = {
    "happy": "happiness",
    "happines": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "surprised": "surprise",
}
# A cause that nobody said aloud.
_LATENT = "b"


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody says.

    Attributes:
        speaker: Who.
        text: The words.
        emotion: Its name; "neutral" for none.
        causes: The places, from 0, of the turns that caused it: one for each span, so that a turn
            with two spans stands there twice. Empty where the cause was not said.
        spans: The words in them.
        asked: Whether somebody looked for the causes.
    """

    speaker: str
    text: str
    emotion: str
    causes: tuple[int, ...] = ()
    spans: tuple[str, ...] = ()
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation.

    Attributes:
        id: Its name.
        turns: In their order.
    """

    id: str
    turns: tuple[Turn, ...]


def read_dialogues(path: Path, report: ReadingReport) -> list[Dialogue]:
    """The conversations of a file of RECCON (Poria et al. 2021), such as dailydialog_test.json.

    The published test files give 225 conversations with 1,894 causes (DailyDialog) and 16 with
    1,080 (IEMOCAP).

    Args:
        path: The file.
        report: Gets what is odd and still used: a span that does not stand in its turn.

    Raises:
        InputError: When the file is none of these, a cause comes later than what it causes, or it
            is in no turn.
    """
    try:
        found = [
            Dialogue(name, tuple(map(_turn, rows))) for name, (rows,) in read_json(path).items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.name} holds no conversations with causes: {type(error).__name__}.",
            "Give a file of RECCON's data/original_annotation.",
        ) from error
    for dialogue in found:
        for place, turn in enumerate(dialogue.turns):
            for cause, span in zip(turn.causes, turn.spans, strict=True):
                if not 0 <= cause <= place:
                    raise InputError(
                        f"{dialogue.id}: turn {place + 1} cannot be caused by turn {cause + 1}."
                    )
                if span not in dialogue.turns[cause].text:
                    report.skip(f"{dialogue.id}#{cause + 1}", "its span does not stand in it")
    return found


def _turn(row: dict[str, Any]) -> Turn:
    evidence = row.get("expanded emotion cause evidence")
    spans = row.get("expanded emotion cause span", [])
    said = [
        (int(place) - 1, " ".join(span.split()))
        for place, span in zip(evidence or [], spans, strict=True)
        if place != _LATENT
    ]
    emotion = str(row["emotion"])
    return Turn(
        str(row["speaker"]),
        " ".join(str(row["utterance"]).split()),
        _SAME.get(emotion, emotion),
        tuple(place for place, _ in said),
        tuple(span for _, span in said),
        evidence is not None and emotion != _NEUTRAL,
    )
