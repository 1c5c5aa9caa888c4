"""Words of definitions in their places, as events of ids: they stand there, or were exchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from isometry.core.errors import InputError
from isometry.corpora.curation.dedup import words
from isometry.corpora.documents import Document

if TYPE_CHECKING:
    from torch import Tensor

_PLACES = 16
_RARE, _EDGE = "", " "  # stand for words that are too rare, and for the ends of a definition
_Event = tuple[str | int, ...]


@dataclass(frozen=True)
class Log:
    """Events of the definitions that are trained on.

    An event is a word between two others, with the word that the definition begins from (the first
    lemma of the hypernym), the part of speech, and the place in the definition.

    Attributes:
        fields: How many ids each of these six fields has; ids are numbered through.
        ids: Of each event.
        happened: Whether it stands in a definition, or its word was exchanged for another.
    """

    fields: tuple[int, ...]
    ids: Int[np.ndarray, "events fields"]
    happened: Bool[np.ndarray, " events"]

    @property
    def n(self) -> int:
        """How many ids there are."""
        return sum(self.fields)

    @property
    def counts(self) -> Int[Tensor, " n"]:
        """How often each id occurs."""
        import torch

        return torch.from_numpy(np.bincount(self.ids.ravel(), minlength=self.n))


@dataclass(frozen=True)
class HeldEvents:
    """Events of other definitions.

    Attributes:
        stand: Those that stand in a definition.
        exchanged: The same, each with another word.
    """

    stand: Int[np.ndarray, "events fields"]
    exchanged: Int[np.ndarray, "events fields"]


def word_events(
    documents: Sequence[Document], *, definitions: int | None, least: int, trained: int, held: int
) -> tuple[Log, HeldEvents, HeldEvents]:
    """Every word of definitions, and as many that were exchanged, split by definition.

    Eight tenths of the definitions are trained on, one is validated on and one tested on. A word is
    exchanged for one that occurs in training as often as chance has it: that a word is frequent
    does not tell whether it stands there.

    Args:
        documents: What `readers.wordnet` yields.
        definitions: How many are taken at random; all of them when `None`.
        least: How often a word must occur in training to have an id of its own.
        trained: How many standing events are trained on, at most, at random.
        held: How many are validated on, and how many tested on, at most.

    Returns:
        What is trained on, validated on and tested on.

    Raises:
        InputError: When there is no other word to exchange one for, or a side has no event.
    """
    genus = {one.id: one.title.partition(", ")[0] for one in documents}
    glosses = _distinct(documents)
    random = np.random.default_rng(0)
    glosses = [glosses[place] for place in random.permutation(len(glosses))][:definitions]
    ends = (0, len(glosses) * 8 // 10, len(glosses) * 9 // 10, len(glosses))
    sides = [glosses[start:end] for start, end in pairwise(ends)]
    events = [[event for one in side for event in _events(one, genus)] for side in sides]
    maps = _maps(events[0], least)
    fields = tuple(map(len, maps))
    train, *others = (_numbered(side, maps) for side in events)
    drawn_from = train[:, 0]
    if len(np.unique(drawn_from)) < 2 or not all(map(len, others)):
        raise InputError(
            f"{len(glosses)} definitions are too few for words that occur {least} times.",
            "Take more definitions, or words that occur less often.",
        )

    def exchange(rows: Int[np.ndarray, "events fields"]) -> Int[np.ndarray, "events fields"]:
        """Other words, as often as they occur."""
        other = rows.copy()
        while len(same := np.flatnonzero(other[:, 0] == rows[:, 0])):
            other[same, 0] = random.choice(drawn_from, len(same))
        return other

    stand = train[random.permutation(len(train))[:trained]]
    ids = np.concatenate([stand, exchange(stand)])
    log = Log(fields, ids, np.arange(len(ids)) < len(stand))
    validation, test = (HeldEvents(rows[:held], exchange(rows[:held])) for rows in others)
    return log, validation, test


def _distinct(documents: Sequence[Document]) -> list[tuple[list[str], Document]]:
    """The words of each definition, without examples, once."""
    found: dict[tuple[str, ...], Document] = {}
    for one in documents:
        found.setdefault(tuple(words(one.text.partition('; "')[0].casefold())), one)
    return [(list(key), one) for key, one in found.items() if key]


def _events(definition: tuple[list[str], Document], genus: dict[str, str]) -> list[_Event]:
    gloss, document = definition
    origin = genus.get(document.links[0], _RARE) if document.links else _RARE
    around = [_EDGE, *gloss, _EDGE]
    part = document.id.rpartition("-")[2]
    return [
        (word, around[place], around[place + 2], origin, part, min(place, _PLACES - 1))
        for place, word in enumerate(gloss)
    ]


def _maps(train: Sequence[_Event], least: int) -> list[dict[str | int, int]]:
    """The number of each value in its field; what has none shares that of the first."""

    def frequent(field: int) -> list[str]:
        often = Counter(str(event[field]) for event in train)
        values = sorted(value for value, count in often.items() if count >= least)
        # By the alphabet, words of one stem would be neighbours, which some codecs store together.
        order = np.random.default_rng(field).permutation(len(values))
        return [values[place] for place in order if values[place] != _RARE]

    known: Sequence[str | int] = [_RARE, _EDGE, *frequent(0)]
    columns: list[Sequence[str | int]] = [
        known, known, known, [_RARE, *frequent(3)], sorted({str(event[4]) for event in train}),
        range(_PLACES),
    ]  # fmt: skip
    return [{value: place for place, value in enumerate(column)} for column in columns]


def _numbered(
    side: Sequence[_Event], maps: Sequence[dict[str | int, int]]
) -> Int[np.ndarray, "events fields"]:
    """Ids of the events whose word is known."""
    starts = np.cumsum([0, *map(len, maps[:-1])])
    rows = [
        [places.get(value, 0) for places, value in zip(maps, event, strict=True)]
        for event in side
        if event[0] in maps[0]
    ]
    return (np.array(rows).reshape(len(rows), len(maps)) + starts).astype(np.int32)
