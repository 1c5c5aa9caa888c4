"""Objectives and heads get vectors in float32, whatever the encoder computes in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from isometry.encoders.text import TextEncoder
from isometry.learners.classification import Classification, LabelledText
from isometry.learners.concept_similarity import ConceptName, ConceptSimilarity
from isometry.learners.distillation import Distillation, DistillationRow
from isometry.learners.layer_pooling import LayerPair, PooledPairs


class Seen(nn.Module):
    """Remembers the types of the numbers that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def forward(self, *given: object) -> Tensor:
        own = [one for one in given if isinstance(one, Tensor) and one.is_floating_point()]
        self.types |= {one.dtype for one in own}
        return own[0].float().square().mean()


def test_names_of_concepts(tiny: TextEncoder) -> None:
    learner = ConceptSimilarity(tiny.to(torch.bfloat16), seen := Seen())
    learner.loss(learner.collate([ConceptName("a", "x"), ConceptName("b", "x")]))
    assert seen.types == {torch.float32}


def test_a_student(tiny: TextEncoder) -> None:
    targets = np.ones((2, 32), dtype=np.float32)
    learner = Distillation(tiny.to(torch.bfloat16), targets, seen := Seen())
    learner.loss(learner.collate([DistillationRow("a", 0), DistillationRow("b", 1)]))
    assert seen.types == {torch.float32}


def test_classes(tiny: TextEncoder) -> None:
    class Head(Seen):
        def forward(self, *given: object) -> Tensor:
            super().forward(*given)
            assert isinstance(given[0], Tensor)
            return given[0].float()

    learner = Classification(tiny.to(torch.bfloat16), head := Head(), tokens=8)
    learner.loss(learner.collate([LabelledText("a", 0)]))
    assert head.types == {torch.float32}


def test_pooled_layers() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, layers: Tensor) -> Tensor:
            return layers.mean(dim=0).to(torch.bfloat16)

    states = np.ones((2, 3, 4), dtype=np.float32)
    learner = PooledPairs(Half(), seen := Seen())
    learner.loss(learner.collate([LayerPair(states[0], states[1])] * 2))
    assert seen.types == {torch.float32}
