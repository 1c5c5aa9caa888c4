"""One model out of several: where between them to stand is learned on a few examples.

One embedder must find, group and tell apart. When all tasks are trained at once, their gradients
disagree, and the largest data set dominates; another mixture takes another training. Tuned
separately from one base, models can be merged instead: each is the base and a task vector, and a
point in the span of these vectors is a model of the same size. An average stands at the middle and
too near to the base, since vectors of different tasks are nearly orthogonal. Self Positioning
looks for the direction and the distance by gradient descent on a small probe with as many examples
of each task; here for each tensor on its own, and by losses over what each task's own model gains,
so that none is given up for another. The gradient is one backward pass for each task, and an inner
product with each task vector.
"""

from __future__ import annotations

from functools import partial

from isometry.systems.mergers_study import (
    added,
    averaged,
    elected,
    folded,
    positioned,
    thinned,
)
from isometry.systems.merging_study import (
    PROPORTIONAL,
    UNIFORM,
    Merged,
    alone,
    fresh,
    joint,
    measure,
)
from isometry.systems.merging_tasks_study import FULL, MINIATURE, SMALL, TASKS, data
from isometry.systems.system import Arm, Gate, System

system = System(
    title="Self Positioning: merge weights learned on a small probe",
    arxiv="2410.15035",
    claim="It is better on average, and at its worst task, than a joint training that the largest"
    " task dominates; of what each task's own model gained it keeps most, and at its worst task it"
    " is better than every merger whose weights are not learned.",
    differs="Of the paper the abstract could be read, and no code was published: the"
    " parametrisation, a softmax and a distance of at most 3, and Adam are ours. This is a second"
    " look: at first the method was one position for all tensors, by the mean of the losses, which"
    " is now an arm of its own; positions of tensors and losses over gains were taken for their"
    " figures on validation, with one seed. Three tasks out of WordNet and MiniLM stand in for"
    " MTEB and its training sets. Word vectors are frozen. SLERP is folded tensor by tensor over"
    " the weights; the method may start from that of whole task vectors; the Karcher mean is no"
    " merger here. The mergers that it is compared with choose their settings, TIES and DARE also"
    " how far to go, on twice as many labelled items as the probe has. Figures are normalised:"
    " each task's score over that of its own model. A task whose own model gained nothing counts"
    " as nothing kept. Another mixture costs the method a batch of each task at every step; the"
    " whole probe, at which it looks once for the base, each model and each start, and six times"
    " on its way, without gradients, is not counted.",
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
        "one position": Arm(
            "shares and distance learned on the probe, the same for all tensors",
            partial(positioned, per="model", by_gains=False),
        ),
        "self-positioning": Arm(
            "shares and distance of each tensor, by shares of what the experts gain", positioned
        ),
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
        Gate("normalised mean", 0.0, "one position", report_only=True),
        Gate("worst task", 0.0, "one position", report_only=True),
        Gate("share of the experts' gain", 0.70, arm="one position", report_only=True),
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
