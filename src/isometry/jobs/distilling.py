"""The steps of `distill`, each done once and resumable; `jobs/distill.py` puts them in order."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file

from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.corpora.readers import Source
from isometry.encoders.cached import CachedEncoder
from isometry.encoders.finite import is_finite
from isometry.encoders.static import (
    StaticEncoder,
    token_basis,
    vocabulary_vectors,
)
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.surgery.projection import project
from isometry.encoders.text import Role, TextEncoder
from isometry.evaluation.agreement import agreement
from isometry.jobs import ranking
from isometry.jobs.distill import DistillSettings
from isometry.jobs.distill_plan import (
    LAYERS,
    TABLE,
    DistillPlan,
    make_distill_plan,
    tokens_read,
)
from isometry.jobs.preparation import Prepared, prepare
from isometry.jobs.ranking import Collection
from isometry.learners.distillation import Distillation, DistillationRow, Student
from isometry.merging.average import average
from isometry.objectives.feature_distillation import FeatureDistillation
from isometry.training.length_batches import length_batches
from isometry.training.trainer import Batches, Trainer

# Texts with whose prompt to put before them.
Texts = list[tuple[str, Role]]

# Dimensions of a table where nobody says how many, as in model2vec.
_TABLE_DIM = 256
# The points on the line untrained .. trained that are chosen from.
_ALPHAS = (0.0, 0.5, 1.0)
_MOST_HELD = 500
# Passages that held-out texts search.
_MOST_AMONG = 1000
_PATIENCE = 1.5


class Distilling:
    """One distillation in its workspace; every step leaves its result there."""

    def __init__(
        self, work: Workspace, source: Source, settings: DistillSettings, teacher: TextEncoder
    ) -> None:
        self.work = work
        self.settings = settings
        self.teacher = teacher
        self.kind = TABLE if settings.static else LAYERS
        self._started = time.monotonic()
        self.data: Prepared = prepare(work, source, seed=settings.seed)
        if not {"train", "validation"} <= set(self.data.sides):
            raise InputError(
                f"Too little independent text in {source.name}: nothing can be held out to choose"
                " a student on.",
                "Add documents.",
            )
        self.documents = [document.id for document in self.data.documents]

    # -- what there is ----------------------------------------------------------------------

    @cached_property
    def collection(self) -> Collection:
        """The passages that the teacher reads to the end; every encoder gets the same."""
        chunks = self.work.table(
            "passages", lambda: ranking.passages_of(self.teacher, self.documents, self.data.views)
        )
        return ranking.collection(self.documents, chunks)

    def _passages(self, side: str) -> list[str]:
        own = np.array(self.data.sides)[self.collection.owner] == side
        passages = self.collection.passages
        return [passages[row] for row in np.flatnonzero(own)]

    @cached_property
    def all_texts(self) -> Texts:
        """What may be learnt from, shuffled: passages of the training side, and queries to it."""
        queries = dict.fromkeys(pair.query for pair in self.data.pairs)
        both: Texts = [(passage, "document") for passage in dict.fromkeys(self._passages("train"))]
        both.extend((query, "query") for query in queries)
        if self.settings.static:
            # A text without a token that counts has no vector to be pulled.
            kept = self._untrained(self.axes).encode([text for text, _ in both]).any(axis=1)
            both = [both[row] for row in np.flatnonzero(kept)]
        if not both:
            raise InputError("No text has a token that the teacher knows.", "Add other documents.")
        if len(both) < self._fewest:
            raise InputError(
                f"{len(both)} texts are too few for {self.dim} dimensions.",
                "Add documents, or choose a smaller --dim.",
            )
        order = np.random.default_rng(self.settings.seed).permutation(len(both))
        return [both[row] for row in order]

    @cached_property
    def texts(self) -> Texts:
        """What is learnt from."""
        return self.all_texts[: self.plan.texts]

    @cached_property
    def held(self) -> Texts:
        """What is chosen on: passages and queries of the validation side."""
        passages = self._passages("validation")
        order = np.random.default_rng(self.settings.seed).permutation(len(passages))
        texts: Texts = [(passages[row], "document") for row in order[:_MOST_HELD]]
        asked = self.data.questions["validation"].queries
        return [*texts, *((query, "query") for query in asked[:_MOST_HELD])]

    # -- the plan ---------------------------------------------------------------------------

    @cached_property
    def plan(self) -> DistillPlan:
        """What this machine can do in the minutes."""

        def make() -> dict[str, Any]:
            say("Measuring this machine ...")
            return asdict(self._make_plan())

        return DistillPlan(**self.work.json("plan", make))

    def _make_plan(self) -> DistillPlan:
        depth = len(self.teacher.layers())

        def trial(targets: int) -> Distillation:
            # Which axes are kept makes no difference to the time.
            axes = self.axes if self.settings.static else np.eye(self.dim, self.teacher.dim)
            one_hot = np.eye(targets, self.dim, dtype=np.float32)
            return self._learner(self._untrained(axes), one_hot)

        return make_distill_plan(
            self.teacher,
            trial,
            _rows(self.all_texts),
            self.collection.passages,
            documents=len(self.documents),
            kind=self.kind,
            cost=(self.settings.layers or depth) / depth if self.kind.has_layers else 0.0,
            candidates=len(_ALPHAS),
            fewest=self._fewest,
            seconds=60 * self.settings.minutes - (time.monotonic() - self._started),
        )

    # -- teacher and student ----------------------------------------------------------------

    @property
    def dim(self) -> int:
        """The dimensions of the student."""
        most = self.teacher.dim
        return self.settings.dim or (min(_TABLE_DIM, most) if self.settings.static else most)

    @property
    def _fewest(self) -> int:
        """How many texts it takes to find the axes, where they are found in vectors of texts."""
        on_axes = not self.settings.static and self.dim < self.teacher.dim
        return self.dim if on_axes else 1

    def kept(self, encoder: TextEncoder | StaticEncoder) -> CachedEncoder | StaticEncoder:
        """An encoder whose vectors are kept in the workspace, unless it is a table."""
        if isinstance(encoder, StaticEncoder):
            return encoder
        return CachedEncoder(encoder, self.work.path / "vectors", self.plan.precision)

    @cached_property
    def taught_by(self) -> CachedEncoder | StaticEncoder:
        """The teacher, with the vectors that it has made so far."""
        return self.kept(self.teacher)

    def by_teacher(self, texts: Texts) -> Float[np.ndarray, "texts width"]:
        """What the teacher makes of texts."""
        return encode(self.taught_by, texts, "Encoding with the teacher")

    def targets(self, texts: Texts) -> Float[np.ndarray, "texts dim"]:
        """What the teacher makes of texts, on the student's axes."""
        vectors = self.by_teacher(texts)
        return vectors if self.axes is None else _unit(vectors @ self.axes.T)

    @cached_property
    def _vocabulary(self) -> Float[np.ndarray, "vocabulary width"]:
        """What the teacher makes of every token."""
        # Without prompts: what the pooling leaves out of one would be the token itself.
        plain = copy.copy(self.teacher)
        plain.prompts = dict.fromkeys(plain.prompts, "")
        return self.work.array("vocabulary", lambda: vocabulary_vectors(plain))

    @cached_property
    def axes(self) -> Float[np.ndarray, "dim width"] | None:
        """The axes of the teacher's space that the student keeps; None for all as they are."""
        if self.settings.static:
            return self.work.array(
                "axes", lambda: token_basis(self.teacher, self._vocabulary, self.dim)
            )
        if self.dim == self.teacher.dim:
            return None
        return self.work.array("axes", self._text_axes)

    def _text_axes(self) -> Float[np.ndarray, "dim width"]:
        from sklearn.decomposition import PCA

        vectors = self.by_teacher(self.texts)
        return np.asarray(PCA(self.dim, svd_solver="full").fit(vectors).components_)

    def _untrained(
        self, axes: Float[np.ndarray, "dim width"] | None
    ) -> TextEncoder | StaticEncoder:
        """The student before it learns anything: the teacher, cut."""
        if self.settings.static:
            assert axes is not None
            return StaticEncoder.of_vectors(self.teacher, self._vocabulary, axes)
        depth = len(self.teacher.layers())
        keep = self.settings.layers or depth
        # Whoever keeps all layers asks for no vectors of inner ones, which few models have.
        small = self.teacher if keep == depth else truncate(self.teacher, keep)
        return small if axes is None else project(small, axes)

    def student(self, alpha: float) -> TextEncoder | StaticEncoder:
        """The student at a point of the line untrained .. trained."""
        student = self._untrained(self.axes)
        if alpha > 0:
            device = str(next(student.parameters()).device)
            trained = load_file(self.work.path / "trained" / "model.safetensors", device)
            models = [student.state_dict(), trained]
            student.load_state_dict(dict(average(models, [1 - alpha, alpha])))
        return student

    def _learner(self, student: Student, targets: Float[np.ndarray, "texts dim"]) -> Distillation:
        # Of a teacher that keeps all vectors in a narrow cone, a student would learn the cone.
        center = torch.from_numpy(targets.mean(axis=0))
        learner = Distillation(student, targets, FeatureDistillation("cosine", center=center))
        return learner.to(next(learner.parameters()).device)

    # -- the steps --------------------------------------------------------------------------

    def announce(self) -> None:
        """Says what was found and what is planned."""
        plan = self.plan
        say(
            f"{len(self.documents):,} documents; {len(self.texts):,} texts to learn from,"
            f" {len(self.held):,} to choose on."
        )
        say(
            f"Plan: {plan.steps:,} steps of up to {plan.batch} texts, about"
            f" {sum(plan.estimate_seconds.values()) / 60:.1f} minutes from here."
        )

    def train(self) -> dict[str, Any]:
        """The planned steps, from the last checkpoint on; leaves the folder `trained`."""
        plan, _ = self.plan, self.axes
        # What can be wrong with texts and settings was found out by now.
        self.work.worth_keeping = True

        def make() -> dict[str, Any]:
            targets = self.targets(self.texts)
            student = self._untrained(self.axes)
            lengths = tokens_read(student, [text for text, _ in self.texts])
            trainer = Trainer(
                self._learner(student, targets),
                Batches(
                    _rows(self.texts),
                    length_batches(
                        lengths, plan.batch, plan.steps, self.settings.seed, most=plan.tokens
                    ),
                ),
                self.work.path / "checkpoints",
                learning_rate=plan.learning_rate,
                weight_decay=self.kind.weight_decay,
                bfloat16=self.kind.has_layers and plan.precision == "bfloat16",
                checkpoint_every=max(1, min(50, plan.steps // 5)),
                seconds=_PATIENCE * max(60.0, plan.estimate_seconds["training"]),
            )
            trained = trainer.run()
            # Copies: some names of a model may be of one tensor, which the format cannot say.
            state = {
                name: value.cpu().contiguous().clone()
                for name, value in student.state_dict().items()
            }
            self.work.discard("trained")
            self.work.folder("trained", lambda to: save_file(state, to / "model.safetensors"))
            return asdict(trained)

        result = self.work.json("training", make)
        self.work.discard("checkpoints")
        return result

    def choose(self) -> dict[str, Any]:
        """The point on the line that agrees best with the teacher on held-out texts."""
        candidates = self.work.json("candidates", self._candidates)
        best = choose_candidate(candidates)
        for row in candidates:
            row["chosen"] = row is best
        return {**best, "candidates": candidates}

    def _candidates(self) -> list[dict[str, float]]:
        trained = self.student(1.0).state_dict().values()
        if all(map(is_finite, trained)):
            return [self._candidate(alpha) for alpha in _ALPHAS]
        say(
            "Training diverged: its weights are NaN or infinite, and the untrained student is kept."
        )
        return [self._candidate(0.0)]

    def _candidate(self, alpha: float) -> dict[str, float]:
        among: Texts = [(text, role) for text, role in self.texts if role == "document"]
        among = among[:_MOST_AMONG]
        student = self.kept(self.student(alpha))
        asking = encode(student, self.held, "Encoding with the student")
        found = encode(student, among, "Encoding with the student")
        center = self.targets(self.texts).mean(axis=0)
        sides = [_unit(side - center) for side in (asking, self.targets(self.held))]
        return {
            "alpha": alpha,
            "cosine": float((sides[0] * sides[1]).sum(axis=1).mean()),
            "agreement": agreement(
                (self.by_teacher(self.held), self.by_teacher(among)), (asking, found)
            ),
        }


def encode(
    encoder: CachedEncoder | StaticEncoder, texts: Texts, title: str
) -> Float[np.ndarray, "texts dim"]:
    """Unit vectors of texts, each with the prompt of its role."""
    parts: dict[int, np.ndarray] = {}
    for role in ("document", "query"):
        rows = [row for row, (_, own) in enumerate(texts) if own == role]
        made = encoder.encode([texts[row][0] for row in rows], role, title=title)
        parts |= dict(zip(rows, made, strict=True))
    return np.stack([parts[row] for row in range(len(texts))])


def choose_candidate(candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The candidate to keep: the best agreement of those that are no farther from the teacher.

    Args:
        candidates: `alpha`, `cosine` and `agreement` of each; that of 0, the untrained student,
            is among them.
    """
    untrained = next(row for row in candidates if row["alpha"] == 0)
    near = [row for row in candidates if row["cosine"] >= untrained["cosine"]]
    return max(near, key=lambda row: (row["agreement"], row["cosine"], -row["alpha"]))


def _rows(texts: Texts) -> list[DistillationRow]:
    return [DistillationRow(text, number, role) for number, (text, role) in enumerate(texts)]


def _unit(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
