from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from isometry.core.errors import InputError
from isometry.encoders.surgery.fresh_layers import fresh_layers
from isometry.encoders.text import TextEncoder


def test_the_embeddings_stay_and_no_weight_of_a_layer_does(minilm: TextEncoder) -> None:
    fresh = fresh_layers(minilm, 2, seed=0)
    parts: list[Any] = [minilm.model[0], fresh.model[0]]
    before, after = (part.model for part in parts)
    for name, kept in before.embeddings.state_dict().items():
        assert torch.equal(after.embeddings.state_dict()[name], kept), name
    assert len(fresh.layers()) == 2 and after.config.num_hidden_layers == 2
    for old, new in zip(minilm.layers()[:2], fresh.layers(), strict=True):
        for name, weight in old.state_dict().items():
            assert not torch.equal(new.state_dict()[name], weight), name


def test_layers_are_drawn_as_bert_draws_them(minilm: TextEncoder) -> None:
    # Devlin et al. (2019): a normal distribution with a standard deviation of 0.02, biases of 0.
    for layer in fresh_layers(minilm, 2, seed=0).layers():
        for name, weight in layer.state_dict().items():
            if name.endswith("bias"):
                assert not weight.any(), name
            elif "LayerNorm" in name:
                assert (weight == 1).all(), name
            else:
                assert float(weight.std()) == pytest.approx(0.02, rel=0.02), name
                assert abs(float(weight.mean())) < 2e-4, name


def test_the_seed_alone_decides(minilm: TextEncoder) -> None:
    torch.manual_seed(1)
    one = fresh_layers(minilm, 1, seed=3).fingerprint()
    drawn = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(2), drawn)
    assert fresh_layers(minilm, 1, seed=3).fingerprint() == one
    assert fresh_layers(minilm, 1, seed=4).fingerprint() != one
    first, second = (layer.state_dict() for layer in fresh_layers(minilm, 2, seed=3).layers())
    assert not torch.equal(*(part["attention.self.query.weight"] for part in (first, second)))


def test_the_original_stays_and_shares_nothing(tiny: TextEncoder) -> None:
    before = copy.deepcopy(tiny).fingerprint()
    fresh = fresh_layers(tiny, 2, seed=0)
    with torch.no_grad():
        for weight in fresh.parameters():
            weight.zero_()
    assert tiny.fingerprint() == before


def test_more_layers_than_there_are(tiny: TextEncoder) -> None:
    with pytest.raises(InputError, match="has 2 layers, so 3 cannot be kept"):
        fresh_layers(tiny, 3, seed=0)
