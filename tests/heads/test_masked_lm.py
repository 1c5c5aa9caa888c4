from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from isometry.core.errors import InputError
from isometry.heads.masked_lm import MaskedLMHead

V, D = 50, 16


def tiny_config(kind: str, **options: Any) -> Any:
    import transformers

    if kind == "DistilBert":
        sizes = {"dim": D, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    else:
        sizes = {"hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes["intermediate_size"] = 24
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}
    if kind == "ModernBert":
        special["sep_token_id"] = 2
    else:
        del special["cls_token_id"]
    return getattr(transformers, f"{kind}Config")(vocab_size=V, **sizes, **special, **options)


def masked_lm(kind: str, **options: Any) -> Any:
    """A random model for masked language modelling, no weight of which is 0 or 1."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForMaskedLM")(tiny_config(kind, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Bert", {}),
        ("Bert", {"hidden_act": "relu"}),
        ("Roberta", {}),
        ("XLMRoberta", {}),
        ("MPNet", {}),
        ("DistilBert", {}),
        ("ModernBert", {}),
        ("ModernBert", {"classifier_activation": "silu", "norm_bias": True}),
    ],
)
def test_whole_states_get_the_logits_of_the_untouched_model(
    kind: str, options: dict[str, Any]
) -> None:
    model = masked_lm(kind, **options)
    ids = torch.randint(3, V, (2, 7))
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        states = model.base_model(input_ids=ids).last_hidden_state
        head = MaskedLMHead.from_model(model)
        assert head.dim == D
        assert torch.equal(head(states), expected)


def test_berts_own_head_module_is_equalled_exactly() -> None:
    # Page check 4.
    model = masked_lm("Bert")
    states = torch.randn(3, 5, D)
    head = MaskedLMHead.from_model(model)
    assert torch.equal(head(states), model.cls(states))
    assert torch.equal(head.lift(states), model.cls.predictions.transform(states))


def test_cut_states_meet_the_first_columns_only() -> None:
    model = masked_lm("Bert")
    head = MaskedLMHead.from_model(model)
    states = torch.randn(2, 3, 6)
    cut = head(states)
    # States that are padded with zeros.
    wide = torch.cat([states, torch.zeros(2, 3, D - 6)], dim=-1)
    torch.testing.assert_close(cut, model.cls(wide))
    # Page check 5: what stands in the other columns does not matter; the first ones do.
    with torch.no_grad():
        head.dense.weight[:, 6:] = 0
        assert torch.equal(head(states), cut)
        head.dense.weight[:, 5] = 0
        assert not torch.allclose(head(states), cut)


def test_cut_states_send_no_gradient_to_the_other_columns() -> None:
    head = MaskedLMHead.from_model(masked_lm("Bert"))
    head(torch.randn(4, 6)).square().sum().backward()
    assert head.dense.weight.grad is not None
    assert bool((head.dense.weight.grad[:, :6] != 0).all())
    assert bool((head.dense.weight.grad[:, 6:] == 0).all())


def test_states_wider_than_the_head_are_an_error() -> None:
    head = MaskedLMHead.over(nn.Embedding(V, D))
    with pytest.raises(ValueError, match="17 dimensions for a head of 16"):
        head(torch.randn(2, D + 1))


def test_a_fresh_head_is_its_formula_over_the_embeddings() -> None:
    embeddings = nn.Embedding(V, D)
    state = torch.get_rng_state()
    head = MaskedLMHead.over(embeddings)
    assert torch.equal(torch.get_rng_state(), state)
    states = torch.randn(3, D)
    gelu = states * 0.5 * (1 + torch.erf(states / 2**0.5))
    lifted = (gelu - gelu.mean(-1, keepdim=True)) / gelu.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(head.lift(states), lifted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(head(states), lifted @ embeddings.weight.T, atol=1e-3, rtol=1e-4)


def test_the_decoder_and_the_embeddings_are_one() -> None:
    for head, embeddings in (
        (MaskedLMHead.over(fresh := nn.Embedding(V, D)), fresh),
        (MaskedLMHead.from_model(masked_lm("Bert"), other := nn.Embedding(V, D)), other),
    ):
        assert head.decoder.weight is embeddings.weight
        pair = nn.ModuleList([embeddings, head])
        names = [name for name, _ in pair.named_parameters()]
        assert names.count("0.weight") == 1 and "1.decoder.weight" not in names
        # Also in a copy, and after a step.
        copied: Any = copy.deepcopy(pair)
        optimizer = torch.optim.SGD(copied.parameters(), lr=1.0)
        copied[1](torch.randn(4, D)).square().mean().backward()
        optimizer.step()
        assert torch.equal(copied[0].weight, copied[1].decoder.weight)
        assert not torch.equal(copied[0].weight, embeddings.weight)


def test_a_head_tied_to_other_embeddings_keeps_everything_else() -> None:
    model = masked_lm("Bert")
    states = torch.randn(3, D)
    embeddings = nn.Embedding.from_pretrained(model.bert.embeddings.word_embeddings.weight.clone())
    head = MaskedLMHead.from_model(model, embeddings)
    assert torch.equal(head(states), model.cls(states))
    with pytest.raises(ValueError, match=r"\(51, 16\) for a decoder of \(50, 16\)"):
        MaskedLMHead.from_model(model, nn.Embedding(V + 1, D))


@pytest.mark.parametrize("kind", ["BertModel", "BertForPreTraining", "GPT2LMHeadModel"])
def test_models_without_a_known_head_are_refused(kind: str) -> None:
    import transformers

    if kind.startswith("GPT2"):
        config: Any = transformers.GPT2Config(vocab_size=V, n_embd=D, n_layer=1, n_head=2)
    else:
        config = tiny_config("Bert")
    with pytest.raises(InputError, match=f"{kind} has no masked-language head"):
        MaskedLMHead.from_model(getattr(transformers, kind)(config))


def test_a_bias_beside_the_decoder_is_not_lost() -> None:
    # ESM adds its bias outside the decoder: a head without it would be silently wrong.
    import transformers

    model = transformers.EsmForMaskedLM(tiny_config("Esm", mask_token_id=3))
    with pytest.raises(InputError, match="EsmForMaskedLM"):
        MaskedLMHead.from_model(model)
