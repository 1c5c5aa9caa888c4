"""An encoder that learns stays without dropout, whatever mode its learner is in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from isometry.encoders.text import TextEncoder
from isometry.learners.classification import Classification, LabelledText
from isometry.learners.concept_similarity import ConceptName, ConceptSimilarity
from isometry.learners.distillation import Distillation, DistillationRow
from isometry.learners.learner import Learner
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.feature_distillation import FeatureDistillation
from isometry.objectives.graded_similarity import GradedSimilarity
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka

TEXTS = ("a short text", "another one", "a dog", "to run away")


class Probe(nn.Module):
    """Part of an objective that knows its mode."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values


def classification(encoder: TextEncoder) -> tuple[Learner, list[object]]:
    head = nn.Sequential(nn.Linear(32, 4), Probe())
    learner = Classification(encoder, head, tokens=16)
    return learner, [LabelledText(text, label) for label, text in enumerate(TEXTS)]


def similarity(encoder: TextEncoder) -> tuple[Learner, list[object]]:
    learner = ConceptSimilarity(encoder, GradedSimilarity(), tokens=16)
    return learner, [ConceptName(text, f"c{number // 2}") for number, text in enumerate(TEXTS)]


def distillation(encoder: TextEncoder) -> tuple[Learner, list[object]]:
    targets = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    learner = Distillation(encoder, targets, FeatureDistillation("cosine"))
    return learner, [DistillationRow(text, number) for number, text in enumerate(TEXTS)]


def towers(encoder: TextEncoder) -> tuple[Learner, list[object]]:
    objective = Matryoshka(InfoNCE(0.1), MRL((32,)))
    learner = TwoTowers(encoder, objective, query_tokens=16, document_tokens=16)
    return learner, [PairRow(*TEXTS[:2], "a"), PairRow(*TEXTS[2:], "b")]


@pytest.mark.parametrize("make", [classification, similarity, distillation, towers])
def test_the_encoder_has_no_dropout_and_the_rest_has_its_mode(
    tiny: TextEncoder, make: Callable[[TextEncoder], tuple[Learner, list[object]]]
) -> None:
    assert any(isinstance(part, nn.Dropout) and part.p > 0 for part in tiny.modules())
    tiny.train()
    learner, rows = make(tiny)
    assert not tiny.training
    rest = [part for part in learner.modules() if part not in set(tiny.modules())]
    assert len(rest) > 1
    for mode in (True, False, True):
        learner.train(mode)
        assert not any(part.training for part in tiny.modules())
        assert {part.training for part in rest} == {mode}
    batch = learner.collate(rows)
    with torch.no_grad():
        assert float(learner.loss(batch)["loss"]) == float(learner.loss(batch)["loss"])
