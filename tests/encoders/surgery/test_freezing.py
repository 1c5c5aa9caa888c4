from __future__ import annotations

import copy

import pytest
import torch

from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder


@pytest.mark.parametrize("layers", [0, 1, 3, 5])
def test_the_word_vectors_and_the_lowest_layers_are_frozen(
    minilm: TextEncoder, layers: int
) -> None:
    encoder = copy.deepcopy(minilm)
    freeze_below(encoder, layers)
    trained = {name for name, part in encoder.named_parameters() if part.requires_grad}
    frozen = {name for name, part in encoder.named_parameters() if not part.requires_grad}
    in_layer = {
        number: {name for name in trained | frozen if f".layer.{number}." in name}
        for number in range(6)
    }
    assert all(len(names) == 16 for names in in_layer.values())
    for number, names in in_layer.items():
        assert names <= (frozen if number < layers else trained)
    words = {name for name in trained | frozen if ".embeddings." in name}
    assert len(words) == 5 and words <= frozen


def test_only_what_is_free_gets_a_gradient_and_layers_thaw_again(tiny: TextEncoder) -> None:
    freeze_below(tiny, 1)
    tiny(tiny.collate(["a path", "a file"], "document")).vector.sum().backward()
    lower, upper = tiny.layers()
    assert all(part.grad is None for part in lower.parameters())
    assert next(tiny.parameters()).grad is None
    assert all(part.grad is not None for part in upper.parameters())
    freeze_below(tiny, 0)
    assert all(part.requires_grad for layer in tiny.layers() for part in layer.parameters())


def test_what_follows_the_transformer_trains(tiny: TextEncoder) -> None:
    from sentence_transformers.base.modules import Dense

    tiny.model.append(Dense(32, 8, activation_function=torch.nn.Identity()))
    freeze_below(tiny, 2)
    trained = [name for name, part in tiny.named_parameters() if part.requires_grad]
    assert trained == ["model.2.linear.weight", "model.2.linear.bias"]
