"""What `distill` proves: quality on queries that nothing was chosen on, speed, and the record."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from isometry.core.machine import machine, versions
from isometry.core.progress import progress_shown, track
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import score_rankings
from isometry.jobs import ranking
from isometry.jobs.distilling import Distilling
from isometry.jobs.preparation import FEWEST_QUERIES
from isometry.jobs.sampling import Sample

_COMPARED = (("teacher", "student"), ("untrained", "student"), ("teacher", "untrained"))
# Texts whose encoding is timed; the student reads them again until its time can be measured.
_TIMED, _TURNS, _LEAST_SECONDS = 64, 3, 0.2


def prove(job: Distilling, alpha: float) -> dict[str, Any] | None:
    """Quality on the queries of the test side; None where too few can be made."""
    asked = job.data.questions["test"]
    if len(asked.queries) < FEWEST_QUERIES:
        return None
    sample = Sample(len(job.documents), job.plan.pool, len(asked.queries), job.settings.seed)
    ranked = job.collection.only(sample.ranked([asked]))
    encoders = {
        "teacher": job.taught_by,
        "student": job.kept(job.student(alpha)),
        "untrained": job.kept(job.student(0.0)),
    }
    scores: dict[str, ranking.PerQuery] = {}
    for name, encoder in encoders.items():
        found = ranking.found_by_vectors(encoder, ranked, asked.queries)
        scores[name] = score_rankings(found.order, asked.relevance)
    groups = job.data.parts_of(asked)
    return {
        "queries": len(asked.queries),
        "documents": ranked.size,
        "kind": "artificial",
        "groups": len(set(groups)),
        "rows": [ranking.row_of(name, values) for name, values in scores.items()],
        "differences": [
            row
            for before, after in _COMPARED
            for row in ranking.differences(
                f"{after} - {before}", "dense", scores[before], scores[after], groups
            )
        ],
    }


def speed(job: Distilling, alpha: float) -> dict[str, float]:
    """Texts a CPU second of teacher and student, on the same texts, in turns."""
    teacher, student = _on_cpu(job.teacher), _on_cpu(job.student(alpha))
    sample = [text for text, role in job.texts if role == "document"][:_TIMED]
    repeats = max(1, int(_LEAST_SECONDS / max(1e-4, _cpu_seconds(student, sample))))
    repeated = sample * min(1000, repeats)
    teacher_seconds, student_seconds = float("inf"), float("inf")
    with track("Timing", _TURNS, "turns") as task:
        for _ in range(_TURNS):
            teacher_seconds = min(teacher_seconds, _cpu_seconds(teacher, sample))
            student_seconds = min(student_seconds, _cpu_seconds(student, repeated))
            task.advance()
    speeds = [len(sample) / teacher_seconds, len(repeated) / student_seconds]
    lengths = teacher.lengths(sample, "document")
    return {
        "teacher_texts_a_cpu_second": speeds[0],
        "student_texts_a_cpu_second": speeds[1],
        "times_as_fast": speeds[1] / speeds[0],
        "texts": len(sample),
        "mean_tokens": float(np.mean(lengths)),
    }


def describe(job: Distilling, chosen: dict[str, Any]) -> dict[str, Any]:
    """The record: what was made out of what, how, and how good it is; each step done once."""
    facts, alpha = job.data.facts, chosen["alpha"]
    return {
        "settings": asdict(job.settings),
        "data": {
            **{name: facts[name] for name in ("documents", "files", "skipped_count", "splits")},
            "learnt_from": len(job.texts),
            "chosen_on": len(job.held),
        },
        "teacher": _size(job.teacher),
        "student": _size(job.student(alpha)),
        "plan": asdict(job.plan),
        "training": job.train(),
        "validation": {"candidates": chosen["candidates"]},
        "alpha": alpha,
        "test": job.work.json("test", lambda: prove(job, alpha)),
        "speed": job.work.json("speed", lambda: speed(job, alpha)),
        "versions": versions(),
        "machine": machine(),
    }


def _on_cpu(encoder: TextEncoder | StaticEncoder) -> TextEncoder | StaticEncoder:
    """An encoder where time is counted; the same one if it is there."""
    there = next(encoder.parameters()).device.type == "cpu"
    return encoder if there else copy.deepcopy(encoder).cpu()


def _cpu_seconds(encoder: TextEncoder | StaticEncoder, texts: Sequence[str]) -> float:
    with progress_shown(False):
        started = time.process_time()
        encoder.encode(texts)
        return max(1e-9, time.process_time() - started)


def _size(encoder: TextEncoder | StaticEncoder) -> dict[str, Any]:
    return {
        "layers": len(encoder.layers()) if isinstance(encoder, TextEncoder) else 0,
        "dim": encoder.dim,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "fingerprint": encoder.fingerprint(),
    }
