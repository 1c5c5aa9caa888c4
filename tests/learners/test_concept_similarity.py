from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isometry.encoders.text import TextEncoder
from isometry.learners.concept_similarity import ConceptName, ConceptSimilarity
from isometry.objectives.graded_similarity import GradedSimilarity

ROWS = [
    ConceptName("Short stature", "small"),
    ConceptName("Growth abnormality", "growth", paired=False),
    ConceptName("Decreased height", "small"),
    ConceptName("Cough", "cough"),
    ConceptName("Tall stature", "tall", paired=False),
    ConceptName("Coughing", "cough"),
]
STEPS = {("small", "growth"): 1, ("tall", "growth"): 1, ("small", "tall"): 2}


def distances(concepts: Sequence[str]) -> np.ndarray:
    return np.array(
        [
            [
                0 if one == other else STEPS.get((one, other), STEPS.get((other, one), 9))
                for other in concepts
            ]
            for one in concepts
        ]
    )


def test_each_loss_gets_its_rows_with_their_distances(tiny: TextEncoder) -> None:
    synonyms, graded = GradedSimilarity(), GradedSimilarity((0, 1, 2), (0.7, 0.6, 0.5))
    learner = ConceptSimilarity(tiny, synonyms, graded, distances, weight=3.0)
    losses = learner.loss(learner.collate(ROWS))
    vectors = torch.from_numpy(tiny.encode([row.text for row in ROWS]))
    pairs = torch.tensor([0, 2, 3, 5])
    keys = [ROWS[row].concept for row in pairs.tolist()]
    other = torch.tensor([[int(one != two) for two in keys] for one in keys])
    steps = torch.from_numpy(distances([row.concept for row in ROWS]))
    torch.testing.assert_close(
        losses["synonyms"], synonyms(vectors[pairs], other), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(losses["graded"], graded(vectors, steps), atol=1e-5, rtol=0)
    torch.testing.assert_close(losses["loss"], losses["synonyms"] + 3 * losses["graded"])


def test_without_grades_there_are_synonyms_alone(tiny: TextEncoder) -> None:
    learner = ConceptSimilarity(tiny, GradedSimilarity())
    losses = learner.loss(learner.collate([row for row in ROWS if row.paired]))
    assert set(losses) == {"loss", "synonyms"}
    assert losses["loss"] == losses["synonyms"]
    with pytest.raises(ValueError, match="both an objective and distances"):
        ConceptSimilarity(tiny, GradedSimilarity(), GradedSimilarity())


def test_the_encoder_stays_without_dropout(tiny: TextEncoder) -> None:
    learner = ConceptSimilarity(tiny, GradedSimilarity()).train()
    assert learner.training and not learner.encoder.training


def test_cosines_are_whole_whatever_the_encoder_computes_in(tiny: TextEncoder) -> None:
    seen: list[Tensor] = []

    class Objective(nn.Module):
        def forward(self, vectors: Tensor, _: Tensor) -> Tensor:
            seen.extend([vectors, vectors @ vectors.T])
            return seen[-1].mean()

    learner = ConceptSimilarity(tiny, Objective(), Objective(), distances)
    batch = learner.collate(ROWS)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        losses = learner.loss(batch)
    assert len(seen) == 4
    assert {tensor.dtype for tensor in (*seen, *losses.values())} == {torch.float32}


def test_names_are_cut_where_it_is_said(tiny: TextEncoder) -> None:
    learner = ConceptSimilarity(tiny, GradedSimilarity(), tokens=6)
    batch = learner.collate([ConceptName("a name " * 9, "x"), ConceptName("b " * 9, "x")])
    assert batch["texts"]["input_ids"].shape == (2, 6)
