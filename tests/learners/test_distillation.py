from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from small_vocabulary import WORDS
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.vector_table import VectorTable, text_key
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.learners.distillation import Distillation, DistillationRow, Student
from isometry.objectives.feature_distillation import FeatureDistillation
from isometry.objectives.knowledge_distillation import KnowledgeDistillation
from isometry.training.trainer import Batches, Trainer

TEXTS = ["open a file", "x", "return the path of a file, whatever it is", "sort a list"]


def targets(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def rows(texts: Sequence[str]) -> list[DistillationRow]:
    return [DistillationRow(text, number) for number, text in enumerate(texts)]


def value(learner: Distillation, some: Sequence[DistillationRow]) -> float:
    return learner.loss(learner.collate(some))["loss"].item()


@pytest.fixture
def prompted(tiny_folder: Path) -> TextEncoder:
    return TextEncoder.load(tiny_folder, query_prompt="query: ", document_prompt="a passage, ")


def test_the_loss_is_that_of_the_students_vectors_and_the_stored_ones(tiny: TextEncoder) -> None:
    stored = targets(4, 32)
    vectors = torch.from_numpy(tiny.encode(TEXTS))
    expected = float((1 - functional.cosine_similarity(vectors, torch.from_numpy(stored))).mean())
    learner = Distillation(tiny, stored, FeatureDistillation())
    assert value(learner, rows(TEXTS)) == pytest.approx(expected, abs=1e-6)
    # Which row holds the target is for the text to say, not for its place in the batch.
    assert value(learner, rows(TEXTS)[::-1]) == pytest.approx(expected, abs=1e-6)


def test_each_role_has_its_prompt_and_keeps_its_target(prompted: TextEncoder) -> None:
    roles = ["query", "document", "document", "query"]
    own = [
        prompted.encode([text], role)[0]  # type: ignore[arg-type]
        for text, role in zip(TEXTS, roles, strict=True)
    ]
    some = [
        DistillationRow(text, number, role)  # type: ignore[arg-type]
        for number, (text, role) in enumerate(zip(TEXTS, roles, strict=True))
    ]
    learner = Distillation(prompted, np.stack(own), FeatureDistillation())
    assert value(learner, some) == pytest.approx(0, abs=1e-6)
    # The prompt makes a difference, and so do exchanged targets.
    assert value(learner, rows(TEXTS)) > 1e-3
    assert value(Distillation(prompted, np.stack(own[::-1]), FeatureDistillation()), some) > 1e-3


def test_vectors_of_a_table_by_key(tiny: TextEncoder, tmp_path: Path) -> None:
    table = VectorTable(tmp_path, "some teacher", 32)
    table.add([text_key(text) for text in TEXTS], tiny.encode(TEXTS))
    some = [TEXTS[2], TEXTS[0]]
    stored = table.get([text_key(text) for text in some])
    assert value(Distillation(tiny, stored, FeatureDistillation()), rows(some)) < 1e-6


def test_texts_are_cut_where_it_says(tiny: TextEncoder) -> None:
    stored = tiny.encode(TEXTS, tokens=5)
    assert value(Distillation(tiny, stored, FeatureDistillation(), tokens=5), rows(TEXTS)) < 1e-6
    assert value(Distillation(tiny, stored, FeatureDistillation()), rows(TEXTS)) > 1e-3


def test_dropout_stays_off_as_it_was_for_the_teacher(tiny: TextEncoder) -> None:
    learner = Distillation(tiny, tiny.encode(TEXTS), FeatureDistillation())
    learner.train()
    assert learner.training and not any(part.training for part in learner.student.modules())  # type: ignore[attr-defined]
    assert value(learner, rows(TEXTS)) == pytest.approx(0, abs=1e-6)


def test_gradients_reach_the_student_and_nothing_else_is_trained(tiny: TextEncoder) -> None:
    learner = Distillation(tiny, targets(4, 32), FeatureDistillation())
    assert {id(part) for part in learner.parameters()} == {id(part) for part in tiny.parameters()}
    assert not any("target" in name for name in learner.state_dict())
    learner.loss(learner.collate(rows(TEXTS)))["loss"].backward()
    grads = [part.grad for part in tiny.layers().parameters()]
    assert any(grad is not None and bool(grad.any()) for grad in grads)


def test_the_objective_is_computed_in_float32_under_autocast(tiny: TextEncoder) -> None:
    seen: list[torch.dtype] = []

    class Seeing(nn.Module):
        def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
            seen.extend([student.dtype, teacher.dtype, (student @ teacher.T).dtype])
            return student.sum()

    learner = Distillation(tiny, targets(4, 32).astype(np.float64), Seeing())
    with torch.autocast("cpu", torch.bfloat16):
        learner.loss(learner.collate(rows(TEXTS)))
    assert seen == [torch.float32] * 3


class _Scores(NamedTuple):
    vector: Tensor


class _Classifier(nn.Module):
    """A static encoder with a head."""

    def __init__(self, encoder: StaticEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, classes)

    def collate(self, texts: Sequence[str], role: Any, *, tokens: int | None = None) -> Any:
        return self.encoder.collate(texts, role, tokens=tokens)

    def forward(self, batch: Any) -> _Scores:
        return _Scores(self.head(self.encoder(batch).vector))


@pytest.fixture
def static(tiny: TextEncoder) -> StaticEncoder:
    torch.manual_seed(0)
    return StaticEncoder(torch.randn(WORDS, 6), tiny.tokenizer)


def test_class_scores_instead_of_vectors(static: StaticEncoder) -> None:
    student = _Classifier(static, 3)
    assert isinstance(student, Student)
    stored = targets(4, 3)
    with torch.no_grad():
        scores = student(student.collate(TEXTS, "document")).vector
    expected = float(KnowledgeDistillation(2.0)(scores, torch.from_numpy(stored)))
    learner = Distillation(student, stored, KnowledgeDistillation(2.0))
    assert value(learner, rows(TEXTS)) == pytest.approx(expected, abs=1e-6)


def test_a_student_learns_its_teachers_vectors_and_a_killed_run_goes_on_to_the_same(
    static: StaticEncoder, texts: list[str], tmp_path: Path
) -> None:
    some = texts[:64]
    # Another table, of which the student knows nothing but what it made of the texts.
    torch.manual_seed(1)
    stored = StaticEncoder(torch.randn(WORDS, 6), static.tokenizer).encode(some)
    order = [list(range(start, start + 16)) for start in (0, 16, 32, 48)] * 10

    def trained(folder: str, steps: int, stop: int | None = None) -> StaticEncoder:
        student = copy.deepcopy(static)
        trainer = Trainer(
            Distillation(student, stored, FeatureDistillation()),
            Batches(rows(some), order),
            tmp_path / folder,
            learning_rate=0.1,
            weight_decay=0.0,
            checkpoint_every=10,
        )
        if stop is not None:
            compute, done = trainer.compute_loss, [0]

            def failing(*args: Any, **kwargs: Any) -> Tensor:
                done[0] += 1
                if done[0] > stop:
                    raise KeyboardInterrupt
                return compute(*args, **kwargs)

            trainer.compute_loss = failing  # type: ignore[method-assign]
            with pytest.raises(KeyboardInterrupt):
                trainer.run()
        else:
            assert trainer.run().steps == steps
        return student

    before = (static.encode(some) * stored).sum(axis=1).mean()
    whole = trained("whole", 40)
    after = (whole.encode(some) * stored).sum(axis=1)
    assert before < 0.2 and after.mean() > 0.8
    trained("killed", 40, stop=25)
    again = trained("killed", 40)
    torch.testing.assert_close(again.table, whole.table, rtol=0, atol=0)
    # Tokens that are in none of the texts stay as they were.
    seen = {row for ids in static._tokenize(some) for row in ids}
    other = [row for row in range(WORDS) if row not in seen]
    torch.testing.assert_close(whole.table[other], static.table[other], rtol=0, atol=0)


def test_another_width_needs_a_projection(tiny: TextEncoder) -> None:
    learner = Distillation(tiny, targets(4, 48), FeatureDistillation())
    with pytest.raises(ValueError, match="vectors of 32, the teacher made 48"):
        value(learner, rows(TEXTS))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_targets_that_are_not_finite_raise_before_a_step(
    static: StaticEncoder, broken: float
) -> None:
    stored = targets(4, 6)
    stored[2, 3] = broken
    with pytest.raises(ValueError, match="target 2"):
        Distillation(static, stored, FeatureDistillation())
