"""The training of a fit: the pairs of every step, and the steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from isometry.corpora.pairs.tasks import Pair
from isometry.jobs.batching import make_batches, read_rows
from isometry.jobs.fitting import Fitting
from isometry.jobs.writing import filter_pairs
from isometry.training.plan import make_learner
from isometry.training.trainer import Batches, Trainer

# The clock ends a training that takes this many times what was planned.
_PATIENCE = 1.5


def batches(job: Fitting) -> dict[str, Any]:
    """The pairs of every step; see `make_batches`."""
    plan = job.plan

    def make() -> dict[str, Any]:
        with job.phase("batches"):
            kept, facts = _found_again(job)
            pairs = [*job.data.pairs, *kept]
            drawn = np.random.default_rng(plan.seed).permutation(len(pairs))[: plan.pairs]
            made = make_batches(
                [pairs[row] for row in np.sort(drawn)],
                job.hidden,
                job.data.clusters,
                job.base,
                size=plan.batch,
                steps=plan.steps,
                seed=plan.seed,
            )
            return made | {"written": facts}

    return job.work.json("batches", make)


def _found_again(job: Fitting) -> tuple[list[Pair], dict[str, Any]]:
    """The written pairs that pass the round trip."""
    written, facts = job.written
    if not written:
        return [], facts
    trained = np.array(job.data.sides) == "train"
    answers = {pair.document for pair in written}
    rows = {row for row, name in enumerate(job.documents) if name in answers}
    passages = job.hidden.only(job.sample.filled(rows) & trained)
    kept, filtered = filter_pairs(
        written,
        passages,
        job.data.clusters,
        job.by_lexis("lexical-train", passages),
        job.base,
        dense_weight=job.compare_before_training()["dense_weight"],
        held_out=[query for part in job.data.questions.values() for query in part.queries],
    )
    return kept, facts | filtered


def train(job: Fitting, batches: dict[str, Any]) -> dict[str, Any]:
    """The planned steps, from the last checkpoint on; leaves the folder `tuned`."""
    plan = job.plan
    # A plan that was given is followed to its end.
    patience = None
    if job.given_plan is None:
        patience = _PATIENCE * max(60.0, plan.estimate_seconds["training"])

    def make() -> dict[str, Any]:
        with job.phase("training"):
            # A copy: the base must stay what it is.
            encoder = job.load_base()
            trainer = Trainer(
                make_learner(encoder, plan),
                Batches(read_rows(batches), batches["order"]),
                job.work.path / "checkpoints",
                learning_rate=plan.learning_rate,
                bfloat16=plan.precision == "bfloat16",
                checkpoint_every=max(1, min(50, plan.steps // 5)),
                seconds=patience,
            )
            trained = trainer.run()
            encoder.save(job.work.path / "tuned")
        return {
            "steps": plan.steps,
            "steps_done": trained.steps,
            "pairs_seen": sum(len(batch) for batch in batches["order"][: trained.steps]),
            "stopped_early": trained.stopped_early,
            "loss": trained.loss,
            "seconds": job.seconds["training"],
        }

    result = job.work.json("training", make)
    job.work.discard("checkpoints")
    return result
