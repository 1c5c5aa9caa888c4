"""What finding causes shares: questions with candidates, heads over frozen vectors, and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isometry.core.errors import InputError
from isometry.corpora.packaged.python_documentation import python_documentation
from isometry.corpora.pairs.causes import (
    CauseQuestion,
    Negatives,
    causal_clauses,
    cause_rows,
    dialogue_causes,
)
from isometry.corpora.readers.dialogues import read_dialogues
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.splits import split
from isometry.evaluation.answer_scores import answer_scores
from isometry.heads.decoding.span_decoding import best_spans
from isometry.heads.pair_scorer import PairScorer
from isometry.heads.pointer import Pointer
from isometry.learners.causes import PairEntailment, SpanExtraction, SpanRow, VectorPair
from isometry.systems.run import Run
from isometry.systems.system import Figures, Scale, Splits
from isometry.training.unique_batches import unique_batches

PAIRS, SPANS = "pairs", "spans"
_GROUPS = 20
_FILES = ("dailydialog_train", "dailydialog_valid", "dailydialog_test")


@dataclass(frozen=True, kw_only=True)
class CauseScale(Scale):
    """Settings of finding causes.

    Attributes:
        dialogues: The folder of RECCON's original annotation; clauses of Python's manual, whose
            sentences say "because", where it is empty.
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
# Of targets, candidates and distances.
Score = Callable[
    [Float[np.ndarray, "n d"], Float[np.ndarray, "n d"], Sequence[int]], Float[np.ndarray, " n"]
]
# Of passages and the vectors of what is asked: the words, "" for none.
Extract = Callable[[Sequence[str], Float[np.ndarray, "n d"]], list[str]]


@dataclass(frozen=True)
class Causes:
    """How probable a cause is, from where on it is one, and which words it is.

    Attributes:
        score: The higher, the more probable.
        threshold: From here on it is one.
        extract: Finds the words; None where the best candidate stands for them.
    """

    score: Score
    threshold: float
    extract: Extract | None = None


def data(scale: CauseScale) -> Splits[Questions, Questions]:
    """Questions by page of Python's manual, split by page; or by conversation of DailyDialog.

    Raises:
        InputError: When a file of the conversations is missing.
    """
    if scale.dialogues:
        sides = []
        for name in _FILES:
            path = Path(scale.dialogues) / f"{name}.json"
            if not path.is_file():
                raise InputError(f"There is no file {path}.", "Copy RECCON's original annotation.")
            sides.append(dialogue_causes(read_dialogues(path, ReadingReport())))
        return Splits(*sides)
    questions = causal_clauses(python_documentation().documents)
    order = np.random.default_rng(0).permutation(len(questions))[: scale.questions]
    questions = [questions[row] for row in order]
    groups = [question.group for question in questions]
    named = split(groups, np.arange(len(groups)), {"train": 0.6, "validation": 0.15, "test": 0.25})
    train, validation, test = (
        [question for question, own in zip(questions, named, strict=True) if own == side]
        for side in ("train", "validation", "test")
    )
    return Splits(train, validation, test)


def vectors_of(run: CauseRun, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
    """The frozen encoder's vectors, computed once for all arms and seeds."""
    return run.cached(run.encoder()).encode(texts)


def pairs_of(
    run: CauseRun, questions: Questions, negatives: Negatives, *, blind: bool = False
) -> list[VectorPair]:
    """Vectors of targets and candidates, and whether one causes the other."""
    rows = cause_rows(questions, negatives, run.seed)
    targets = vectors_of(run, [row.target for row in rows])
    candidates = vectors_of(run, [row.candidate for row in rows])
    if blind:
        targets = np.zeros_like(targets)
    places = [
        len(question.candidates) - 1 - place
        for question in questions
        for place in range(len(question.candidates))
    ]
    return [
        VectorPair(target, candidate, row.is_cause, place if run.scale.distances else None)
        for target, candidate, row, place in zip(targets, candidates, rows, places, strict=True)
    ]


def untrained(run: CauseRun) -> Causes:
    """The cosine."""

    def score(
        first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"], _: Sequence[int]
    ) -> Float[np.ndarray, " n"]:
        return (first * second).sum(axis=1)

    return Causes(score, _threshold(run, score))


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
        pairs = pairs_of(run, run.train, negatives, blind=blind)
        d = len(pairs[0].first)
        scorer = PairScorer(d, distances=run.scale.distances)
        order = unique_batches(
            [(row,) for row in range(len(pairs))], run.scale.batch, run.scale.steps[PAIRS], run.seed
        )
        run.fit(PAIRS, PairEntailment(scorer), pairs, list(order))

        def score(
            first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"], far: Sequence[int]
        ) -> Float[np.ndarray, " n"]:
            asked = np.zeros_like(first) if blind else first
            distances = torch.tensor(far) if run.scale.distances else None
            with torch.no_grad():
                return scorer(_tensor(asked), _tensor(second), distances).numpy()

        return Causes(score, _threshold(run, score), _pointed(run, blind) if spans else None)

    return make


def _pointed(run: CauseRun, blind: bool) -> Extract:
    """Trains a pointer to the words of a cause, with as many passages that have none."""
    scale, encoder = run.scale, run.encoder()
    pointer = Pointer(encoder.dim, condition=encoder.dim)
    learner = SpanExtraction(encoder, pointer, tokens=scale.tokens)
    rows: list[SpanRow] = []
    for candidates, asked, words in _asked(run, run.train, blind):
        text = _passage(candidates)
        start = text.find(words) if words else -1
        rows.append(SpanRow(text, asked, start, start + len(words) if start >= 0 else -1))
    size = max(2, scale.batch // 8)
    order = unique_batches([(row,) for row in range(len(rows))], size, scale.steps[SPANS], run.seed)
    run.fit(SPANS, learner, rows, list(order))

    def extract(texts: Sequence[str], asked: Float[np.ndarray, "n d"]) -> list[str]:
        own = np.zeros_like(asked) if blind else asked
        found: list[str] = []
        for start in range(0, len(texts), size):
            some = [
                SpanRow(text, vector)
                for text, vector in zip(
                    texts[start : start + size], own[start : start + size], strict=True
                )
            ]
            with torch.no_grad():
                logits = learner.logits(learner.collate(some))
            for row, (first, last) in zip(
                some, best_spans(logits[:, 0], logits[:, 1], scale.longest).tolist(), strict=True
            ):
                places = learner.offsets(row.text)
                found.append(row.text[places[first][0] : places[last][1]] if first else "")
        return found

    return extract


def _asked(
    run: CauseRun, questions: Questions, blind: bool = False
) -> list[tuple[tuple[str, ...], Float[np.ndarray, " d"], str]]:
    """With the cause and without it: the candidates, the target's vector, and the words."""
    vectors = vectors_of(run, [question.target for question in questions])
    rows: list[tuple[tuple[str, ...], Float[np.ndarray, " d"], str]] = []
    for question, vector in zip(questions, vectors, strict=True):
        own = np.zeros_like(vector) if blind else vector
        others = tuple(
            text for place, text in enumerate(question.candidates) if place not in question.causes
        )
        if question.spans:
            rows.append((question.candidates, own, question.spans[0][1]))
        if others:
            rows.append((others, own, ""))
    return rows


def _passage(candidates: Sequence[str]) -> str:
    return ". ".join(candidates)


def measure(run: CauseRun, model: Causes, held: Questions) -> Figures:
    """Which candidates are causes, and which words.

    `f1 of causes` is over the candidates of a question itself, for each of up to twenty groups of
    questions. `cause found first` says of each question whether the best candidate is one, and
    `chance` how often any would be. `f1 of words` asks passages with a cause and without, all
    candidates in a row, for the words.
    """
    scores, right, number = _scored(run, model.score, held, "own")
    called = scores >= model.threshold
    groups = np.arange(len(held)) * min(_GROUPS, len(held) // 4) // len(held)
    own = [number == question for question in range(len(held))]
    found = [
        bool(right[rows][int(scores[rows].argmax())])
        for rows, question in zip(own, held, strict=True)
        if question.causes
    ]
    losses = {
        kind: _f1(values >= model.threshold, truth)
        for kind in ("other", "same label")
        for values, truth, _ in [_scored(run, model.score, held, kind)]
    }
    words = _words(run, model, held)
    return {
        "f1 of causes": np.array(
            [_f1(called[rows], right[rows]) for group in np.unique(groups)
             for rows in (np.isin(number, np.flatnonzero(groups == group)),)]
        ),
        "cause found first": np.array(found, dtype=float),
        "chance": float(np.mean([len(q.causes) / len(q.candidates) for q in held if q.causes])),
        "f1, negatives from other texts": losses["other"],
        "f1 lost to negatives of the same kind": losses["other"] - losses["same label"],
        "f1 of words": words["f1"],
        "exact words": words["exact"],
    }  # fmt: skip


def _words(run: CauseRun, model: Causes, held: Questions) -> dict[str, Float[np.ndarray, " n"]]:
    rows = _asked(run, held)
    if model.extract is not None:
        texts = [_passage(candidates) for candidates, _, _ in rows]
        found = model.extract(texts, np.stack([vector for _, vector, _ in rows]))
    else:
        sizes = [len(candidates) for candidates, _, _ in rows]
        first = np.repeat(np.stack([vector for _, vector, _ in rows]), sizes, axis=0)
        second = vectors_of(run, [text for candidates, _, _ in rows for text in candidates])
        far = [place for size in sizes for place in range(size)[::-1]]
        scores = np.split(model.score(first, second, far), np.cumsum(sizes)[:-1])
        found = [
            candidates[int(own.argmax())] if own.max() >= model.threshold else ""
            for own, (candidates, _, _) in zip(scores, rows, strict=True)
        ]
    return answer_scores(found, [[words] if words else [] for _, _, words in rows])


def _scored(
    run: CauseRun, score: Score, questions: Questions, negatives: Negatives
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Scores of all candidates, whether they are causes, and the number of their question."""
    rows = cause_rows(questions, negatives)
    first, second = (
        vectors_of(run, texts)
        for texts in ([row.target for row in rows], [row.candidate for row in rows])
    )
    far = [place for q in questions for place in range(len(q.candidates))[::-1]]
    return (
        score(first, second, far),
        np.array([row.is_cause for row in rows]),
        np.array([row.question for row in rows]),
    )


def _threshold(run: CauseRun, score: Score) -> float:
    """The one with the best F1 on validation."""
    values, right, _ = _scored(run, score, run.validation, "own")
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(right[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + right.sum())
    return float(values[order[int(f1.argmax())]])


def _f1(called: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> float:
    both = int((called & right).sum())
    return 2 * both / max(1, int(called.sum()) + int(right.sum()))


def _tensor(values: Float[np.ndarray, "n d"]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
