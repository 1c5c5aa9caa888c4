from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isometry.encoders.surgery.freezing import freeze_below
from isometry.encoders.text import TextEncoder
from isometry.heads.cosine_classifier import CosineClassifier
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.classification import Classification, LabelledText
from isometry.training.trainer import Batches, Trainer

TEXTS = (
    "a motor vehicle with four wheels",
    "the act of running away",
    "a dog",
    "one of the tribes that lived in the country before the settlers came to it over the sea",
)
WORDS = ("car", "escape", "dog", "tribe")


def rows(labels: list[int]) -> list[LabelledText]:
    return [LabelledText(text, label) for text, label in zip(TEXTS, labels, strict=True)]


def classifier(tiny: TextEncoder, **settings: Any) -> CosineClassifier:
    """Over the vectors of the four words."""
    return CosineClassifier(torch.from_numpy(tiny.encode(WORDS)), **settings)


def test_over_word_embeddings_it_is_the_head_of_the_masked_language_model(
    tiny: TextEncoder,
) -> None:
    """DefSent: the whole head of BERT on a pooled vector, and the word's number as the class."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(1)
    model: Any = BertForMaskedLM(
        BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=4, initializer_range=0.2
        )
    ).eval()
    ids = [tiny.tokenizer.encode(word, add_special_tokens=False).ids[0] for word in WORDS]
    learner = Classification(tiny, MaskedLMHead.from_model(model), tokens=32)
    batch = learner.collate(rows(ids))
    with torch.no_grad():
        pooled = tiny(tiny.collate(TEXTS, "document")).vector
        expected = functional.cross_entropy(model.cls(pooled), torch.tensor(ids))
        assert torch.equal(learner.loss(batch)["loss"], expected)
        # The decoder is the classifier over the rows of the word embeddings; its bias is 0 yet.
        transform = model.cls.predictions.transform
        embeddings = model.get_input_embeddings().weight
        tied = nn.Sequential(transform, CosineClassifier(embeddings, normalize=False))
        found = Classification(tiny, tied, tokens=32).loss(batch)["loss"]
    torch.testing.assert_close(found, expected)
    assert abs(float(expected) - 10.3) < 5  # of 30,522 words


def test_padding_does_not_change_the_loss(tiny: TextEncoder) -> None:
    learner = Classification(tiny, classifier(tiny, temperature=0.05), tokens=32)
    labelled = rows([0, 1, 2, 3])
    with torch.no_grad():
        together = learner.loss(learner.collate(labelled))["loss"]
        alone = [learner.loss(learner.collate([row]))["loss"] for row in labelled]
    torch.testing.assert_close(together, torch.stack(alone).mean())
    assert len({round(float(loss), 4) for loss in alone}) == 4


def test_the_loss_is_over_all_classes(tiny: TextEncoder) -> None:
    """Also over those that no row of the batch has."""
    learner = Classification(tiny, classifier(tiny, temperature=0.05), tokens=32)
    with torch.no_grad():
        loss = float(learner.loss(learner.collate(rows([0, 0, 0, 0])))["loss"])
    a = torch.from_numpy(tiny.encode(TEXTS))
    logits = (a @ torch.from_numpy(tiny.encode(WORDS)).T / 0.05).double()
    expected = (logits.exp().sum(dim=1).log() - logits[:, 0]).mean()
    assert loss == pytest.approx(float(expected), abs=1e-3)


def test_texts_are_cut(tiny: TextEncoder) -> None:
    learner = Classification(tiny, classifier(tiny), tokens=6)
    batch = learner.collate(rows([0, 1, 2, 3]))
    assert batch["texts"]["input_ids"].shape == (4, 6)
    assert batch["labels"].tolist() == [0, 1, 2, 3]


def test_it_trains_encoder_and_head_and_never_the_classes(
    tiny: TextEncoder, tmp_path: Path
) -> None:
    freeze_below(tiny, 0)
    head = nn.Sequential(nn.Linear(32, 32), classifier(tiny, temperature=0.05))
    learner = Classification(tiny, head, tokens=32)
    before = copy.deepcopy(learner.state_dict())
    trained = {name for name, part in learner.named_parameters() if part.requires_grad}
    assert not any("classes" in name for name in trained)
    batch = learner.collate(rows([0, 1, 2, 3]))
    with torch.no_grad():
        first = float(learner.loss(batch)["loss"])
    batches = Batches(rows([0, 1, 2, 3]), [range(4)] * 20)
    Trainer(learner, batches, tmp_path, learning_rate=3e-3).run()
    with torch.no_grad():
        assert float(learner.loss(batch)["loss"]) < first / 2
    after = learner.state_dict()
    assert torch.equal(after["head.1.classes"], before["head.1.classes"])
    changed = {name for name in trained if not torch.equal(after[name], before[name])}
    assert {"head.0.weight", "head.0.bias"} < changed
    assert any(name.startswith("encoder.") for name in changed)
    # Dropout would make two passes differ, and a resumed run.
    learner.train()
    with torch.no_grad():
        assert torch.equal(learner.loss(batch)["loss"], learner.loss(batch)["loss"])


def test_logits_are_whole_whatever_the_encoder_computes_in(tiny: TextEncoder) -> None:
    seen: list[Tensor] = []

    class Head(nn.Module):
        def forward(self, vectors: Tensor) -> Tensor:
            seen.extend([vectors, vectors @ vectors.T])
            return seen[1]

    learner = Classification(tiny, Head(), tokens=32)
    batch = learner.collate(rows([0, 1, 2, 3]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        loss = learner.loss(batch)["loss"]
    assert {tensor.dtype for tensor in (*seen, loss)} == {torch.float32}


@pytest.mark.parametrize("label", [4, -1])
def test_a_label_beyond_the_classes_is_refused(tiny: TextEncoder, label: int) -> None:
    learner = Classification(tiny, classifier(tiny), tokens=32)
    with pytest.raises(ValueError, match="none of the head's 4 classes"):
        learner.loss(learner.collate(rows([0, 1, 2, label])))
