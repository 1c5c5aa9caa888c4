from __future__ import annotations

import copy
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small_vocabulary import WORDS
from torch import Tensor
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.corpora.views.masking import IGNORED
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retention import gloss_texts
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.learner import Losses
from isometry.learners.masked_autoencoder import MaskedAutoencoder
from isometry.training.trainer import Batches, Trainer

GLOSSES = gloss_texts()[::2]
ROWS = GLOSSES[:12]
SIZES = ((1, 16), (2, 32))


class Stops(MaskedAutoencoder):
    """Counts its steps, and is killed before one of them."""

    steps = 0
    at: int | None = None

    def loss(self, batch: dict[str, Any]) -> Losses:
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt
        return super().loss(batch)


def body(encoder: TextEncoder) -> Any:
    return encoder.model[0].model


def make(encoder: TextEncoder, sizes: Any = SIZES, **options: Any) -> Stops:
    head = MaskedLMHead.over(body(encoder).get_input_embeddings())
    return Stops(encoder, head, **{"sizes": sizes, "tokens": 32, "seed": 0, **options})


def shaken(learner: Stops) -> Stops:
    """With a head that is not the identity, and a decoder that is no copy any more."""
    torch.manual_seed(1)
    with torch.no_grad():
        for part in (learner.head.dense, learner.head.norm, learner.decoder):
            for parameter in part.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        learner.head.decoder.bias.normal_()
    return learner


def pooling(encoder: TextEncoder, mode: Any) -> TextEncoder:
    from sentence_transformers.sentence_transformer.modules import Pooling

    encoder.model[1] = Pooling(32, mode)
    return encoder


def expected_losses(learner: Stops, batch: dict[str, Any], layer: int, dim: int) -> Any:
    """One size of the page's SMAE, step by step, each text alone and without padding."""
    model, head = body(learner.encoder), learner.head
    cls = learner.encoder.model[1].pooling_mode == "cls"

    def transform(states: Tensor) -> Tensor:
        dense = states @ head.dense.weight[:, :dim].T if states.shape[-1] == dim else None
        dense = states @ head.dense.weight.T if dense is None else dense
        normed = functional.layer_norm(functional.gelu(dense + head.dense.bias), (32,))
        return normed * head.norm.weight + head.norm.bias  # type: ignore[operator]

    def nats(states: Tensor, labels: Tensor) -> list[Tensor]:
        at = (labels != IGNORED).nonzero()[:, 0]
        logits = transform(states) @ model.embeddings.word_embeddings.weight.T
        log_p = (logits + head.decoder.bias).log_softmax(-1)
        return [-log_p[i, labels[i]] for i in at.tolist()]

    encoder: list[Tensor] = []
    decoder: list[Tensor] = []
    for row in range(len(batch["labels"])):
        used = batch["masked"]["attention_mask"][row].bool()
        ids, labels, decoder_ids, decoder_labels = (
            part[row][used]
            for part in (
                *(batch["masked"]["input_ids"], batch["labels"]),
                *(batch["decoder_ids"], batch["decoder_labels"]),
            )
        )
        hidden = model(input_ids=ids[None], output_hidden_states=True).hidden_states[layer][0]
        hidden = hidden[:, :dim]
        encoder += nats(hidden, labels)
        vector = hidden[0] if cls else hidden.mean(0)
        words = model.embeddings(input_ids=decoder_ids[None])[0]
        inputs = torch.cat([transform(vector[None]), words[1:]])
        # Every position sees every other.
        decoder += nats(learner.decoder(inputs[None], None)[0], decoder_labels)
    return torch.stack(encoder).mean(), torch.stack(decoder).mean()


@pytest.mark.parametrize("mode", ["mean", "cls"])
@pytest.mark.parametrize("sizes", [SIZES, ((1, 16), (2, 20)), ((2, 32),)])
@pytest.mark.filterwarnings("ignore:the last size")
@torch.no_grad()
def test_the_loss_is_the_pages_step_by_step(tiny: TextEncoder, mode: str, sizes: Any) -> None:
    learner = shaken(make(pooling(tiny, mode), sizes))
    batch = learner.collate(ROWS)
    assert batch["masked"]["attention_mask"].sum(1).unique().numel() > 3
    expected = [expected_losses(learner, batch, *size) for size in sizes]
    ours = learner.size_losses(batch)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    losses = learner.loss(batch)
    parts = torch.tensor(expected).mean(0)
    torch.testing.assert_close(losses["loss"], parts.mean(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses["masked_language"], parts[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses["autoencoding"], parts[1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_padding_does_not_change_the_loss(tiny: TextEncoder) -> None:
    learner = shaken(make(tiny))
    batch = learner.collate(ROWS)
    expected = learner.loss(batch)["loss"]
    # Noise behind the texts, which the mask hides.
    for name, fill in (("labels", IGNORED), ("decoder_ids", 5000), ("decoder_labels", IGNORED)):
        batch[name] = functional.pad(batch[name], (0, 7), value=fill)
    batch["masked"] = {
        name: functional.pad(value, (0, 7), value=6000 if name == "input_ids" else 0)
        if isinstance(value, Tensor)
        else value
        for name, value in batch["masked"].items()
    }
    torch.testing.assert_close(learner.loss(batch)["loss"], expected, rtol=1e-5, atol=1e-5)


def test_the_encoders_targets_are_among_the_decoders(tiny: TextEncoder) -> None:
    # Page check 7.
    learner = make(tiny)
    texts = GLOSSES[:300]
    plain: Any = tiny.collate(texts, "document", tokens=32)
    batch = learner.collate(texts)
    encoder, decoder = (batch[name] != IGNORED for name in ("labels", "decoder_labels"))
    text = plain["input_ids"] > 102
    assert not bool((encoder & ~decoder).any()) and not bool((decoder & ~text).any())
    assert float(encoder.sum() / text.sum()) == pytest.approx(0.2, abs=0.015)
    assert float(decoder.sum() / text.sum()) == pytest.approx(0.4, abs=0.015)
    for ids, labels in (
        (batch["masked"]["input_ids"], batch["labels"]),
        (batch["decoder_ids"], batch["decoder_labels"]),
    ):
        targets = labels != IGNORED
        assert bool((ids[~targets] == plain["input_ids"][~targets]).all())
        assert bool((labels[targets] == plain["input_ids"][targets]).all())
        assert float((ids[targets] == 103).float().mean()) == pytest.approx(0.8, abs=0.05)
    again = make(tiny).collate(texts)
    assert torch.equal(again["labels"], batch["labels"])
    assert torch.equal(again["decoder_ids"], batch["decoder_ids"])


@pytest.mark.filterwarnings("ignore:the last size")
def test_a_small_size_leaves_the_layers_above_alone(tiny: TextEncoder) -> None:
    # Page check 8.
    learner = make(tiny, ((1, 16),)).train()
    learner.loss(learner.collate(ROWS))["loss"].backward()
    for name, parameter in learner.encoder.layers()[1].named_parameters():
        assert parameter.grad is None or not bool(parameter.grad.any()), name
    for part in (learner.encoder.layers()[0], learner.decoder, learner.head):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.any()), name
    # The dimensions beyond get no gradient from the head either, in its first columns.
    both = make(tiny).train()
    both.loss(both.collate(ROWS))["loss"].backward()
    assert bool(learner.encoder.layers()[1].output.dense.weight.grad.any())  # type: ignore[union-attr]


def test_the_decoder_reads_the_text_from_the_vector(tiny: TextEncoder) -> None:
    learner = make(tiny, ((2, 32),)).train()
    batch = learner.collate(ROWS)
    _, decoder = learner.size_losses(batch)[0]
    top = learner.encoder.layers()[1]
    (gradient,) = torch.autograd.grad(decoder, [next(top.parameters())])
    assert bool(gradient.any())
    # Position 0 of its own text is not read at all.
    batch["decoder_ids"][:, 0] = 2000
    torch.testing.assert_close(learner.size_losses(batch)[0][1], decoder, rtol=0, atol=0)


def test_the_decoder_begins_as_the_lowest_block_and_trains_apart(tiny: TextEncoder) -> None:
    learner = make(tiny.requires_grad_(False))
    batch = tiny.collate(["a gloss"], "document")
    states = learner._states(batch)
    decoded = learner._decode(states[0], batch["attention_mask"])
    torch.testing.assert_close(decoded, states[1])
    below = tiny.layers()[0]
    assert all(parameter.requires_grad for parameter in learner.decoder.parameters())
    assert {id(p) for p in learner.decoder.parameters()}.isdisjoint(map(id, below.parameters()))


def test_dropout_stays_off(tiny: TextEncoder) -> None:
    tiny.train()
    learner = make(tiny)
    batch = learner.collate(ROWS)
    assert learner.train() is learner and learner.head.training
    assert not any(part.training for part in (*tiny.modules(), *learner.decoder.modules()))
    assert torch.equal(learner.loss(batch)["loss"], learner.loss(batch)["loss"])


def test_thirty_steps_lower_the_loss_of_every_size(tiny: TextEncoder) -> None:
    learner = make(tiny, tokens=16).train()
    held_out = learner.collate(GLOSSES[500:540])
    generator = random.Random(0)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    with torch.no_grad():
        before = torch.tensor(learner.size_losses(held_out))
    for _ in range(30):
        optimizer.zero_grad()
        learner.loss(learner.collate(generator.sample(GLOSSES[:500], 8)))["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        after = torch.tensor(learner.size_losses(held_out))
    assert bool((after < before - 2).all())


def test_a_killed_training_goes_on_to_the_same_weights(tiny: TextEncoder, tmp_path: Path) -> None:
    generator = random.Random(0)
    batches = Batches(GLOSSES[:64], [generator.sample(range(64), 8) for _ in range(6)])

    def trainer(learner: Stops, name: str) -> Trainer:
        return Trainer(learner, batches, tmp_path / name, learning_rate=1e-2, checkpoint_every=2)

    whole, killed, resumed = (make(copy.deepcopy(tiny)) for _ in range(3))
    before = whole.decoder.state_dict()["output.dense.weight"].clone()
    assert trainer(whole, "whole").run().steps == 6
    killed.at = 4
    with pytest.raises(KeyboardInterrupt):
        trainer(killed, "killed").run()
    assert trainer(resumed, "killed").run().steps == 6
    assert resumed.steps == 4
    expected = whole.state_dict()
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert not torch.equal(expected["decoder.output.dense.weight"], before)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), "empty"),
        (((1, 16), (1, 32)), "increase"),
        (((1, 32), (2, 32)), "increase"),
        (((2, 32), (1, 16)), "increase"),
        (((0, 16), (2, 32)), "between"),
        (((1, 0), (2, 32)), "between"),
        (((1, 16), (2, 33)), "between"),
        (((1, 16), (3, 32)), "between"),
    ],
)
def test_wrong_sizes_are_errors(tiny: TextEncoder, sizes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tiny, sizes)


def test_a_whole_that_is_not_trained_is_warned_of(tiny: TextEncoder) -> None:
    with pytest.warns(UserWarning, match=r"the last size is \(1, 16\)"):
        make(tiny, ((1, 16),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(tiny)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"encoder_p": 0.0}, "encoder_p must"),
        ({"decoder_p": 1.0}, "decoder_p must"),
        ({"encoder_p": 0.5, "decoder_p": 0.4}, "must not exceed"),
    ],
)
def test_wrong_shares_are_errors(tiny: TextEncoder, shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tiny, **shares)


def test_models_without_one_pooling_are_refused(tiny: TextEncoder) -> None:
    with pytest.raises(InputError, match="pool its states"):
        make(pooling(tiny, ("mean", "cls")))
    del tiny.model[1]
    with pytest.raises(InputError, match="pool its states"):
        make(tiny)


def other_body(tiny: TextEncoder, name: str, **options: Any) -> TextEncoder:
    """The tiny model with another kind of transformer in it."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=WORDS, **options)
    tiny.model[0].model = getattr(transformers, f"{name}Model")(config).eval()
    return tiny


@torch.no_grad()
def test_distilbert_has_blocks_of_the_right_kind(tiny: TextEncoder) -> None:
    encoder = other_body(tiny, "DistilBert", dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    encoder.model.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    learner = make(encoder)
    batch = learner.collate(ROWS)
    assert bool(learner.loss(batch)["loss"].isfinite())


@pytest.mark.parametrize("name", ["MPNet", "ModernBert"])
def test_blocks_that_need_more_than_states_are_refused(tiny: TextEncoder, name: str) -> None:
    # MPNet's would work without its relative positions, and be another block.
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    encoder = other_body(tiny, name, **sizes, intermediate_size=64, pad_token_id=0)
    if name == "MPNet":
        torch.nn.init.normal_(body(encoder).encoder.relative_attention_bias.weight)
    with pytest.raises(InputError, match=f"{name}Model: its blocks do not work alone"):
        make(encoder)


def test_padding_on_the_left_is_refused(tiny: TextEncoder) -> None:
    tiny.model.tokenizer.padding_side = "left"
    with pytest.raises(InputError, match="pads on the left"):
        make(tiny)
