from __future__ import annotations

import copy
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_vocabulary import WORDS
from torch import Tensor

from isometry.core.errors import InputError
from isometry.corpora.views.masking import IGNORED
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retention import gloss_texts
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.learner import Losses
from isometry.learners.masked_language import MaskedLanguage
from isometry.training.trainer import Batches, Trainer

GLOSSES = gloss_texts()[::2]
ROWS = GLOSSES[:16]


class Stops(MaskedLanguage):
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


def make(encoder: TextEncoder, **options: Any) -> Stops:
    head = MaskedLMHead.over(body(encoder).get_input_embeddings())
    return Stops(encoder, head, **{"tokens": 32, "seed": 0, **options})


def whole_batches(order: Sequence[Sequence[int]] | None = None) -> Batches:
    generator = random.Random(0)
    rows = GLOSSES[:64]
    return Batches(rows, order or [generator.sample(range(64), 16) for _ in range(8)])


def fresh(tiny: TextEncoder) -> TextEncoder:
    return copy.deepcopy(tiny)


def weights(learner: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


@torch.no_grad()
def test_the_loss_is_that_of_each_text_alone(tiny: TextEncoder) -> None:
    # Without batch, padding or gathering: the transformers model and the formula of the head.
    learner = make(tiny)
    learner.head.decoder.bias.normal_()
    learner.head.dense.weight.normal_()
    batch = learner.collate(ROWS)
    masked, labels = batch["masked"], batch["labels"]
    losses: list[Tensor] = []
    for row in range(len(ROWS)):
        used = masked["attention_mask"][row].bool()
        ids, targets = masked["input_ids"][row][used], labels[row][used]
        states = body(tiny)(input_ids=ids[None]).last_hidden_state[0]
        dense = torch.nn.functional.gelu(states @ learner.head.dense.weight.T)
        normed = torch.nn.functional.layer_norm(dense, (32,))
        logits = normed @ body(tiny).embeddings.word_embeddings.weight.T + learner.head.decoder.bias
        losses += [
            -logits.log_softmax(-1)[at, targets[at]]
            for at in (targets != IGNORED).nonzero()[:, 0].tolist()
        ]
    loss = learner.loss(batch)
    assert set(loss) == {"loss"} and len(losses) > len(ROWS)
    torch.testing.assert_close(loss["loss"], torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


def test_the_head_sees_the_targets_only(tiny: TextEncoder) -> None:
    learner = make(tiny)
    seen: list[tuple[int, ...]] = []
    learner.head.register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    batch = learner.collate(ROWS)
    learner.loss(batch)
    assert seen == [(int((batch["labels"] != IGNORED).sum()), 32)]


def test_words_are_masked_whole_and_special_tokens_never(tiny: TextEncoder) -> None:
    plain: Any = tiny.collate(GLOSSES[:200], "document", tokens=32)
    for whole in (True, False):
        batch = make(tiny, whole_words=whole).collate(GLOSSES[:200])
        labels, ids = batch["labels"], batch["masked"]["input_ids"]
        assert torch.equal(batch["masked"]["attention_mask"], plain["attention_mask"])
        targets = labels != IGNORED
        text = plain["input_ids"] > 102
        assert bool((ids[~targets] == plain["input_ids"][~targets]).all())
        assert bool((labels[targets] == plain["input_ids"][targets]).all())
        assert not bool((targets & ~text).any())
        assert float(targets.sum() / text.sum()) == pytest.approx(0.15, abs=0.015)
        assert float((ids[targets] == 103).float().mean()) == pytest.approx(0.8, abs=0.06)
        # No random token is special: [PAD], [UNK], [CLS], [SEP], [MASK] of MiniLM.
        changed = targets & (ids != plain["input_ids"])
        assert not torch.isin(ids[changed], torch.tensor([0, 100, 101, 102])).any()
        broken = 0
        for row, encoding in enumerate(plain.encodings):
            words = np.array([-1 if word is None else word for word in encoding.word_ids])
            hidden = set(words[targets[row].numpy()].tolist())
            broken += int((np.isin(words, list(hidden)) != targets[row].numpy()).sum())
        assert (broken == 0) == whole


def test_an_unknown_token_is_no_target(tiny: TextEncoder) -> None:
    batch = make(tiny, p=0.9).collate(["☃☃ snow", "𓀀 hieroglyph"])
    unknown = tiny.collate(["☃☃ snow", "𓀀 hieroglyph"], "document")["input_ids"] == 100
    assert bool(unknown.any()) and bool((batch["labels"][unknown] == IGNORED).all())


def test_masks_depend_on_seed_and_batch_alone(tiny: TextEncoder) -> None:
    learner = make(tiny)
    first = learner.collate(ROWS)
    np.random.seed(9)
    torch.manual_seed(9)
    learner.collate(GLOSSES[50:60])
    # Also of another learner, after other batches.
    for other in (learner, make(tiny)):
        again = other.collate(list(ROWS))
        assert torch.equal(again["labels"], first["labels"])
        assert torch.equal(again["masked"]["input_ids"], first["masked"]["input_ids"])
    assert not torch.equal(make(tiny, seed=1).collate(ROWS)["labels"], first["labels"])
    # Among other rows, or in another order, a text gets another mask: epochs differ.
    turned = learner.collate(ROWS[::-1])["labels"].flip(0)
    assert not torch.equal(turned, first["labels"])
    twice = learner.collate([ROWS[0]] * 8)["labels"]
    assert not bool((twice == twice[0]).all())
    # Also the rows before the one that differs.
    other = learner.collate([ROWS[0]] * 7 + ["gloss"])["labels"]
    assert not torch.equal(other[:7], twice[:7])


def test_dropout_stays_off(tiny: TextEncoder) -> None:
    tiny.train()
    learner = make(tiny)
    batch = learner.collate(ROWS)
    assert learner.train() is learner and learner.head.training
    assert not any(part.training for part in tiny.modules())
    once = learner.loss(batch)["loss"]
    assert torch.equal(once, learner.loss(batch)["loss"])


def test_gradients_reach_encoder_and_head(tiny: TextEncoder) -> None:
    learner = make(tiny).train()
    learner.loss(learner.collate(ROWS))["loss"].backward()
    for name, parameter in learner.named_parameters():
        if "pooler" not in name:
            assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_thirty_steps_lower_the_loss_on_other_glosses(tiny: TextEncoder) -> None:
    learner = make(tiny).train()
    held_out = learner.collate(GLOSSES[500:600])
    generator = random.Random(0)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)

    def measure() -> float:
        with torch.no_grad():
            return float(learner.loss(held_out)["loss"])

    before = measure()
    # No better than a guess among all words.
    assert before > math.log(WORDS) - 0.5
    for _ in range(30):
        optimizer.zero_grad()
        learner.loss(learner.collate(generator.sample(GLOSSES[:500], 16)))["loss"].backward()
        optimizer.step()
    assert measure() < before - 2


def test_a_killed_training_goes_on_to_the_same_weights(tiny: TextEncoder, tmp_path: Path) -> None:
    def trainer(learner: Stops, name: str) -> Trainer:
        return Trainer(
            learner, whole_batches(), tmp_path / name, learning_rate=1e-2, checkpoint_every=3
        )

    whole = make(fresh(tiny))
    assert trainer(whole, "whole").run().steps == 8
    killed = make(fresh(tiny))
    killed.at = 6
    with pytest.raises(KeyboardInterrupt):
        trainer(killed, "killed").run()
    resumed = make(fresh(tiny))
    assert trainer(resumed, "killed").run().steps == 8
    # From the checkpoint after step 3.
    assert resumed.steps == 5
    expected, start = weights(whole), weights(make(fresh(tiny)))
    for name, tensor in weights(resumed).items():
        assert torch.equal(tensor, expected[name]), name
    name = "encoder.model.0.model.embeddings.word_embeddings.weight"
    assert not torch.equal(expected[name], start[name])
    assert torch.equal(expected[name], expected["head.decoder.weight"])


@pytest.mark.parametrize("p", [0.0, 1.0, -0.2, 15.0])
def test_a_share_outside_0_and_1_is_an_error(tiny: TextEncoder, p: float) -> None:
    with pytest.raises(ValueError, match="p must lie between 0 and 1"):
        make(tiny, p=p)


def test_a_head_of_another_width_is_an_error(tiny: TextEncoder) -> None:
    # A wider one would cut itself to the states without a word.
    head = MaskedLMHead.over(torch.nn.Embedding(WORDS, 64))
    with pytest.raises(ValueError, match="a head of 64 dimensions on states of 32"):
        MaskedLanguage(tiny, head, tokens=32, seed=0)


def test_texts_without_anything_to_mask_are_an_error(tiny: TextEncoder) -> None:
    with pytest.raises(InputError, match="could be masked"):
        make(tiny).collate(["", "  "])
    # One is enough, and the loss finite.
    learner = make(tiny)
    loss = learner.loss(learner.collate(["", "word"]))["loss"]
    assert bool(loss.isfinite())


def with_tokenizer(folder: Path, target: Path, change: Any) -> TextEncoder:
    """The tiny model with a tokenizer.json and tokenizer_config.json that were changed."""
    import json

    shutil.copytree(folder, target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = next(target.rglob(name))
        value = json.loads(path.read_text())
        change(name, value)
        path.write_text(json.dumps(value))
    return TextEncoder.load(target)


def test_a_tokenizer_without_words_masks_single_tokens_only(
    tiny_folder: Path, tmp_path: Path
) -> None:
    def change(name: str, value: dict[str, Any]) -> None:
        if name == "tokenizer.json":
            value["pre_tokenizer"] = None
        else:
            value["tokenizer_class"] = "PreTrainedTokenizerFast"

    encoder = with_tokenizer(tiny_folder, tmp_path / "model", change)
    assert encoder.tokenizer.pre_tokenizer is None
    with pytest.raises(InputError, match=r"no word boundaries.*whole_words=False"):
        make(encoder)
    make(encoder, whole_words=False)


def test_a_tokenizer_without_a_mask_token_is_an_error(tiny: TextEncoder) -> None:
    tiny.model.tokenizer.mask_token = None
    with pytest.raises(InputError, match="no mask token"):
        make(tiny)
