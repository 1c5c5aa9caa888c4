"""Cached steps agree with sentence-transformers' cached loss, in value and gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.objectives.infonce import InfoNCE
from isometry.objectives.matryoshka import MRL, Matryoshka
from isometry.training.grad_cache import CachedStep


@pytest.mark.parametrize("negatives", [False, True])
def test_a_cached_step_is_their_cached_ranking_loss(
    tiny: TextEncoder, pairs: list[tuple[str, str]], negatives: bool
) -> None:
    n, chunk = 7, 3
    documents = [code for _, code in pairs]
    rows = [
        PairRow(query, code, i, (documents[n + i],), (n + i,))
        if negatives
        else PairRow(query, code, i)
        for i, (query, code) in enumerate(pairs[:n])
    ]
    objective = Matryoshka(InfoNCE(0.05, a_to_b=1.0), MRL((32,)))
    ours = CachedStep(TwoTowers(tiny, objective, query_tokens=40, document_tokens=40), chunk)
    batch = ours.collate(rows)
    loss = ours.loss(batch)["loss"]
    loss.backward()

    model = copy.deepcopy(tiny.model).eval()
    model.zero_grad()
    peer = CachedMultipleNegativesRankingLoss(model, scale=20.0, mini_batch_size=chunk)
    features = [dict(batch[name]) for name in ("query", "document", "negatives") if name in batch]
    expected = peer(features, torch.zeros(n))
    expected.backward()

    torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-6, atol=1e-6)
    theirs = dict(model.named_parameters())
    compared = 0
    for name, parameter in tiny.model.named_parameters():
        gradient = theirs[name].grad
        assert (parameter.grad is None) == (gradient is None), name
        if gradient is not None:
            compared += 1
            scale = max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(
                parameter.grad, gradient, rtol=1e-5, atol=1e-6 * scale, msg=name
            )
    assert compared > 30
