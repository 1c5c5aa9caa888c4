from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from isometry.core.errors import InputError
from isometry.encoders.pooled import as_transformer, pooled
from isometry.encoders.small_decoder import small_decoder
from isometry.encoders.state_pooling import StatePooling
from isometry.encoders.text import TextEncoder
from isometry.pooling.last_token import Last
from isometry.pooling.latent_attention import LatentAttention
from isometry.pooling.mean import Mean

TEXTS = ["a small animal", "to run away from something quickly", "x", "one more text of a length"]


@pytest.fixture(scope="module")
def decoder(tiny_original: TextEncoder) -> Any:
    return small_decoder(tiny_original, dim=16, layers=2, heads=2, seed=0)


def test_words_keep_what_their_principal_components_hold(tiny_original: TextEncoder) -> None:
    made: Any = small_decoder(tiny_original, dim=8, layers=1, heads=2, seed=0)
    words: Any = tiny_original.model[0].model.get_input_embeddings().weight.detach().double()
    kept = made.get_input_embeddings().weight.detach().double()
    assert float(kept.norm(dim=1).mean()) == pytest.approx(1, abs=1e-4)
    covariance = kept.T @ kept
    values = torch.linalg.svdvals(words - words.mean(dim=0))[:8] ** 2
    found = covariance.diagonal() / covariance.trace()
    torch.testing.assert_close(found, values / values.sum(), rtol=1e-3, atol=0)
    beside = (covariance - covariance.diag().diag()).abs().max()
    assert float(beside) < 1e-3 * float(covariance[0, 0])
    assert made.lm_head.weight is made.get_input_embeddings().weight


def test_the_seed_decides_the_layers_and_leaves_the_random_state(
    tiny_original: TextEncoder,
) -> None:
    before = torch.get_rng_state()
    made: list[Any] = [
        small_decoder(tiny_original, dim=8, layers=1, heads=2, seed=seed) for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (decoder.model.layers[0].mlp.up_proj.weight for decoder in made)
    assert torch.equal(one, same) and not torch.equal(one, other)
    for dim, heads in ((8, 3), (400, 4)):
        with pytest.raises(ValueError, match=r"divide|projected"):
            small_decoder(tiny_original, dim=dim, layers=1, heads=heads, seed=0)


def make(tiny_original: TextEncoder, decoder: Any, pooler: torch.nn.Module) -> TextEncoder:
    return pooled(as_transformer(decoder.model, tiny_original.model.tokenizer, 24), pooler)


@pytest.mark.parametrize("mode", ["mean", "lasttoken"])
def test_mean_and_last_token_are_those_of_sentence_transformers(
    tiny_original: TextEncoder, decoder: Any, mode: str
) -> None:
    encoder = make(tiny_original, decoder, Mean() if mode == "mean" else Last())
    theirs = Pooling(16, mode, include_prompt=False)
    for prompt in ("", "Query: "):
        batch = TextEncoder(encoder.model, query_prompt=prompt).collate(TEXTS, "query")
        with torch.no_grad():
            found = encoder(batch)
            expected = theirs({**batch, "token_embeddings": found.tokens})["sentence_embedding"]
        torch.testing.assert_close(found.vector, expected)


def test_a_batch_may_say_what_is_pooled(tiny_original: TextEncoder, decoder: Any) -> None:
    encoder = make(tiny_original, decoder, Mean())
    batch = dict(encoder.collate(TEXTS, "document"))
    mask = torch.zeros_like(batch["attention_mask"]).bool()
    mask[:, 1] = True
    with torch.no_grad():
        found = encoder(batch | {"pool_mask": mask})
    torch.testing.assert_close(found.vector, found.tokens[:, 1])
    with pytest.raises(InputError, match="no mask"):
        StatePooling(Mean(), 16)({"token_embeddings": found.tokens})


def test_a_prompt_is_left_out_wherever_the_padding_stands() -> None:
    states = torch.arange(12.0).view(2, 6, 1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    batch = {"token_embeddings": states, "attention_mask": mask, "prompt_length": 2}
    found = StatePooling(Mean(), 1)(batch)["sentence_embedding"]
    assert found.flatten().tolist() == [4.5, 9.5]


def test_encoding_does_not_depend_on_who_else_is_in_the_batch(
    tiny_original: TextEncoder, decoder: Any
) -> None:
    encoder = make(tiny_original, decoder, LatentAttention(16, 3, 2, "latents"))
    asking = TextEncoder(encoder.model, query_prompt="Query: ")
    together = asking.encode(TEXTS * 5, "query")
    alone = np.concatenate([asking.encode([text], "query") for text in TEXTS])
    np.testing.assert_allclose(together[:4], alone, atol=1e-5)
    assert not np.allclose(alone, encoder.encode(TEXTS), atol=1e-3)


def test_the_copy_is_a_copy_and_is_not_saved(
    tiny_original: TextEncoder, decoder: Any, tmp_path: Path
) -> None:
    encoder = make(tiny_original, decoder, Mean())
    body: Any = encoder.model[0].model
    assert encoder.dim == 16 and encoder.max_tokens == 24 and not any(encoder.prompts.values())
    assert torch.equal(body.norm.weight, decoder.model.norm.weight)
    assert body.norm.weight is not decoder.model.norm.weight
    with pytest.raises(InputError, match="pools by Mean cannot be saved"):
        encoder.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_texts_get_an_end_where_their_tokenizer_gives_none(decoder: Any) -> None:
    words = {"a": 0, "b": 1, "</s>": 2, "[UNK]": 3}
    plain = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>")
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.pad_token = "</s>"
    encoder = pooled(as_transformer(decoder.model, tokenizer, 4), Last())
    batch = encoder.collate(["a b", "b a b a b", "a"], "document")
    assert batch["input_ids"].tolist() == [[0, 1, 2, 2], [1, 0, 1, 2], [0, 2, 2, 2]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 4, 2]
    # The last token is the end that belongs to the text, though padding looks the same.
    with torch.no_grad():
        found = encoder(batch)
    torch.testing.assert_close(found.vector, found.tokens[[0, 1, 2], [2, 3, 1]])
    nameless = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(plain.to_str()))
    nameless.model_input_names = ["input_ids", "attention_mask"]
    with pytest.raises(InputError, match="no token for the end"):
        pooled(as_transformer(decoder.model, nameless, 4), Last())
