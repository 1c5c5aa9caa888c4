from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from small_vocabulary import WORDS
from torch import nn

from isometry.core.errors import InputError
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.surgery.layers import truncate
from isometry.encoders.text import TextEncoder

SENTENCES = ["Return the path.", "Open a file and read all of it, line by line.", "", "x"]


def prefix(encoder: TextEncoder, layer: int, dim: int | None = None) -> np.ndarray:
    """Cut, then normalised, by the whole model."""
    with torch.no_grad():
        pooled = encoder.pooled_layers(encoder.collate(SENTENCES, "document"))
    return nn.functional.normalize(pooled[layer - 1, :, :dim], dim=-1).numpy()


@pytest.mark.parametrize(("keep", "dim"), [(1, 32), (2, None), (4, 128), (6, 384)])
def test_what_is_saved_gives_plain_sentence_transformers_the_prefix(
    minilm: TextEncoder, tmp_path: Path, keep: int, dim: int | None
) -> None:
    small = truncate(minilm, keep, dim)
    small.save(tmp_path / "small")
    plain = SentenceTransformer(str(tmp_path / "small"), device="cpu", local_files_only=True)
    expected = prefix(minilm, keep, dim)
    vectors = plain.encode(SENTENCES, normalize_embeddings=True)
    assert vectors.shape == (len(SENTENCES), dim or 384)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    # Of unit length without being asked, and the same by our own loader.
    np.testing.assert_allclose(plain.encode(SENTENCES), expected, atol=1e-6)
    again = TextEncoder.load(tmp_path / "small")
    assert again.dim == (dim or 384) and len(again.layers()) == keep
    np.testing.assert_allclose(again.encode(SENTENCES), expected, atol=1e-6)
    assert again.fingerprint() == small.fingerprint()


def test_a_saved_cut_is_physically_smaller(minilm: TextEncoder, tmp_path: Path) -> None:
    truncate(minilm, 2, 64).save(tmp_path / "small")
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 2
    weights = (tmp_path / "small" / "model.safetensors").stat().st_size
    whole = (packaged_folder("minilm") / "model.safetensors").stat().st_size
    layer = 4 * sum(part.numel() for part in minilm.layers()[0].parameters())
    assert whole - weights == pytest.approx(4 * layer, rel=0.01)


def test_the_original_stays_as_it_is_and_shares_nothing(minilm: TextEncoder) -> None:
    encoder = copy.deepcopy(minilm)
    before = encoder.fingerprint()
    small = truncate(encoder, 2, 64)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(1)
    small.model.max_seq_length = 16
    assert encoder.fingerprint() == before
    assert encoder.model[0].model.config.num_hidden_layers == 6  # type: ignore[union-attr]
    assert len(encoder.layers()) == 6 and len(encoder.model) == 3


def test_without_dim_the_length_is_as_pooling_leaves_it(tiny: TextEncoder) -> None:
    small = truncate(tiny, 1)
    batch = tiny.collate(SENTENCES, "document")
    torch.testing.assert_close(small(batch).vector, tiny.pooled_layers(batch)[0])
    assert [type(part).__name__ for part in small.model] == ["Transformer", "Pooling"]


def test_the_layers_of_a_cut_are_the_first_layers(minilm: TextEncoder) -> None:
    batch = minilm.collate(SENTENCES, "document")
    with torch.no_grad():
        expected = minilm.pooled_layers(batch)[:3]
        torch.testing.assert_close(truncate(minilm, 3).pooled_layers(batch), expected)
        twice = truncate(truncate(minilm, 3, 384), 2)
        torch.testing.assert_close(twice.pooled_layers(batch), expected[:2])


def test_prompts_stay(tiny_folder: Path, tmp_path: Path) -> None:
    encoder = TextEncoder.load(tiny_folder, query_prompt="query: ", document_prompt="passage: ")
    small = truncate(encoder, 1, 16)
    assert small.prompts == encoder.prompts
    small.save(tmp_path / "small")
    assert TextEncoder.load(tmp_path / "small").prompts == encoder.prompts
    np.testing.assert_allclose(small.encode(SENTENCES), prefix(encoder, 1, 16), atol=1e-6)


def test_the_projection_is_frozen_and_the_layers_train(tiny: TextEncoder) -> None:
    small = truncate(tiny, 1, 8)
    small(small.collate(SENTENCES, "document")).vector[:, 0].sum().backward()
    assert all(part.grad is None for part in small.model[2].parameters())
    assert all(part.grad is not None for part in small.layers().parameters())


def test_a_models_own_truncate_dim_does_not_cut_a_second_time(
    tiny: TextEncoder, tmp_path: Path
) -> None:
    tiny.model.truncate_dim = 4
    truncate(tiny, 2, 16).save(tmp_path / "small")
    plain = SentenceTransformer(str(tmp_path / "small"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(plain.encode(SENTENCES), prefix(tiny, 2, 16), atol=1e-6)


def other_bodies() -> dict[str, Any]:
    from transformers import DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel

    torch.manual_seed(0)
    return {
        "distilbert": DistilBertModel(
            DistilBertConfig(dim=32, hidden_dim=64, n_layers=3, n_heads=4, initializer_range=0.2)
        ),
        "mpnet": MPNetModel(
            MPNetConfig(
                vocab_size=WORDS,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                initializer_range=0.2,
            )
        ),
    }


def test_other_families_are_cut_too(tmp_path: Path) -> None:
    for name, body in other_bodies().items():
        body.save_pretrained(tmp_path / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(packaged_folder("minilm") / file, tmp_path / name)
        encoder = TextEncoder.load(tmp_path / name)
        truncate(encoder, 2, 16).save(tmp_path / "small")
        small = TextEncoder.load(tmp_path / "small")
        assert len(small.layers()) == 2
        expected = prefix(encoder, 2, 16)
        np.testing.assert_allclose(small.encode(SENTENCES), expected, atol=1e-6)
        assert np.abs(expected - prefix(encoder, 3, 16)).max() > 0.01


@pytest.mark.parametrize(
    ("keep", "dim", "said"),
    [
        (0, None, "has 2 layers, so 0 cannot"),
        (-1, None, "has 2 layers, so -1 cannot"),
        (3, 8, "has 2 layers, so 3 cannot"),
        (1, 0, "has 32 dimensions, so 0 cannot"),
        (1, -8, "has 32 dimensions, so -8 cannot"),
        (1, 33, "has 32 dimensions, so 33 cannot"),
    ],
)
def test_what_is_not_there_cannot_be_kept(
    tiny: TextEncoder, keep: int, dim: int | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        truncate(tiny, keep, dim)


def test_a_cut_of_a_cut_is_the_cut_of_the_whole(tiny: TextEncoder, tmp_path: Path) -> None:
    truncate(tiny, 2, 20).save(tmp_path / "cut")
    for once in (truncate(tiny, 2, 20), TextEncoder.load(tmp_path / "cut")):
        for keep, dim in ((1, 8), (2, 20), (1, 20)):
            again = truncate(once, keep, dim)
            assert again.dim == dim and len(list(again.model)) == 4
            expected = truncate(tiny, keep, dim).encode(SENTENCES)
            np.testing.assert_allclose(again.encode(SENTENCES), expected, atol=1e-6)
        shorter = truncate(once, 1)
        np.testing.assert_allclose(shorter.encode(SENTENCES), prefix(tiny, 1, 20), atol=1e-6)
        with pytest.raises(InputError, match="has 20 dimensions, so 21 cannot"):
            truncate(once, 1, 21)


def test_a_projection_that_was_trained_is_no_cut(tiny: TextEncoder) -> None:
    once = truncate(tiny, 2, 8)
    dense: Any = once.model[2]
    with torch.no_grad():
        dense.linear.weight[0, 9] = 0.1
    with pytest.raises(InputError, match="Transformer -> Pooling -> Dense -> Normalize"):
        truncate(once, 1)


def test_a_projection_behind_the_normalisation_is_no_cut(tiny: TextEncoder) -> None:
    """Its vectors are not of unit length, which those of a cut are."""
    once = truncate(tiny, 2, 8)
    dense, normalize = once.model[2], once.model[3]
    once.model[2], once.model[3] = normalize, dense
    with pytest.raises(InputError, match="Pooling -> Normalize -> Dense"):
        truncate(once, 1)


def test_layers_that_share_their_weights_are_not_cut(small_folder: Path) -> None:
    """As ALBERT's: one stands for all of them."""
    encoder = TextEncoder.load(small_folder)
    transformer: Any = encoder.model[0]
    transformer.model.config.num_hidden_layers = 4
    with pytest.raises(InputError, match="share their weights: it cannot be cut"):
        truncate(encoder, 1, 8)
