from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config

from isometry.core.errors import InputError
from isometry.encoders.surgery.bidirectional import bidirectional

SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 32, "vocab_size": 40, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
KINDS = (MistralConfig, LlamaConfig, Qwen2Config, Gemma3TextConfig)


def decoder(kind: Any, attention: str = "sdpa", **settings: Any) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(
        kind(**SIZES, **settings), attn_implementation=attention
    ).eval()  # fmt: skip


def states(model: Any, ids: Tensor, padding: int = 0) -> Tensor:
    """Of the tokens that are not padding, which stands behind them."""
    full = torch.cat([ids, ids.new_zeros(len(ids), padding)], dim=1)
    real = torch.arange(full.shape[1]) < ids.shape[1]
    with torch.no_grad():
        out = model(input_ids=full, attention_mask=real.expand(full.shape).long())
    return out.last_hidden_state[:, : ids.shape[1]]


def dependence(model: Any, changed: int, padding: int, length: int = 5) -> Tensor:
    """How much each token's state changes when one token does."""
    ids = torch.arange(1, length + 1)[None]
    other = ids.clone()
    other[0, changed] = 30
    return (states(model, ids, padding) - states(model, other, padding)).abs().amax(dim=-1)[0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_token_reaches_the_first_one_and_did_not_before(kind: Any, attention: str) -> None:
    model = decoder(kind, attention)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for padding in (0, 3):
        assert (dependence(model, 4, padding)[:4] == 0).all()
    bidirectional(model, 8)
    for padding in (0, 3):
        assert (dependence(model, 4, padding) > 1e-5).all()
        assert (dependence(model, 0, padding) > 1e-5).all()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_that_ask_the_layers_are_told_too(kind: Any) -> None:
    def causal(model: Any) -> int:
        return sum(getattr(part, "is_causal", False) is True for part in model.modules())

    model = decoder(kind)
    assert causal(model) == 2
    bidirectional(model, 8)
    assert causal(model) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_still_not_seen(kind: Any) -> None:
    model = decoder(kind)
    bidirectional(model, 8)
    ids = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(states(model, ids, 4), states(model, ids), rtol=0, atol=1e-5)


def test_positions_stay() -> None:
    model = decoder(LlamaConfig)
    bidirectional(model, 8)
    ids = torch.tensor([[1, 2, 3, 4]])
    assert not torch.allclose(states(model, ids)[0, 0], states(model, ids.flip(1))[0, 3], atol=1e-4)


def test_a_saved_model_stays_bidirectional(tmp_path: Path) -> None:
    model = decoder(MistralConfig)
    bidirectional(model, 8)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    for padding in (0, 3):
        torch.testing.assert_close(dependence(loaded, 4, padding), dependence(model, 4, padding))


@pytest.mark.parametrize("kind", [MistralConfig, Gemma3TextConfig])
def test_a_window_shorter_than_the_text_asks_for_a_choice(kind: Any) -> None:
    narrow = {"sliding_window": 2, "num_hidden_layers": 1}
    sizes = SIZES | narrow

    def one_layer() -> Any:
        torch.manual_seed(0)
        return AutoModel.from_config(kind(**sizes)).eval()

    with pytest.raises(InputError, match="2 tokens at once, fewer than the 5"):
        bidirectional(one_layer(), 5)
    kept, dropped = one_layer(), one_layer()
    bidirectional(kept, 5, window="keep")
    bidirectional(dropped, 5, window="drop")
    for padding in (0, 3):
        seen = dependence(kept, 4, padding) > 0
        assert not seen[:2].any() and seen[2:].all()
        assert (dependence(dropped, 4, padding) > 0).all()
    # No choice is needed where the window holds the text.
    wide = decoder(kind, sliding_window=5)
    bidirectional(wide, 5)
    assert (dependence(wide, 4, 0) > 0).all()


def test_a_model_that_makes_its_own_mask_is_refused() -> None:
    from transformers import MistralModel

    class Stubborn(MistralModel):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.config.is_causal = True
            return super().forward(*args, **kwargs)

    with pytest.raises(InputError, match="Stubborn does not take its causal mask"):
        bidirectional(Stubborn(MistralConfig(**SIZES)), 8)


def test_a_window_that_no_layer_uses_asks_for_no_choice() -> None:
    model = decoder(Gemma3TextConfig, sliding_window=2, layer_types=["full_attention"] * 2)
    bidirectional(model, 8)
    assert (dependence(model, 4, 0) > 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_trains_goes_on_and_keeps_nothing_for_further_tokens(training: bool) -> None:
    model = decoder(LlamaConfig).train(training)
    bidirectional(model, 8)
    assert all(part.training == training for part in model.modules())
    assert model(input_ids=torch.tensor([[1, 2]])).past_key_values is None
