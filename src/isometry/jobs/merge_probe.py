"""Documents that nobody labelled -> a probe, and out of it the weights of a merge."""

from __future__ import annotations

import glob
import random
import tempfile
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.corpora.documents import passage
from isometry.corpora.pairs.structure import Pair
from isometry.encoders.text import TextEncoder
from isometry.jobs.loading import load_sound_text_encoder
from isometry.jobs.merge_recipe import MergeSettings, TensorWeights
from isometry.jobs.merge_tasks import Task
from isometry.jobs.preparation import FEWEST_QUERIES, GIVEN, Prepared
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.merging.checkpoints import Checkpoint
from isometry.merging.probe_loss import TowersProbe
from isometry.merging.self_positioning import ProbeLoss, learn_weights, over_gains
from isometry.merging.task_vectors import task_vectors
from isometry.merging.tensors import State
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.training.determinism import deterministic
from isometry.training.unique_batches import unique_batches

# Of each task; a few numbers are learned, so a few hundred pairs say enough.
_MOST_PAIRS = 200
_STEPS, _BATCH = 60, 32
_QUERY_TOKENS, _DOCUMENT_TOKENS = 64, 128
_TEMPERATURE = 0.05
# Where the best model takes less off the base's loss, a share of that is a share of noise.
_LEAST_GAIN = 0.05


def probe_rows(
    tasks: Sequence[Task], seed: int, folder: Path
) -> tuple[dict[str, list[PairRow]], list[str]]:
    """Queries with their documents, as many of each task, by its source's name; and warnings.

    The queries are those that a fit with this seed validates on: models that it tuned on the same
    source were not trained on them, and an evaluation asks others. Where people's are too few,
    those that a fit would train on are taken, too.

    Args:
        tasks: What the merge shall be good at.
        seed: Of the split and the queries.
        folder: Where the steps leave their results.

    Raises:
        InputError: When one gives too few.
    """
    found: dict[str, list[PairRow]] = {}
    warnings: list[str] = []
    for number, task in enumerate(tasks):
        name = task.source.name
        with Workspace(folder / f"probe-{number}", "probe") as work:
            data = task.prepared(work, seed)
        rows = _pairs(data, ())
        trained = [pair for pair in data.pairs if pair.task == GIVEN]
        if len(rows) < _BATCH and trained:
            rows = _pairs(data, trained)
            warnings.append(
                f"The probe {name} has few queries, so those that isometry fit would train on are"
                " among them: the weights lean to a model that was tuned on these."
            )
        if len(rows) < FEWEST_QUERIES:
            raise InputError(
                f"Too little text in the probe {name}: it gives {len(rows)} pairs, and at"
                f" least {FEWEST_QUERIES} are needed.",
                "Give more documents, or leave this --probe out.",
            )
        found[name] = random.Random(seed).sample(rows, len(rows))
    least = min(found, key=lambda name: len(found[name]))
    fewest = min(_MOST_PAIRS, len(found[least]))
    if fewest < _BATCH:
        warnings.append(f"The weights are learned on {fewest} pairs: {least} gives no more.")
    return {name: rows[:fewest] for name, rows in found.items()}, warnings


def _pairs(data: Prepared, others: Iterable[Pair]) -> list[PairRow]:
    """The validation's queries and others with what answers them: one of each document's cluster.

    Near-duplicates answer each other's queries.
    """
    number_of = {document.id: row for row, document in enumerate(data.documents)}
    asked = data.questions["validation"]
    # All that answers a query, so that none of it counts as a wrong answer.
    answers: defaultdict[str, set[Hashable]] = defaultdict(set)
    found: list[tuple[str, str, int]] = []
    for query, relevant in zip(asked.queries, asked.relevance, strict=True):
        answers[query].update(int(data.clusters[document]) for document in relevant)
        best = max(relevant, key=lambda document: relevant[document])
        found.append((query, passage(*data.views[best]), int(data.clusters[best])))
    for pair in others:
        key = int(data.clusters[number_of[pair.document]])
        answers[pair.query].add(key)
        found.append((pair.query, passage(pair.header, pair.body), key))
    rows: dict[int, PairRow] = {}
    for query, text, key in found:
        rows.setdefault(key, PairRow(query, text, key, answers=frozenset(answers[query])))
    return list(rows.values())


def learn(
    settings: MergeSettings, tasks: Sequence[Task], named: Checkpoint, like: str, prompts: str
) -> tuple[MergeSettings, dict[str, Any], list[str]]:
    """Learns where between the models each tensor is to stand.

    A task's loss is taken over what the best of the models gains on it (see `over_gains`).

    Args:
        settings: Models, their base and the seed.
        tasks: What the merge shall be good at.
        named: The checkpoint whose names of tensors the merge has.
        like: The model whose tokenizer and modules the merge will have.
        prompts: The model whose prompts it will have.

    Returns:
        The settings with weights and scale of each tensor, and their means for what has none of
        its own; what there is to say about it; and warnings. `pairs` has how many there are of
        each task, `losses` those of the base and of each model on it, `without_gain` the tasks that
        no model is clearly better at than the base, whose loss is taken over the base's; `per` says
        whether each tensor has a position, or one the whole model, where files and encoder name
        tensors differently. The probe's `loss` is the mean of what is left of the tasks' gains,
        `start_loss` that of the best fixed merger (at the scale `start_scale` of an average);
        `disagreement` is the share of steps in which two tasks pull against each other. Of the
        models' task vectors there are their `norms` over that of the base, their `cosines`, and how
        often their signs conflict.

    Raises:
        InputError: When a task gives too little, or the loss is not finite.
    """
    # What cannot be used is refused before documents are read.
    say("Loading the models to learn their weights ...")
    encoder = load_sound_text_encoder(like)
    if prompts != like:
        encoder.prompts = TextEncoder.load(prompts).prompts
    base, *models = [_weights(name) for name in (str(settings.base), *settings.models)]
    # A base may have a head that was never theirs.
    base = {name: part for name, part in base.items() if name in models[0]}
    with tempfile.TemporaryDirectory() as folder:
        rows, warnings = probe_rows(tasks, settings.seed, Path(folder))
    learner = TwoTowers(
        encoder,
        Matryoshka(InfoNCE(_TEMPERATURE, a_to_b=1.0), MRL((encoder.dim,))),
        query_tokens=_QUERY_TOKENS,
        document_tokens=_DOCUMENT_TOKENS,
    )
    probe: dict[str, ProbeLoss] = {
        name: TowersProbe(
            learner,
            own,
            list(
                unique_batches([(row.key, row.query) for row in own], _BATCH, _STEPS, settings.seed)
            ),
        )
        for name, own in rows.items()
    }
    stored = _stored_names(base, named)
    with deterministic():
        losses = {task: _losses(loss, [base, *models]) for task, loss in probe.items()}
        flat = [
            task for task, (before, *own) in losses.items() if min(own) > (1 - _LEAST_GAIN) * before
        ]
        learned = learn_weights(
            base,
            models,
            {
                task: over_gains(base, [base] if task in flat else models, {task: loss})[task]
                for task, loss in probe.items()
            },
            per="tensor" if len(stored) == len(base) else "model",
            steps=_STEPS,
        )
    vectors = task_vectors(base, models)
    stands = list(learned.positions.values()) or [learned.position("")]
    facts = {
        "pairs": {name: len(own) for name, own in rows.items()},
        "losses": losses,
        "without_gain": flat,
        "per": learned.per,
        "loss": learned.loss,
        "start_loss": learned.start_loss,
        "start_scale": learned.start.distance,
        "disagreement": learned.disagreement,
        "norms": [float(norm / vectors.base_norm) for norm in vectors.norms],
        "cosines": vectors.cosines.tolist(),
        "sign_conflict": vectors.sign_conflict,
    }
    made = replace(
        settings,
        weights=tuple(np.mean([one.shares for one in stands], axis=0).tolist()),
        scale=float(np.mean([one.distance for one in stands])),
        tensors=tuple(
            TensorWeights(glob.escape(stored[name]), one.shares, one.distance)
            for name, one in learned.positions.items()
            if learned.per == "tensor"
        ),
        # As the readers show them: without a password.
        probe=tuple(task.source.name for task in tasks),
    )
    warnings += [
        f"No model takes {_LEAST_GAIN:.0%} off the base's loss on the probe {task}"
        f" ({losses[task][0]:.3f}; the best has {min(losses[task][1:]):.3f}): there is hardly"
        " anything to keep."
        for task in flat
    ]
    return made, facts, warnings


def _losses(loss: ProbeLoss, states: Sequence[State]) -> list[float]:
    """A task's loss on its whole probe, of each state."""
    with torch.no_grad():
        return [float(loss(state, None)) for state in states]


def _stored_names(parameters: Iterable[str], checkpoint: Checkpoint) -> dict[str, str]:
    """What a checkpoint calls an encoder's parameters; those that it has no name for are missing.

    An encoder's begin with the number of the module, and in the first of them with the library's
    name for the transformer; where a file has those of a model with a head, with the body's name.
    """
    folders = [module.path for module in checkpoint.modules]
    bodies = sorted({name.partition(".")[0] for name in checkpoint if "/" not in name})
    found: dict[str, str] = {}
    for parameter in parameters:
        _, number, rest = parameter.split(".", 2)
        module = int(number)
        inner = rest.partition(".")[2]
        names = [inner, *(f"{body}.{inner}" for body in bodies)]
        if module:
            names = [f"{folders[module]}/{rest}"] if module < len(folders) else []
        name = next((name for name in names if name in checkpoint), None)
        if name is not None:
            found[parameter] = name
    return found


def _weights(source: str) -> Mapping[str, Tensor]:
    """A model's parameters by their names in an encoder, without what no vector depends on.

    The library draws a pooler at random for a file that has none.
    """
    encoder = load_sound_text_encoder(source)
    return {
        name: part.detach().cpu()
        for name, part in encoder.named_parameters()
        if ".pooler." not in name
    }
