"""The mean, the last token, the mix of layers, and self-attention before the mean."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.pooling.last_token import Last
from isometry.pooling.layer_mix import LayerMix, concat_layers
from isometry.pooling.mean import Mean
from isometry.pooling.self_attention import SelfAttention

STATES = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
# Padding on the right, on the left, and on neither side; the last row's prompt is masked.
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]).bool()


def test_the_last_token_is_found_whatever_side_is_padded() -> None:
    expected = torch.stack([STATES[0, 2], STATES[1, 4], STATES[2, 4]])
    assert torch.equal(Last()(STATES, MASK), expected)


def test_the_mean_is_over_the_mask() -> None:
    expected = torch.stack(
        [STATES[0, :3].mean(dim=0), STATES[1, 2:].mean(dim=0), STATES[2, 1:].mean(dim=0)]
    )
    torch.testing.assert_close(Mean()(STATES, MASK), expected)
    broken = STATES.masked_fill(~MASK[..., None], torch.nan)
    torch.testing.assert_close(Mean()(broken, MASK), expected)


def test_long_means_in_half_precision_lose_nothing() -> None:
    states = torch.ones(1, 3000, 1, dtype=torch.bfloat16)
    found = Mean()(states, torch.ones(1, 3000, dtype=torch.bool))
    assert found.dtype == torch.bfloat16 and float(found) == 1.0


@pytest.mark.parametrize("pooler", [Mean(), Last(), SelfAttention(8, 2, 16).double()])
def test_a_row_without_tokens_is_named(pooler: torch.nn.Module) -> None:
    mask = MASK.clone()
    mask[1] = False
    with pytest.raises(InputError, match="row 1"):
        pooler(STATES, mask)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_divide_the_width(heads: int) -> None:
    with pytest.raises(InputError, match=f"{heads} heads do not divide a width of 10"):
        SelfAttention(10, heads, 16)


def test_self_attention_neither_sees_nor_averages_padding() -> None:
    torch.manual_seed(0)
    pooler = SelfAttention(8, 2, 16).double()
    found = pooler(STATES, MASK)
    other = torch.where(MASK[..., None], STATES, 3.0)
    torch.testing.assert_close(pooler(other, MASK), found, rtol=0, atol=1e-12)
    changed = STATES.clone()
    changed[0, 1] += torch.arange(8)
    assert not torch.allclose(pooler(changed, MASK)[0], found[0])
    # More than a mean of states that each went through by itself.
    alone = [pooler(STATES[:1, [t]], MASK[:1, [0]]) for t in range(3)]
    assert not torch.allclose(torch.stack(alone).mean(dim=0), found[:1])
    quick = pooler.eval()
    with torch.no_grad():
        torch.testing.assert_close(quick(STATES, MASK), found)


def test_norms_stand_in_front_and_two_dense_layers_behind_the_attention() -> None:
    torch.manual_seed(0)
    pooler = SelfAttention(8, 2, 16).double()
    layer = pooler.layer
    torch.nn.init.zeros_(layer.self_attn.out_proj.weight)
    torch.nn.init.zeros_(layer.self_attn.out_proj.bias)
    dense = layer.linear2(functional.gelu(layer.linear1(layer.norm2(STATES))))
    torch.testing.assert_close(pooler(STATES, MASK), Mean()(STATES + dense, MASK))


def test_a_new_mix_is_the_mean_of_the_layers() -> None:
    mix = LayerMix(3).double()
    assert sum(part.numel() for part in mix.parameters()) == 4
    torch.testing.assert_close(mix(STATES), STATES.mean(dim=0))
    tokens = STATES[:, None].expand(3, 2, 5, 8)
    torch.testing.assert_close(mix(tokens), tokens.mean(dim=0))


def test_the_mix_is_elmos() -> None:
    mix = LayerMix(3).double()
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, 2.0, -1.0]))
        mix.scale.fill_(3.0)
    shares = torch.tensor([1.0, 2.718281828459045**2, 2.718281828459045**-1]).double()
    expected = 3 * (shares[:, None, None] / shares.sum() * STATES).sum(dim=0)
    torch.testing.assert_close(mix(STATES), expected)


def test_a_mix_of_other_layers_is_refused() -> None:
    with pytest.raises(InputError, match="2 layers, but weights for 3"):
        LayerMix(3)(STATES[:2].float())
    with pytest.raises(ValueError, match="not 0"):
        LayerMix(0)


def test_layers_stand_behind_one_another() -> None:
    found = concat_layers(STATES)
    assert found.shape == (5, 24)
    assert torch.equal(found[:, 8:16], STATES[1])
