from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.surgery.bag_of_words import bag_of_words
from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder

SENTENCES = ["open the file and read it", "Return a path.", "x", ""]


def test_it_is_two_layers_of_tanh_on_the_mean_of_word_vectors(minilm: TextEncoder) -> None:
    bag = bag_of_words(minilm, 96, 64, seed=0)
    transformer: Any = minilm.model[0]
    words = transformer.model.embeddings
    dense: list[Any] = list(bag.model)[2:4]
    expected: list[np.ndarray] = []
    with torch.no_grad():
        for text in SENTENCES:
            ids = torch.tensor(minilm.tokenizer.encode(text).ids)
            states = words.word_embeddings(ids) + words.token_type_embeddings.weight[0]
            vector = words.LayerNorm(states).mean(dim=0)
            for part in dense:
                vector = torch.tanh(vector @ part.linear.weight.T + part.linear.bias)
            expected.append(nn.functional.normalize(vector, dim=0).numpy())
    np.testing.assert_allclose(bag.encode(SENTENCES), np.stack(expected), atol=1e-6)
    assert dense[0].linear.weight.shape == (96, 384) and bag.dim == 64


def test_the_order_of_words_does_not_count_and_words_do(minilm: TextEncoder) -> None:
    bag = bag_of_words(minilm, 64, 64, seed=0)
    one, same, other = bag.encode(
        ["the cat saw the dog", "the dog saw the cat", "the cat saw the sky"]
    )
    np.testing.assert_allclose(one, same, atol=1e-6)
    assert float(one @ other) < 0.999


def test_saved_it_is_the_same_to_plain_sentence_transformers(
    minilm: TextEncoder, tmp_path: Path
) -> None:
    bag = bag_of_words(minilm, 64, 32, seed=0)
    bag.save(tmp_path / "bag")
    plain = SentenceTransformer(str(tmp_path / "bag"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(plain.encode(SENTENCES), bag.encode(SENTENCES), atol=1e-6)
    again = TextEncoder.load(tmp_path / "bag")
    assert again.fingerprint() == bag.fingerprint() and len(again.layers()) == 0


def test_only_the_dense_layers_train(minilm: TextEncoder) -> None:
    bag = bag_of_words(minilm, 64, 32, seed=0)
    freeze_below(bag, 0)
    trained = {name for name, weight in bag.named_parameters() if weight.requires_grad}
    assert trained == {
        f"model.{part}.linear.{kind}" for part in (2, 3) for kind in ("weight", "bias")
    }


def test_the_seed_alone_decides_and_the_original_stays(tiny: TextEncoder) -> None:
    before = copy.deepcopy(tiny).fingerprint()
    torch.manual_seed(1)
    one = bag_of_words(tiny, 16, 8, seed=3)
    drawn = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(2), drawn)
    assert bag_of_words(tiny, 16, 8, seed=3).fingerprint() == one.fingerprint()
    assert bag_of_words(tiny, 16, 8, seed=4).fingerprint() != one.fingerprint()
    with torch.no_grad():
        for weight in one.parameters():
            weight.zero_()
    assert tiny.fingerprint() == before


def test_prompts_stay(tiny: TextEncoder) -> None:
    asking = TextEncoder(copy.deepcopy(tiny.model), query_prompt="query: ")
    bag = bag_of_words(asking, 16, 8, seed=0)
    np.testing.assert_allclose(bag.encode(["a"], "query"), bag.encode(["query: a"]), atol=1e-6)


def test_a_model_without_learned_positions_is_refused(tiny: TextEncoder) -> None:
    transformer: Any = tiny.model[0]
    transformer.model.embeddings.position_embeddings = None
    with pytest.raises(InputError, match="no position embeddings"):
        bag_of_words(tiny, 16, 8, seed=0)


def test_the_order_of_words_does_not_come_to_count_in_training(tiny: TextEncoder) -> None:
    bag = bag_of_words(tiny, 16, 8, seed=0)
    bag(bag.collate(["the cat saw the dog"], "document")).vector[:, 0].sum().backward()
    trained = {name for name, part in bag.named_parameters() if part.grad is not None}
    assert any("word_embeddings" in name for name in trained)
    assert not any("position_embeddings" in name for name in trained)
