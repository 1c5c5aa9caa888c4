from __future__ import annotations

import numpy as np
import torch
from torch import nn

from isometry.learners.layer_pooling import (
    LabelledLayers,
    LayerPair,
    PooledClasses,
    PooledPairs,
    stack_layers,
)
from isometry.objectives.infonce import InfoNCE
from isometry.pooling.layer_mix import LayerMix

STATES = np.random.default_rng(0).normal(size=(8, 3, 5)).astype(np.float32)


def test_layers_of_a_batch_stand_first() -> None:
    found = stack_layers(list(STATES))
    assert found.shape == (3, 8, 5)
    np.testing.assert_array_equal(found[2, 6].numpy(), STATES[6, 2])


def test_pairs_are_pooled_before_the_contrast() -> None:
    rows = [LayerPair(STATES[row], STATES[row + 4]) for row in range(4)]
    objective = InfoNCE(0.1, a_to_b=1.0)
    learner = PooledPairs(LayerMix(3), objective)
    found = learner.loss(learner.collate(rows))["loss"]
    a, b = (torch.from_numpy(side.mean(axis=1)) for side in (STATES[:4], STATES[4:]))
    torch.testing.assert_close(found, objective(a, b))
    assert not torch.allclose(found, objective(b, a))


def test_classes_are_told_from_pooled_vectors() -> None:
    torch.manual_seed(0)
    head = nn.Linear(5, 3)
    rows = [LabelledLayers(STATES[row], row % 3) for row in range(8)]
    learner = PooledClasses(LayerMix(3), head)
    found = learner.loss(learner.collate(rows))["loss"]
    logits = head(torch.from_numpy(STATES.mean(axis=1))).log_softmax(-1)
    expected = -torch.stack([logits[row, row % 3] for row in range(8)]).mean()
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(part.grad is not None for part in learner.parameters())


def test_trained_poolers_serve_what_they_were_trained_to_make() -> None:
    torch.manual_seed(1)
    mix = LayerMix(3)
    with torch.no_grad():
        mix.weights.copy_(torch.randn(3))
    expected = mix(torch.from_numpy(STATES).transpose(0, 1)).detach().numpy()
    found = PooledPairs(mix, InfoNCE()).vectors(STATES)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    head = nn.Linear(5, 4)
    told = PooledClasses(mix, head).told(STATES)
    scores = expected @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    assert told.tolist() == scores.argmax(axis=1).tolist() and len(set(told.tolist())) > 1


def test_nothing_is_drawn_where_poolers_serve() -> None:
    class Dropping(LayerMix):
        def forward(self, layers: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(layers), 0.5, self.training)

    learner = PooledPairs(Dropping(3), InfoNCE())
    np.testing.assert_array_equal(learner.vectors(STATES), learner.vectors(STATES))
