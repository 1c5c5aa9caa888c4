"""One model out of several: where between them to stand is learned on a few examples.

One embedder must find, group and tell apart. When all tasks are trained at once, their gradients
disagree, and the largest data set dominates; another mixture takes another training. Tuned
separately from one base, models can be merged instead: each is the base and a task vector, and a
point in the span of these vectors is a model of the same size. An average stands at the middle and
too near to the base, since vectors of different tasks are nearly orthogonal. Self Positioning
looks for the direction and the distance by gradient descent on a small probe with as many examples
of each task. Its gradient is one backward pass for each task, and an inner product with each task
vector.
"""

from __future__ import annotations

import numpy as np

from isometry.merging.probe_loss import TowersProbe
from isometry.merging.self_positioning import Position, arc, learn_weights, self_positioning
from isometry.merging.task_vectors import task_vectors
from isometry.systems.mergers_study import ORDERS, added, averaged, elected, folded, thinned
from isometry.systems.merging_study import (
    PROPORTIONAL,
    UNIFORM,
    Merged,
    MergingRun,
    alone,
    experts,
    fresh,
    joint,
    keys_of,
    measure,
    placed,
    probe_losses,
    towers,
)
from isometry.systems.merging_tasks_study import FULL, MINIATURE, SMALL, TASKS, data
from isometry.systems.system import Arm, Gate, System
from isometry.training.unique_batches import unique_batches

# As far as the plain sum of the task vectors, which task arithmetic may choose too.
_FARTHEST = float(len(TASKS))


def positioned(run: MergingRun) -> Merged:
    """Self Positioning, from the best of the fixed mergers that stand in the span."""
    (base, models), scale = experts(run), run.scale
    vectors, learner = task_vectors(base, models), towers(run, fresh(run))
    equal = (1 / len(models),) * len(models)
    starts = [Position(equal), *(Position(equal, len(models) * by) for by in scale.scales)]
    starts += [arc(vectors, order) for order in ORDERS[: scale.orders]]
    probe = {
        task: TowersProbe(
            learner,
            rows,
            list(unique_batches(keys_of(rows), scale.batch, scale.probe_steps, run.seed)),
        )
        for task, rows in run.train.probe.items()
    }
    learned = learn_weights(
        base,
        models,
        probe,
        starts=[start for start in starts if start.distance <= _FARTHEST],
        steps=scale.probe_steps,
        farthest=_FARTHEST,
    )
    position = learned.position(next(iter(base)))
    shares = dict(zip(TASKS, position.shares, strict=True))
    encoder = placed(fresh(run), self_positioning(base, models, learned.position))
    return Merged(
        encoder,
        # A step sees a batch of each task.
        len(TASKS) * scale.probe_steps,
        {
            "probe loss": probe_losses(run, encoder),
            "probe loss over the best start": learned.loss - learned.start_loss,
            "distance from the base": position.distance,
            **{f"share of {task}": share for task, share in shares.items()},
            "highest cosine of task vectors": float(
                vectors.cosines[np.triu_indices(len(models), 1)].max()
            ),
            "sign conflict of task vectors": vectors.sign_conflict,
            "steps whose tasks disagree": learned.disagreement,
        },
    )


system = System(
    title="Self Positioning: merge weights learned on a small probe",
    arxiv="2410.15035",
    claim="It is better on average, and at its worst task, than a joint training that the largest"
    " task dominates; of what each task's own model gained it keeps most, and at its worst task it"
    " is better than every merger whose weights are not learned.",
    differs="Of the paper the abstract could be read, and no code was published: the"
    " parametrisation, a softmax and a distance of at most 3, and Adam are ours. Three tasks out of"
    " WordNet and MiniLM stand in for MTEB and its training sets. Word vectors are frozen."
    " SLERP is folded tensor by tensor over the weights; the method may start from that of"
    " whole task vectors. The mergers that it is compared with choose their settings, TIES"
    " and DARE also how far to go, on twice as many labelled items as the probe has. Figures"
    " are normalised: each task's score over that of its own model. A task whose own model"
    " gained nothing counts as nothing kept. Another mixture costs the method a batch of each task"
    " at every step; the whole probe, at which it looks once for each start and six times on its"
    " way, without gradients, is not counted.",
    data=data,
    measure=measure,
    arms={
        "untrained": Arm("the encoder as it is", lambda run: Merged(fresh(run))),
        **{f"{task} alone": alone(task) for task in TASKS},
        "proportional joint": joint("all tasks at once, each row as likely", PROPORTIONAL),
        "uniform joint": joint("all tasks at once, with as many steps of each", UNIFORM),
        "average": Arm("the mean of the tasks' own models", averaged),
        "task arithmetic": Arm("the sum of their task vectors, scaled", added),
        "slerp": Arm("two of them turned into each other, then the third", folded),
        "ties": Arm("trimmed task vectors that agree in sign, scaled", elected),
        "dare": Arm("task vectors thinned at random, scaled", thinned),
        "self-positioning": Arm("shares and distance learned on the probe", positioned),
    },
    baseline="proportional joint",
    method="self-positioning",
    gates=(
        Gate(
            "normalised mean", 0.01, "proportional joint",
            reported="+0.7 points of MTEB (abstract, which does not name the other model)",
        ),
        Gate("normalised mean", 0.0, "average"),
        Gate("worst task", 0.0, "proportional joint"),
        Gate("share of the experts' gain", 0.70),
        *(
            Gate("worst task", 0.0, name)
            for name in ("average", "task arithmetic", "slerp", "ties", "dare")
        ),
        Gate("probe loss over the best start", 0.0, lower_is_better=True),
        Gate("probe loss", -1e-4, "average", lower_is_better=True),
        Gate("normalised mean", 0.0, "uniform joint", report_only=True),
        Gate("worst task", 0.0, "uniform joint", report_only=True),
        *(
            Gate("steps for another mixture", 180, arm=arm, lower_is_better=True, report_only=True)
            for arm in ("self-positioning", "uniform joint")
        ),
        *(
            Gate(metric, 0.0, "untrained", arm=f"{task} alone", report_only=True)
            for task, metric in TASKS.items()
        ),
        *(Gate(f"share of {task}", 0.0, report_only=True) for task in TASKS),
        Gate("distance from the base", 0.0, report_only=True),
        Gate("steps whose tasks disagree", 0.0, report_only=True),
        Gate("highest cosine of task vectors", 1.0, lower_is_better=True, report_only=True),
        Gate("sign conflict of task vectors", 0.0, report_only=True),
    ),
    scales={"miniature": MINIATURE, "small": SMALL, "full": FULL},
)  # fmt: skip
