from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.encoders.pooled import as_transformer
from isometry.encoders.surgery.experts import Experts, MixtureOfExperts
from isometry.encoders.text import TextEncoder

TEXTS = ["Compute the sum of all.", "a path", "Return the largest of two numbers.", "draw"]
MIXED = torch.tensor([2, 0, 1, 0])
# Of a tiny layer: 32 x 64 and 64 x 32 with their biases.
FEED_FORWARD = 32 * 64 + 64 + 64 * 32 + 32


def apart(mixture: MixtureOfExperts) -> MixtureOfExperts:
    """The mixture itself, with experts that have grown apart."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, part in mixture.named_parameters():
            if ".experts." in name:
                part += 0.1 * torch.randn_like(part)
    return mixture


def vectors(encoder: Any, texts: list[str], *rest: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder(encoder.collate(texts, "document"), *rest).vector


def test_before_training_any_assignment_gives_the_dense_vectors(tiny: TextEncoder) -> None:
    mixture = MixtureOfExperts(tiny, 3)
    expected = vectors(tiny, TEXTS)
    for assignment in (MIXED, torch.zeros(4, dtype=torch.long), torch.tensor([2, 2, 2, 1])):
        torch.testing.assert_close(vectors(mixture, TEXTS, assignment), expected, atol=1e-6, rtol=0)


def test_a_mixed_batch_gives_the_rows_of_each_domain_alone(tiny: TextEncoder) -> None:
    mixture = apart(MixtureOfExperts(tiny, 3))
    found = vectors(mixture, TEXTS, MIXED)
    for row, text in enumerate(TEXTS):
        alone = vectors(mixture, [text], MIXED[row : row + 1])[0]
        torch.testing.assert_close(found[row], alone, atol=1e-5, rtol=0)
        other = vectors(mixture, [text], (MIXED[row : row + 1] + 1) % 3)[0]
        assert (found[row] - other).abs().max() > 1e-2


def test_a_step_on_one_domain_leaves_the_experts_of_others_bit_by_bit(tiny: TextEncoder) -> None:
    mixture = MixtureOfExperts(tiny, 3)
    before = {name: part.detach().clone() for name, part in mixture.named_parameters()}
    optimizer = torch.optim.AdamW(mixture.parameters(), lr=1e-2, weight_decay=0.1)
    batch = mixture.collate(TEXTS, "document")
    for _ in range(2):
        optimizer.zero_grad()
        mixture(batch, torch.ones(4, dtype=torch.long)).vector.square().sum().backward()
        optimizer.step()
    changed = {
        name for name, part in mixture.named_parameters() if not torch.equal(part, before[name])
    }
    experts = {name for name in before if ".experts." in name}
    assert {name for name in experts if ".experts.1." in name} <= changed
    assert not {name for name in experts if ".experts.1." not in name} & changed
    for name, part in mixture.named_parameters():
        if name in experts and ".experts.1." not in name:
            assert part.grad is None


def test_parameters_are_those_of_the_dense_model_and_the_further_experts(
    tiny: TextEncoder,
) -> None:
    def count(encoder: TextEncoder) -> int:
        return sum(part.numel() for part in encoder.parameters())

    assert count(MixtureOfExperts(tiny, 5)) == count(tiny) + 2 * 4 * FEED_FORWARD
    for layers in ([1], [1, 1]):
        assert count(MixtureOfExperts(tiny, 5, layers)) == count(tiny) + 4 * FEED_FORWARD
    assert count(MixtureOfExperts(tiny, 1)) == count(tiny)
    paths = [name for name, _ in MixtureOfExperts(tiny, 2, [1]).named_modules()]
    assert [path for path in paths if path.endswith("dense.experts")] == [
        "model.0.model.encoder.layer.1.intermediate.dense.experts",
        "model.0.model.encoder.layer.1.output.dense.experts",
    ]


def test_the_layers_are_those_of_the_model_however_many_experts_there_are(
    tiny: TextEncoder,
) -> None:
    mixture = MixtureOfExperts(tiny, 5)
    body: Any = mixture.model[0]
    stack = body.model.encoder.layer
    assert mixture.layers() is stack and len(stack) == 2
    again = copy.deepcopy(mixture)
    assert again.layers() is not stack
    assert next(again.layers().parameters()) is next(
        part for name, part in again.named_parameters() if ".encoder.layer.0." in name
    )
    # The stack is kept, and counted once.
    assert all(name.startswith("model.") for name in mixture.state_dict())


def test_the_dense_encoder_is_left_alone_and_nothing_is_shared(tiny: TextEncoder) -> None:
    expected = vectors(tiny, TEXTS)
    mixture = MixtureOfExperts(tiny, 2)
    assert not any(isinstance(part, Experts) for part in tiny.modules())
    with torch.no_grad():
        for part in mixture.parameters():
            part.zero_()
    assert torch.equal(vectors(tiny, TEXTS), expected)


def test_a_split_expert_is_the_mixture_for_its_domain_and_saves_as_a_plain_model(
    tiny: TextEncoder, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    mixture = apart(MixtureOfExperts(tiny, 3))
    for expert in range(3):
        dense = mixture.split(expert)
        assert [n for n, _ in dense.named_parameters()] == [n for n, _ in tiny.named_parameters()]
        expected = vectors(mixture, TEXTS, torch.full((4,), expert))
        torch.testing.assert_close(vectors(dense, TEXTS), expected, atol=1e-6, rtol=0)
    dense = mixture.split(1)
    dense.save(tmp_path / "model")
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(
        plain.encode(TEXTS, normalize_embeddings=True), dense.encode(TEXTS), atol=1e-6
    )
    with torch.no_grad():
        for part in dense.parameters():
            part.zero_()
    assert vectors(mixture, TEXTS, torch.ones(4, dtype=torch.long)).abs().max() > 0
    with pytest.raises(InputError, match="split"):
        mixture.save(tmp_path / "mixture")


def test_the_assignment_may_come_with_the_batch(tiny: TextEncoder) -> None:
    mixture = apart(MixtureOfExperts(tiny, 3))
    batch = mixture.collate(TEXTS, "document")
    expected = vectors(mixture, TEXTS, MIXED)
    wide = MIXED[:, None].expand_as(batch["input_ids"])
    with torch.no_grad():
        assert torch.equal(mixture({**batch, "assignment": wide}).vector, expected)


def test_a_mixture_of_modernbert_is_dense_at_first_and_then_each_domain_alone(
    tiny: TextEncoder,
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import ModernBertConfig, ModernBertModel

    tokenizer: Any = tiny.model.tokenizer
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        eos_token_id=None, cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    transformer = as_transformer(ModernBertModel(config), tokenizer, 24)
    dense = TextEncoder(SentenceTransformer(modules=[transformer, Pooling(16)]).eval())
    mixture = MixtureOfExperts(dense, 3)
    layer: Any = mixture.layers()[1]
    assert isinstance(layer.mlp.Wi, Experts) and isinstance(layer.mlp.Wo, Experts)
    torch.testing.assert_close(vectors(mixture, TEXTS, MIXED), vectors(dense, TEXTS))
    found = vectors(apart(mixture), TEXTS, MIXED)
    for row, (text, domain) in enumerate(zip(TEXTS, MIXED.tolist(), strict=True)):
        own, other = (vectors(mixture.split(each % 3), [text])[0] for each in (domain, domain + 1))
        torch.testing.assert_close(found[row], own, atol=1e-5, rtol=0)
        assert (found[row] - other).abs().max() > 1e-2


@pytest.mark.parametrize(
    "assignment",
    [
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([0, 1, 2, -1]),
        torch.tensor([0, 1, 2]),
        torch.tensor([[0, 1, 2, 0]]),
        torch.tensor([0.0, 1.0, 2.0, 0.0]),
        torch.tensor([True, False, True, False]),
    ],
)
def test_assignments_that_are_none_are_refused(tiny: TextEncoder, assignment: Tensor) -> None:
    with pytest.raises(ValueError, match="assign"):
        vectors(MixtureOfExperts(tiny, 3), TEXTS, assignment)


def test_one_expert_needs_no_assignment_and_several_do(tiny: TextEncoder) -> None:
    alone = MixtureOfExperts(tiny, 1)
    torch.testing.assert_close(vectors(alone, TEXTS), vectors(tiny, TEXTS), atol=1e-6, rtol=0)
    several = MixtureOfExperts(tiny, 2)
    vectors(several, TEXTS, torch.zeros(4, dtype=torch.long))
    # The last assignment is not kept for the next batch.
    with pytest.raises(ValueError, match="which of the 2 experts"):
        vectors(several, TEXTS)


def test_what_cannot_be_built_is_refused(tiny: TextEncoder) -> None:
    for layers in ([2], [-1], [0, -1], [2, 0], []):
        with pytest.raises(ValueError, match="of 2 layers"):
            MixtureOfExperts(tiny, 2, layers)
    with pytest.raises(ValueError, match="an expert"):
        MixtureOfExperts(tiny, 0)
    with pytest.raises(ValueError, match="no expert 2"):
        MixtureOfExperts(tiny, 2).split(2)
    layer: Any = tiny.layers()[0]
    layer.feed_forward = layer.intermediate
    del layer.intermediate
    path = r"0\.model\.encoder\.layer\.0\.intermediate\.dense"
    with pytest.raises(InputError, match=path):
        MixtureOfExperts(tiny, 2)


def test_prompts_and_the_tokenizer_go_along(tiny: TextEncoder) -> None:
    asking = TextEncoder(tiny.model, query_prompt="ask: ", document_prompt="read: ")
    mixture = MixtureOfExperts(asking, 2)
    for one in (mixture, mixture.split(1)):
        assert one.prompts == {"query": "ask: ", "document": "read: "}
        assert one.name == asking.name


def test_what_is_split_off_shares_nothing(tiny: TextEncoder) -> None:
    mixture = apart(MixtureOfExperts(tiny, 2))
    own = {part.data_ptr() for part in mixture.parameters()}
    assert not own & {part.data_ptr() for part in mixture.split(0).parameters()}


def test_an_assignment_is_forgotten_after_its_batch(tiny: TextEncoder) -> None:
    mixture = MixtureOfExperts(tiny, 3)
    vectors(mixture, TEXTS, MIXED)
    with pytest.raises(ValueError, match="expert"):
        vectors(mixture, TEXTS)


def test_what_is_given_counts_more_than_what_a_batch_brings(tiny: TextEncoder) -> None:
    mixture = apart(MixtureOfExperts(tiny, 2))
    batch = mixture.collate(TEXTS, "document")
    brought: Any = {**batch, "assignment": torch.zeros_like(batch["input_ids"])}
    ones = torch.ones(len(TEXTS), dtype=torch.long)
    with torch.no_grad():
        assert torch.equal(mixture(brought, ones).vector, mixture(batch, ones).vector)
        assert not torch.equal(mixture(brought, ones).vector, mixture(brought).vector)
