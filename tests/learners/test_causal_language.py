from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import GraniteConfig, GraniteForCausalLM, PreTrainedTokenizerFast

from isometry.core.errors import InputError
from isometry.encoders.small_decoder import small_decoder
from isometry.encoders.text import TextEncoder
from isometry.learners.causal_language import CausalLanguage
from isometry.training.next_token import predict_next

TEXTS = ["a small animal that runs", "to go", "one more text, which is the longest of them", "x"]


def make(encoder: TextEncoder) -> Any:
    return small_decoder(encoder, dim=8, layers=1, heads=2, seed=0)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_and_its_gradient_are_those_of_transformers(tiny: TextEncoder, side: str) -> None:
    model, tokenizer = make(tiny), tiny.model.tokenizer
    tokenizer.padding_side = side
    learner = CausalLanguage(model, tokenizer, tokens=9)
    batch = learner.collate(TEXTS)
    assert batch["input_ids"].shape == (4, 9)
    loss = learner.loss(batch)["loss"]
    loss.backward()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    real = batch["attention_mask"].bool()
    labels = batch["input_ids"].masked_fill(~real, -100)
    # Behind padding, the first token would be predicted from nothing.
    labels[:, 1:].masked_fill_(~real[:, :-1], -100)
    theirs = model(**batch, labels=labels).loss
    theirs.backward()
    torch.testing.assert_close(loss, theirs)
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj.weight.grad, gradient)


def test_a_token_is_predicted_from_those_before_it_alone(tiny: TextEncoder) -> None:
    learner = CausalLanguage(make(tiny), tiny.model.tokenizer, tokens=16)
    batch = learner.collate(["a b c d"])
    states = learner.model.base_model(**batch).last_hidden_state
    changed = batch["input_ids"].clone()
    changed[0, -1] = 2000
    other = learner.model.base_model(**(batch | {"input_ids": changed})).last_hidden_state
    assert torch.equal(states[:, :-1], other[:, :-1])


def scaled() -> Any:
    """A model that divides its logits, behind a head that knows nothing of that."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 50}
    return GraniteForCausalLM(GraniteConfig(**sizes, **heads, logits_scaling=8.0))


def test_what_cannot_be_trained_is_refused(tiny: TextEncoder) -> None:
    model, tokenizer = make(tiny), tiny.model.tokenizer
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    bare = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="a")
    with pytest.raises(InputError, match="No text of a batch"):
        CausalLanguage(model, bare, tokens=8).collate(["a", "b"])
    with pytest.raises(ValueError, match="no head"):
        CausalLanguage(model.model, tokenizer, tokens=8)
    with pytest.raises(ValueError, match="behind its head"):
        CausalLanguage(scaled(), tokenizer, tokens=8)
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(ValueError, match="behind its head"):
        CausalLanguage(model, tokenizer, tokens=8)


def test_training_lowers_the_loss_and_repeats_itself(tiny: TextEncoder) -> None:
    tokenizer = tiny.model.tokenizer
    made = [make(tiny), make(tiny), make(tiny)]
    start = CausalLanguage(made[0], tokenizer, tokens=12)
    with torch.no_grad():
        first = float(start.loss(start.collate(TEXTS))["loss"])
    before = torch.get_rng_state()
    for model, seed in zip(made, (0, 0, 1), strict=True):
        predict_next(model, tokenizer, TEXTS, batch=2, steps=6, rate=1e-2, tokens=12, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert float(start.loss(start.collate(TEXTS))["loss"]) < first - 0.1
    one, same, other = (model.model.layers[0].mlp.up_proj.weight for model in made)
    assert torch.equal(one, same) and not torch.equal(one, other)
