from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isometry.corpora.curation.dirichlet_lm import DirichletLM
from isometry.corpora.documents import Document
from isometry.corpora.pairs.representative_words import RepresentativeWordPairs
from isometry.encoders.cross_encoder import CrossEncoder
from isometry.encoders.text import TextEncoder
from isometry.learners.pairwise_ranking import (
    CandidatesRow,
    ListwiseRanking,
    PairwiseRanking,
    PreferenceRow,
)
from isometry.objectives.preference import Preference


class Seen(nn.Module):
    """An objective that keeps what it is given."""

    def forward(self, *given: Tensor) -> Tensor:
        self.given = given
        return torch.zeros(())


@pytest.fixture
def cross(tiny_original: TextEncoder) -> CrossEncoder:
    made = CrossEncoder.from_encoder(tiny_original, seed=0)
    with torch.no_grad():
        made.model.classifier.weight.mul_(50)
    return made


@pytest.fixture(scope="module")
def rows(pairs: list[tuple[str, str]]) -> list[PreferenceRow]:
    return [
        PreferenceRow(words, other, code)
        for (words, code), (other, _) in zip(pairs[:6], pairs[6:12], strict=True)
    ]


@pytest.fixture(scope="module")
def lists(pairs: list[tuple[str, str]]) -> list[CandidatesRow]:
    """Three queries with 1, 3 and 2 negatives."""
    codes = [code for _, code in pairs]
    ends = ((10, 11), (11, 14), (14, 16))
    return [CandidatesRow(*pairs[i], tuple(codes[slice(*ends[i])])) for i in range(3)]


def test_the_objective_gets_each_documents_better_and_worse_query_in_pairs(
    cross: CrossEncoder, rows: list[PreferenceRow]
) -> None:
    learner = PairwiseRanking(cross, Seen(), tokens=48)
    learner.loss(learner.collate(rows))
    better, worse = (scores.detach().numpy() for scores in learner.objective.given)  # type: ignore[union-attr]
    for found, queries in ((better, [r.better for r in rows]), (worse, [r.worse for r in rows])):
        texts = [(query, row.document) for query, row in zip(queries, rows, strict=True)]
        np.testing.assert_allclose(found, cross.score(texts, tokens=48), atol=1e-4)
    assert np.abs(better - worse).min() > 1e-3


@pytest.mark.parametrize("kind", ["logistic", "hinge", "softmax_margin"])
def test_the_loss_is_the_objective_of_scores_and_turns_round_with_the_pair(
    cross: CrossEncoder, rows: list[PreferenceRow], kind: Any
) -> None:
    learner = PairwiseRanking(cross, Preference(kind))
    losses = learner.loss(learner.collate(rows))
    assert set(losses) == {"loss"}
    lead = torch.tensor(
        [
            float(np.subtract(*cross.score([(r.better, r.document), (r.worse, r.document)])))
            for r in rows
        ]
    )
    known = {
        "logistic": lambda x: torch.log1p(torch.exp(-x)),
        "hinge": lambda x: torch.clamp(1 - x, min=0),
        "softmax_margin": lambda x: 1 - torch.tanh(x / 2),
    }
    torch.testing.assert_close(losses["loss"], known[kind](lead).mean(), atol=1e-4, rtol=1e-4)
    swapped = [PreferenceRow(row.worse, row.better, row.document) for row in rows]
    torch.testing.assert_close(
        learner.loss(learner.collate(swapped))["loss"],
        known[kind](-lead).mean(),
        atol=1e-4,
        rtol=1e-4,
    )


def test_a_listwise_loss_is_a_softmax_over_each_querys_own_candidates(
    cross: CrossEncoder, lists: list[CandidatesRow]
) -> None:
    learner = ListwiseRanking(cross, tokens=48)
    expected = []
    for row in lists:
        texts = [(row.query, text) for text in (row.positive, *row.negatives)]
        scores = cross.score(texts, tokens=48).astype(np.float64)
        expected.append(np.log(np.exp(scores - scores[0]).sum()))
    for shift in (0.0, 30.0, -120.0):
        # What all candidates share drops out, and what fills a shorter list is no candidate.
        with torch.no_grad():
            cross.model.classifier.bias.add_(shift)
        loss = learner.loss(learner.collate(lists))["loss"].detach()
        assert float(loss) == pytest.approx(np.mean(expected), abs=1e-4)
    assert np.std(expected) > 0.01


def test_one_negative_is_the_logistic_preference(
    cross: CrossEncoder, pairs: list[tuple[str, str]]
) -> None:
    lists = [CandidatesRow(*pairs[i], (pairs[i + 5][1],)) for i in range(5)]
    learner = ListwiseRanking(cross)
    positive = torch.from_numpy(cross.score([(row.query, row.positive) for row in lists]))
    negative = torch.from_numpy(cross.score([(row.query, row.negatives[0]) for row in lists]))
    torch.testing.assert_close(
        learner.loss(learner.collate(lists))["loss"],
        functional.softplus(negative - positive).mean(),
        atol=1e-4,
        rtol=1e-4,
    )
    with pytest.raises(ValueError, match="at least one negative"):
        learner.collate([*lists, CandidatesRow("a", "b", ())])


def test_dropout_stays_off_and_the_loss_is_a_function_of_weights_and_batch(
    cross: CrossEncoder, rows: list[PreferenceRow], lists: list[CandidatesRow]
) -> None:
    for make, given in (
        (lambda: PairwiseRanking(cross, Preference()), rows),
        (lambda: ListwiseRanking(cross), lists),
    ):
        cross.train()
        learner = make()
        batch = learner.collate(given)  # type: ignore[arg-type]
        expected = learner.loss(batch)["loss"]
        assert learner.train() is learner
        assert learner.training
        assert not any(part.training for part in learner.encoder.modules())
        assert all(torch.equal(learner.loss(batch)["loss"], expected) for _ in range(3))
        # It would change otherwise.
        learner.encoder.train()
        assert not torch.equal(learner.loss(batch)["loss"], expected)


def test_gradients_reach_the_body_and_the_head(
    cross: CrossEncoder, rows: list[PreferenceRow], lists: list[CandidatesRow]
) -> None:
    for learner, given in (
        (PairwiseRanking(cross, Preference()), rows),
        (ListwiseRanking(cross), lists),
    ):
        learner.train().zero_grad()
        learner.loss(learner.collate(given))["loss"].backward()  # type: ignore[arg-type]
        for name, parameter in learner.named_parameters():
            # What all candidates share drops out of a difference.
            if "classifier.bias" in name or "key.bias" in name:
                continue
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_objective_is_computed_in_float32(
    cross: CrossEncoder, rows: list[PreferenceRow], lists: list[CandidatesRow]
) -> None:
    learner, other = PairwiseRanking(cross, Seen()), ListwiseRanking(cross)
    with torch.autocast("cpu", torch.bfloat16):
        learner.loss(learner.collate(rows))
        loss = other.loss(other.collate(lists))["loss"]
    assert all(scores.dtype == torch.float32 for scores in learner.objective.given)  # type: ignore[union-attr]
    assert loss.dtype == torch.float32


def test_inputs_are_cut_at_the_learners_length(cross: CrossEncoder) -> None:
    long = "file " * 90
    rows, lists = [PreferenceRow("a", "b", long)], [CandidatesRow("a", long, (long, "b"))]
    for tokens, expected in ((20, 20), (None, 64)):
        one = PairwiseRanking(cross, Seen(), tokens=tokens).collate(rows)
        other = ListwiseRanking(cross, tokens=tokens).collate(lists)
        assert one["pairs"]["input_ids"].shape == (2, expected)
        assert other["pairs"]["input_ids"].shape == (3, expected)
        assert other["candidates"].tolist() == [3]


def test_a_few_steps_on_representative_words_learn_to_prefer(
    cross: CrossEncoder, texts: list[str]
) -> None:
    documents = [Document(str(i), text) for i, text in enumerate(texts[:12])]
    maker = RepresentativeWordPairs(DirichletLM.fit(texts[:200], least=3), per_document=2)
    rows = [
        PreferenceRow(row.better, row.worse, row.body)
        for row in maker.pairs(documents, random.Random(0))
    ]
    learner = PairwiseRanking(cross, Preference(), tokens=48).train()
    batch = learner.collate(rows)
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = learner.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    better = cross.score([(row.better, row.document) for row in rows], tokens=48)
    worse = cross.score([(row.worse, row.document) for row in rows], tokens=48)
    assert losses[-1] < 0.7 * losses[0]
    assert (better > worse).mean() > 0.85
