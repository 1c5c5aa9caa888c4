"""What a number of minutes buys in a distillation: measured once, written down, then followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import Precision, TextEncoder
from isometry.learners.distillation import DistillationRow
from isometry.learners.learner import Learner
from isometry.training.length_batches import length_batches
from isometry.training.speed import Stopwatch, encode_speeds, step_seconds, worthwhile_precision

# Shares of the time that is left: vectors of the teacher to learn from, and what is ranked.
_TARGETS, _EVALUATION = 0.35, 0.3
_FEWEST_STEPS = 10
# So many batches of texts are looked at to know how long steps are: as many as are drawn together.
_SAMPLED = 16
_SMALLEST_POOL = 200


@dataclass(frozen=True)
class Kind:
    """What differs in training a table and a stack of layers.

    Attributes:
        batch: Texts a step at most.
        learning_rate: The peak.
        most_epochs: Passes over the texts at most.
        weight_decay: Of the optimiser.
        has_layers: Whether there are matrix products, which take time and may be in bfloat16.
        tokens: In a step at most, padding included, but for a single text of more: what a step
            keeps for its gradient grows with them.
    """

    batch: int
    learning_rate: float
    most_epochs: int
    weight_decay: float
    has_layers: bool
    tokens: int | None


LAYERS = Kind(
    batch=32, learning_rate=1e-4, most_epochs=10, weight_decay=0.01, has_layers=True, tokens=8192
)
# A token that is not in the texts stays what the teacher made of it: nothing decays.
TABLE = Kind(
    batch=64, learning_rate=2e-2, most_epochs=20, weight_decay=0.0, has_layers=False, tokens=None
)


@dataclass(frozen=True)
class DistillPlan:
    """Everything that depends on the machine; with it the rest is determined.

    Attributes:
        texts: Texts to learn from, at most.
        pool: Documents that are ranked at most: all, or a sample with every answer.
        steps: Optimiser steps.
        batch: Texts a step, at most.
        precision: Of encoding and, but for tables, of training.
        learning_rate: The peak.
        measured: Speeds.
        estimate_seconds: The expected time of each phase.
        tokens: In a step at most; see `Kind`.
    """

    texts: int
    pool: int
    steps: int
    batch: int
    precision: Precision
    learning_rate: float
    measured: dict[str, float]
    estimate_seconds: dict[str, float]
    tokens: int | None = None


def _one_pass(order: Sequence[list[int]], rows: int) -> list[list[int]]:
    """The batches in which every row comes once."""
    ends = np.cumsum([len(one) for one in order])
    return list(order[: int(np.searchsorted(ends, rows)) + 1])


def tokens_read(encoder: TextEncoder | StaticEncoder, texts: Sequence[str]) -> list[int]:
    """How many tokens an encoder reads of each text, its document prompt included."""
    most = encoder.max_tokens or math.inf
    return [int(min(length, most)) for length in encoder.lengths(texts, "document")]


def make_distill_plan(
    teacher: TextEncoder,
    learner: Callable[[int], Learner],
    rows: Sequence[DistillationRow],
    passages: Sequence[str],
    *,
    documents: int,
    kind: Kind,
    cost: float,
    candidates: int,
    fewest: int,
    seconds: float,
) -> DistillPlan:
    """Measures this machine on the user's own texts and fills the time with training.

    Args:
        teacher: What is distilled.
        learner: Makes a learner of its own for so many targets, to be timed and thrown away.
        rows: What may be learnt from.
        passages: All that is ranked.
        documents: How many documents these are of.
        kind: What is trained.
        cost: The time that the student takes to encode, as a share of the teacher's.
        candidates: How many students are chosen from.
        fewest: So many texts the student needs, whatever time they take.
        seconds: That are left.
    """
    watch = Stopwatch()
    speeds = encode_speeds(teacher, [row.text for row in rows[:24]], watch)
    precision = worthwhile_precision(speeds)
    batch = min(kind.batch, max(2, len(rows) // 2))
    sample = rows[: _SAMPLED * batch]
    read = tokens_read(teacher, [row.text for row in sample])
    order = _one_pass(length_batches(read, batch, len(sample), 0, most=kind.tokens), len(sample))
    padded = np.array([len(one) * max(read[row] for row in one) for one in order])
    # Steps are of very different size: those of the middle are timed, for as much as all have.
    middle = np.argsort(padded, kind="stable")[len(order) // 2 - 1 :][:3]
    timed = [int(middle[turn % len(middle)]) for turn in range(3)]
    step = step_seconds(
        learner(len(sample)),
        [[sample[row] for row in order[one]] for one in timed],
        watch,
        learning_rate=kind.learning_rate,
        bfloat16=kind.has_layers and precision == "bfloat16",
    )
    step *= padded.mean() / padded[timed[1:]].mean()

    lengths = np.minimum(teacher.lengths(passages, "document"), teacher.max_tokens)
    passages_a_second = speeds[precision] / max(1.0, float(lengths.mean()))
    documents_a_second = passages_a_second * documents / len(passages)
    left = seconds - watch.total
    # The teacher, the untrained and the trained student rank the same documents; those that are
    # chosen from read some of the texts.
    rounds = 1 + 2 * cost
    pool = int(max(0.0, _EVALUATION * left) * documents_a_second / rounds)
    pool = min(documents, max(_SMALLEST_POOL, pool))
    encodings = 1 + candidates * cost
    texts = int(max(0.0, _TARGETS * left) * passages_a_second / encodings)
    texts = min(len(rows), max(_FEWEST_STEPS * batch, fewest, texts))
    estimate = {
        "evaluation": pool * rounds / documents_a_second,
        "targets": texts * encodings / passages_a_second,
    }
    left -= sum(estimate.values())
    most = kind.most_epochs * math.ceil(texts * len(order) / len(sample))
    steps = min(most, max(_FEWEST_STEPS, int(left / step)))
    estimate["training"] = steps * step
    return DistillPlan(
        texts=texts,
        pool=pool,
        steps=steps,
        batch=batch,
        precision=precision,
        learning_rate=kind.learning_rate,
        measured={
            "encode_tokens_per_second": round(speeds[precision]),
            "seconds_a_step": round(float(step), 4),
        },
        estimate_seconds={name: round(value, 1) for name, value in estimate.items()},
        tokens=kind.tokens,
    )
