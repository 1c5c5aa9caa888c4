"""What finding causes shares: questions with candidates, heads over frozen vectors, and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from isometry.corpora.packaged.debian_handbook import debian_handbook
from isometry.corpora.packaged.python_documentation import python_documentation
from isometry.corpora.pairs.causes import (
    CausePassage,
    CauseQuestion,
    CauseRow,
    Negatives,
    causal_clauses,
    cause_passages,
    cause_rows,
    conversation_causes,
)
from isometry.corpora.splits import split
from isometry.evaluation.answer_scores import answer_scores
from isometry.evaluation.pair_scores import best_threshold
from isometry.heads.pair_scorer import PairScorer
from isometry.heads.pointer import Pointer
from isometry.learners.causes import PairEntailment, SpanExtraction, SpanRow, VectorPair
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits

PAIRS, SPANS = "pairs", "spans"
_GROUPS = 20
# Of negatives from other texts: one draw is as much noise as difference.
_DRAWS = 5


@dataclass(frozen=True, kw_only=True)
class CauseScale(Scale):
    """Settings of finding causes.

    Attributes:
        dialogues: The folder of RECCON's original annotation; clauses of Python's manual and of
            Debian's handbook, whose sentences say "because", where it is empty.
        questions: How many questions at most.
        batch: Pairs a step, and passages a step times eight.
        tokens: Where a passage is cut.
        longest: The most tokens of a cause.
        distances: How many turns back have a bias of their own; 0 where the order is random.
    """

    dialogues: str = ""
    questions: int | None = None
    batch: int = 256
    tokens: int = 160
    longest: int = 40
    distances: int = 0


Questions = list[CauseQuestion]
CauseRun = Run[CauseScale, Questions, Questions]
Score = Callable[[Sequence[CauseRow]], Float[np.ndarray, " n"]]
# The words in each passage, "" for none.
Extract = Callable[[Sequence[CausePassage]], list[str]]


@dataclass(frozen=True)
class Causes:
    """How probable a cause is, from where on it is one, and which words it is.

    Attributes:
        score: The higher, the more probable.
        threshold: From here on it is one.
        extract: Finds the words; None where the best candidate stands for them.
        words_from: From which score on it does; from the threshold where it is None.
    """

    score: Score
    threshold: float
    extract: Extract | None = None
    words_from: float | None = None

    def words(self, passages: Sequence[CausePassage]) -> list[str]:
        """What is said to be the cause in each passage; "" where nothing is."""
        if self.extract is not None:
            return self.extract(passages)
        best, said = best_candidates(self.score, passages)
        least = self.threshold if self.words_from is None else self.words_from
        return [text if own >= least else "" for own, text in zip(best, said, strict=True)]


def data(scale: CauseScale) -> Splits[Questions, Questions]:
    """Questions of Python's and of Debian's manuals, split by page; or DailyDialog's conversations.

    Raises:
        InputError: When a file of the conversations is missing.
    """
    if scale.dialogues:
        return Splits(*conversation_causes(Path(scale.dialogues)))
    questions = causal_clauses([*python_documentation().documents, *debian_handbook()])
    order = np.random.default_rng(0).permutation(len(questions))[: scale.questions]
    questions = [questions[row] for row in order]
    groups = [question.group for question in questions]
    named = split(groups, np.arange(len(groups)), {"train": 0.6, "validation": 0.15, "test": 0.25})
    train, validation, test = (
        [question for question, own in zip(questions, named, strict=True) if own == side]
        for side in ("train", "validation", "test")
    )
    return Splits(train, validation, test)


def vector_pairs(
    run: CauseRun, rows: Sequence[CauseRow], *, blind: bool = False
) -> list[VectorPair]:
    """The frozen encoder's vectors of targets and candidates, and whether one causes the other."""
    targets = asked(run, rows, blind=blind)
    candidates = run.pretrained.encode([row.candidate for row in rows])
    return [
        VectorPair(target, candidate, row.is_cause, row.distance if run.scale.distances else None)
        for target, candidate, row in zip(targets, candidates, rows, strict=True)
    ]


def asked(run: CauseRun, rows: Sequence[CauseRow], *, blind: bool) -> Float[np.ndarray, "n d"]:
    """The vectors of what has a cause; nothing of it for who is blind."""
    targets = run.pretrained.encode([row.target for row in rows])
    return np.zeros_like(targets) if blind else targets


def chosen(run: CauseRun, score: Score, extract: Extract | None = None) -> Causes:
    """A score with the thresholds that have the best F1, of causes and of words, on validation."""
    rows = cause_rows(run.validation, "own")
    right = np.array([row.is_cause for row in rows])
    threshold = best_threshold(score(rows), right)
    return Causes(score, threshold, extract, None if extract else _words_from(run, score))


def _words_from(run: CauseRun, score: Score) -> float:
    """From which score on the best candidate is better than silence.

    Half of the passages have no cause, where one in nine of the candidates is one.
    """
    passages = cause_passages(run.validation)
    answers = [[words for _, words in passage.answers] for passage in passages]
    best, said = best_candidates(score, passages)
    spoken, silent = (answer_scores(texts, answers)["f1"] for texts in (said, [""] * len(passages)))
    return max(
        [*np.unique(best).tolist(), math.inf],
        key=lambda least: float(np.where(best >= least, spoken, silent).mean()),
    )


def untrained(run: CauseRun) -> Causes:
    """The cosine."""

    def score(rows: Sequence[CauseRow]) -> Float[np.ndarray, " n"]:
        pairs = vector_pairs(run, rows)
        return np.array([float(pair.first @ pair.second) for pair in pairs])

    return chosen(run, score)


def nearest(run: CauseRun) -> Causes:
    """The nearer the more probable, whatever is said."""

    def score(rows: Sequence[CauseRow]) -> Float[np.ndarray, " n"]:
        return np.array([-float(row.distance) for row in rows])

    return chosen(run, score)


def entailed(
    negatives: Negatives = "own", *, blind: bool = False, spans: bool = False
) -> Callable[[CauseRun], Causes]:
    """An arm that learns which candidate is a cause, and perhaps which words.

    Args:
        negatives: What is no cause in training.
        blind: Whether the target is hidden, so that only the candidate's own words tell.
        spans: Whether it learns the words.
    """

    def make(run: CauseRun) -> Causes:
        pairs = vector_pairs(run, cause_rows(run.train, negatives, run.seed), blind=blind)
        learner = PairEntailment(PairScorer(len(pairs[0].first), distances=run.scale.distances))
        order = run.batches(PAIRS, [(row,) for row in range(len(pairs))], run.scale.batch)
        run.fit(PAIRS, learner, pairs, order)

        def score(rows: Sequence[CauseRow]) -> Float[np.ndarray, " n"]:
            return learner.score(vector_pairs(run, rows, blind=blind))

        return chosen(run, score, pointed(run, blind=blind) if spans else None)

    return make


def pointed(run: CauseRun, *, blind: bool) -> Extract:
    """Trains a pointer to the words of each cause, with as many passages that have none."""
    scale, encoder = run.scale, run.encoder()
    pointer = Pointer(encoder.dim, condition=encoder.dim)
    learner = SpanExtraction(encoder, pointer, tokens=scale.tokens)

    def questions(passages: Sequence[CausePassage]) -> Float[np.ndarray, "n d"]:
        return asked(run, [passage.rows[0] for passage in passages], blind=blind)

    def newest(passages: Sequence[CausePassage]) -> list[CausePassage]:
        return [
            passage.newest(lambda text: encoder.lengths([text], "document")[0] <= scale.tokens)
            for passage in passages
        ]

    passages = newest(cause_passages(run.train))
    rows = [
        SpanRow(passage.text, vector, start, start + len(words))
        for passage, vector in zip(passages, questions(passages), strict=True)
        for start, words in passage.answers or [(-1, "")]
        if start >= 0 or not words
    ]
    size = max(2, scale.batch // 8)
    order = run.batches(SPANS, [(row,) for row in range(len(rows))], size)
    run.fit(SPANS, learner, rows, order)

    def extract(passages: Sequence[CausePassage]) -> list[str]:
        passages = newest(passages)
        rows = [
            SpanRow(passage.text, vector, borders=passage.borders)
            for passage, vector in zip(passages, questions(passages), strict=True)
        ]
        return learner.extract(rows, longest=scale.longest, batch=size)

    return extract


def measure(_: CauseRun, model: Causes, held: Questions) -> Figures:
    """Which candidates are causes, and which words.

    `f1 of causes` is over the candidates of a question itself, for each of up to twenty groups of
    questions; that of the others, `f1 of no cause`, over all at once. `cause found first` says of
    each question whether the best candidate is one; where several are the best, how many of them
    are. `chance` is how often any would be. What is lost to negatives of the same kind is the mean
    of several draws. `f1 of words` asks passages with a cause and without, all candidates in a row,
    for the words; who never finds any is right in half of them. `f1 of silence` is of the passages
    where nothing is said.
    """
    rows = cause_rows(held, "own")
    scores, right = model.score(rows), np.array([row.is_cause for row in rows])
    number = np.array([row.question for row in rows])
    group = (np.arange(len(held)) * min(_GROUPS, len(held) // 4) // len(held))[number]
    own = [number == question for question, one in enumerate(held) if one.causes]
    kinds: tuple[Negatives, ...] = ("other", "same label")
    drawn: dict[str, float] = {}
    for kind in kinds:
        draws = [cause_rows(held, kind, seed) for seed in range(_DRAWS)]
        drawn[kind] = float(
            np.mean([_f1(model.score(one) >= model.threshold, right) for one in draws])
        )
    passages = cause_passages(held)
    said = model.words(passages)
    words = answer_scores(said, [[words for _, words in one.answers] for one in passages])
    silent, unanswerable = (
        np.array([not any(own) for own in several])
        for several in (said, [one.answers for one in passages])
    )
    return {
        "f1 of causes": np.array(
            [_f1(scores[group == one] >= model.threshold, right[group == one])
             for one in np.unique(group)]
        ),
        "cause found first": np.array(
            [right[one][scores[one] == scores[one].max()].mean() for one in own]
        ),
        "chance": float(np.mean([right[one].mean() for one in own])),
        "f1 of no cause": _f1(scores < model.threshold, ~right),
        "f1, negatives from other texts": drawn["other"],
        "f1 lost to negatives of the same kind": drawn["other"] - drawn["same label"],
        "f1 of words": words["f1"],
        "f1 of words, where there are any": np.array(
            [own for own, passage in zip(words["f1"], passages, strict=True) if passage.answers]
        ),
        "exact words": words["exact"],
        "f1 of silence": _f1(silent, unanswerable),
    }  # fmt: skip


def best_candidates(
    score: Score, passages: Sequence[CausePassage]
) -> tuple[Float[np.ndarray, " passages"], list[str]]:
    """The score of the best candidate of each passage, and the candidate."""
    scores = score([row for passage in passages for row in passage.rows])
    parts = np.split(scores, np.cumsum([len(passage.rows) for passage in passages])[:-1])
    said = [
        passage.rows[int(own.argmax())].candidate
        for own, passage in zip(parts, passages, strict=True)
    ]
    return np.array([own.max() for own in parts]), said


def _f1(called: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(right, called))
