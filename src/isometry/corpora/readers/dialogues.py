"""Conversations whose emotions are annotated with their causes, as RECCON publishes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
_EMOTIONS = {
    _NEUTRAL, "anger", "disgust", "excited", "fear", "frustrated", "happiness", "sadness",
    "surprise",
}  # fmt: skip
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
        report: Gets what is left out, causes in no turn or in a later one than what they cause and
            questions about an unknown emotion, and what is odd and still used: a span that does
            not stand in its turn.

    Raises:
        InputError: When the file is none of these.
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
    return [
        replace(
            dialogue,
            turns=tuple(_possible(dialogue, place, report) for place in range(len(dialogue.turns))),
        )
        for dialogue in found
    ]


def _possible(dialogue: Dialogue, place: int, report: ReadingReport) -> Turn:
    """A turn with the causes that had been said by then, asked if its emotion is known."""
    turn = dialogue.turns[place]
    if turn.emotion not in _EMOTIONS:
        report.skip(f"{dialogue.id}#{place + 1}", f"{turn.emotion!r} is no emotion of RECCON's")
        turn = replace(turn, asked=False)
    kept: list[tuple[int, str]] = []
    for cause, span in zip(turn.causes, turn.spans, strict=True):
        name = f"{dialogue.id}#{cause + 1}"
        if not 0 <= cause <= place:
            report.skip(name, f"it cannot be what caused turn {place + 1}")
            continue
        kept.append((cause, span))
        if span not in dialogue.turns[cause].text:
            report.skip(name, "its span does not stand in it")
    return replace(
        turn, causes=tuple(cause for cause, _ in kept), spans=tuple(span for _, span in kept)
    )


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
