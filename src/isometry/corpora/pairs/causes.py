"""Things with their causes, among others that are none."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Literal, get_args

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.corpora.documents import Document
from isometry.corpora.readers.dialogues import Dialogue, read_dialogues
from isometry.corpora.readers.reading import ReadingReport

Negatives = Literal["own", "other", "same label"]

# Of RECCON's original annotation: train, validation and test.
_FILES = ("dailydialog_train.json", "dailydialog_valid.json", "dailydialog_test.json")

# Of "since", only that behind a comma gives a reason; the other one mostly gives a date.
_MARKER = re.compile(
    r"(?:,\s*)?\b(because|so that|due to)\b(?! of\b)|,\s*\b(since)\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"(?<=[.!?:])\s+(?=[A-Z\"'(])|\n\s*\n")
# Where a clause ends within a sentence.
_CLAUSE = re.compile(r"[,;:()—]\s|\s[-–]\s|\.$")
# Programs and tables.
_CODE = re.compile(r"[=<>{}\[\]\\|`#@*]|\w\(|>>>|__|\.\.\.")
_WORDS = (4, 30)
# Between candidates in a row.
_BETWEEN = ". "


@dataclass(frozen=True, slots=True)
class CauseQuestion:
    """Something that has a cause, and what may be it.

    Attributes:
        target: What asks for its cause: a clause, or somebody's words.
        label: Of what kind it is: the word that marked the cause, or an emotion.
        candidates: What may be the cause.
        causes: The places of the candidates that are; none where it was not said.
        spans: The words that are the cause, by the place of their candidate.
        group: Where it is from: what shares it may not be on two sides.
    """

    target: str
    label: str
    candidates: tuple[str, ...]
    causes: frozenset[int]
    spans: tuple[tuple[int, str], ...]
    group: str


def causal_clauses(
    documents: Iterable[Document], *, around: int = 4, seed: int = 0
) -> list[CauseQuestion]:
    """Clauses whose cause is marked in the same sentence, among others from beside it.

    The clause before "because", "so that", "due to" or ", since" is the target. The one behind it
    is the cause, or, for "so that", what it is for. Candidates are the cause and up to so many
    clauses before and behind the two; the marker is gone, no clause starts with a capital letter,
    and their order is random, so that neither place nor spelling tells. A sentence with two markers
    is left out, and so is one whose clauses have fewer than 4 words, more than 30, or code.

    Args:
        documents: Prose.
        around: How many clauses before, and how many behind; so many there must be in all.
        seed: Of the order of candidates.
    """
    generator = random.Random(seed)
    found: dict[tuple[str, str], CauseQuestion] = {}
    for document in documents:
        sentences = [" ".join(part.split()) for part in _SENTENCE.split(document.text)]
        for place, sentence in enumerate(sentences):
            if (parted := _parted(sentence)) is None:
                continue
            before, target, marker, cause, after = parted
            earlier = [*_clauses(sentences[max(0, place - around) : place]), *before]
            later = [*after, *_clauses(sentences[place + 1 : place + 1 + around])]
            beside = dict.fromkeys([*earlier[-around:], *later[:around]])
            candidates = [clause for clause in beside if clause not in (target, cause)]
            if len(candidates) < around:
                continue
            candidates.append(cause)
            generator.shuffle(candidates)
            own = candidates.index(cause)
            question = CauseQuestion(
                target,
                marker,
                tuple(candidates),
                frozenset({own}),
                ((own, cause),),
                document.group or document.id,
            )
            found.setdefault((target, cause), question)
    return list(found.values())


def dialogue_causes(dialogues: Iterable[Dialogue]) -> list[CauseQuestion]:
    """Every turn whose emotion was asked about, with all turns up to it (RECCON, fold 1)."""
    return [
        CauseQuestion(
            turn.text,
            turn.emotion,
            tuple(each.text for each in dialogue.turns[: place + 1]),
            frozenset(turn.causes),
            tuple(zip(turn.causes, turn.spans, strict=True)),
            dialogue.id,
        )
        for dialogue in dialogues
        for place, turn in enumerate(dialogue.turns)
        if turn.asked
    ]


def conversation_causes(folder: Path) -> list[list[CauseQuestion]]:
    """The questions of RECCON's training, validation and test conversations (DailyDialog).

    Args:
        folder: Its original annotation.

    Raises:
        InputError: When a file is missing, or is none of these.
    """
    sides: list[list[CauseQuestion]] = []
    for name in _FILES:
        path = folder / name
        if not path.is_file():
            raise InputError(f"There is no file {path}.", "Copy RECCON's original annotation.")
        report = ReadingReport()
        sides.append(dialogue_causes(read_dialogues(path, report)))
        for skipped in report.skipped:
            say(f"{name}: {skipped.path}: {skipped.reason}.")
    return sides


@dataclass(frozen=True, slots=True)
class CauseRow:
    """A thing and what may be its cause.

    Attributes:
        question: The number of the question.
        target: What asks.
        candidate: What may be its cause.
        is_cause: Whether it is.
        distance: How many candidates stand behind this place; in a conversation, how many turns
            back it is.
    """

    question: int
    target: str
    candidate: str
    is_cause: bool
    distance: int


def cause_rows(
    questions: Sequence[CauseQuestion], negatives: Negatives, seed: int = 0
) -> list[CauseRow]:
    """Causes, and as many candidates that are none as each question has itself.

    A turn of a conversation is a row once, where RECCON's own files count it for each of its spans:
    the causes of DailyDialog's test are 1,767 and not 1,894, beside the same 5,330 others.

    Args:
        questions: With their candidates.
        negatives: Where these are from: the question's own candidates, those of any other group, or
            of another group for the same label (RECCON's folds 1, 2 and 3). Only the first is the
            real task; others can be told by their subject. A label that one group alone has takes
            those of any other.
        seed: Of the draws.

    Raises:
        InputError: When there is one group only.
        ValueError: For negatives of another name.
    """
    if negatives not in get_args(Negatives):
        raise ValueError(f"there are no negatives {negatives!r}")
    generator = random.Random(seed)
    everything = [(one.group, text) for one in questions for text in one.candidates]
    if negatives != "own" and len({group for group, _ in everything}) < 2:
        raise InputError("Only one text has causes: there are no others to tell it from.")
    labelled: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in questions:
        labelled[one.label] += [(one.group, text) for text in one.candidates]
    pools = {
        label: own
        if negatives == "same label" and len({group for group, _ in own}) > 1
        else everything
        for label, own in labelled.items()
    }
    rows: list[CauseRow] = []
    for number, question in enumerate(questions):
        for place, text in enumerate(question.candidates):
            is_cause = place in question.causes
            if not is_cause and negatives != "own":
                group = question.group
                while group == question.group:
                    group, text = generator.choice(pools[question.label])
            distance = len(question.candidates) - 1 - place
            rows.append(CauseRow(number, question.target, text, is_cause, distance))
    return rows


@dataclass(frozen=True, slots=True)
class CausePassage:
    """Candidates in a row, which are asked for the words of the cause.

    Attributes:
        rows: The candidates.
        answers: All words that are a cause, each behind its place in the text, in characters; -1
            for words that do not stand in their candidate. Empty where no candidate is a cause.
    """

    rows: tuple[CauseRow, ...]
    answers: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        """What is read."""
        return _BETWEEN.join(row.candidate for row in self.rows)

    @property
    def borders(self) -> tuple[int, ...]:
        """Where each candidate but the first begins in the text, in characters."""
        ends = accumulate(len(row.candidate) + len(_BETWEEN) for row in self.rows[:-1])
        return tuple(ends)

    def newest(self, fits: Callable[[str], bool]) -> CausePassage:
        """Without the oldest candidates, until the text fits or one is left.

        Args:
            fits: Whether a text is not too long.
        """
        passage = self
        while len(passage.rows) > 1 and not fits(passage.text):
            gone = len(passage.rows[0].candidate) + len(_BETWEEN)
            answers = ((max(-1, start - gone), words) for start, words in passage.answers)
            passage = CausePassage(passage.rows[1:], tuple(answers))
        return passage


def cause_passages(questions: Sequence[CauseQuestion]) -> list[CausePassage]:
    """Of each question all candidates, and those that are no cause; where there are any."""
    passages: list[CausePassage] = []
    rows = iter(cause_rows(questions, "own"))
    for question in questions:
        own = tuple(islice(rows, len(question.candidates)))
        others = tuple(row for row in own if not row.is_cause)
        starts = [0, *accumulate(len(text) + len(_BETWEEN) for text in question.candidates)]
        answers: list[tuple[int, str]] = []
        for place, words in question.spans:
            # The same words may stand in an earlier candidate, which is no cause.
            within = question.candidates[place].find(words)
            answers.append((starts[place] + within if within >= 0 else -1, words))
        if answers:
            passages.append(CausePassage(own, tuple(answers)))
        if others:
            passages.append(CausePassage(others, ()))
    return passages


def _parted(sentence: str) -> tuple[list[str], str, str, str, list[str]] | None:
    """Clauses before the effect, the effect, the marker, the cause, and the clauses behind it."""
    marks = list(_MARKER.finditer(sentence))
    if len(marks) != 1:
        return None
    (mark,) = marks
    left = [_tidy(part) for part in _CLAUSE.split(sentence[: mark.start()])]
    right = [_tidy(part) for part in _CLAUSE.split(sentence[mark.end() :])]
    target, cause = left[-1], right[0]
    if not (_fits(target) and _fits(cause)):
        return None
    marker = (mark[1] or mark[2]).lower()
    return [*filter(_fits, left[:-1])], target, marker, cause, [*filter(_fits, right[1:])]


def _clauses(sentences: Sequence[str]) -> Iterator[str]:
    for sentence in sentences:
        yield from filter(_fits, map(_tidy, _CLAUSE.split(sentence)))


def _fits(clause: str) -> bool:
    return _WORDS[0] <= len(clause.split()) <= _WORDS[1] and not _CODE.search(clause)


def _tidy(clause: str) -> str:
    """Without punctuation at the ends, and with a small letter first unless it is an acronym."""
    bare = clause.strip(" \t.,;:!?()\"'—–-")
    return bare[:1].lower() + bare[1:] if bare[1:2].islower() or bare[1:2] == " " else bare
