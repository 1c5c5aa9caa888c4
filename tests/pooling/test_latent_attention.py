from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.pooling.latent_attention import LatentAttention
from isometry.pooling.mean import Mean
from isometry.pooling.multi_layer import MultiLayer

STATES = torch.sin(torch.arange(1, 25, dtype=torch.float64)).reshape(2, 3, 4)
MASK = torch.tensor([[True, True, True], [True, True, False]])
EVERY = torch.ones_like(MASK)
# NV-Embed's own module in double precision on these states and weights; numpy gives the same.
TOKENS_ASK = [[0.366535, 0.329616, 0.020218, -0.434175], [-0.030174, 0.425168, 0.412139, 0.114650]]
# Multi-layer trainable pooling's own module; numpy gives the same.
LAYERS_ASKED = [
    [0.288187, 0.320624, 0.055786, -0.352178],
    [0.296662, 0.322752, 0.048396, -0.354155],
]
# Last-layer trainable pooling, by numpy: as published without a mask, and with it.
TOKENS_ASKED = [
    [0.288187, 0.320623, 0.055787, -0.352178],
    [0.301379, 0.316544, 0.047447, -0.349869],
]
TOKENS_ASKED_MASKED = [TOKENS_ASKED[0], [0.347665, 0.234514, 0.026700, -0.265168]]
# What both papers call their weights.
NAMES = (
    "latents", "cross_attend_blocks.0.norm.weight", "cross_attend_blocks.0.norm.bias",
    "cross_attend_blocks.0.norm_context.weight", "cross_attend_blocks.0.norm_context.bias",
    "cross_attend_blocks.0.fn.to_q.weight", "cross_attend_blocks.0.fn.to_kv.weight",
    "cross_attend_blocks.0.fn.to_out.weight", "cross_attend_blocks.1.norm.weight",
    "cross_attend_blocks.1.norm.bias", "cross_attend_blocks.1.fn.net.0.weight",
    "cross_attend_blocks.1.fn.net.0.bias", "cross_attend_blocks.1.fn.net.2.weight",
    "cross_attend_blocks.1.fn.net.2.bias",
)  # fmt: skip
SHAPES = ((3, 4), *[(4,)] * 4, (8, 4), (16, 4), (4, 8), (4,), (4,), (32, 4), (32,), (4, 16), (4,))


def waves(shape: tuple[int, ...]) -> Tensor:
    count = int(torch.tensor(shape).prod())
    return 0.3 * torch.sin(torch.arange(1, count + 1, dtype=torch.float64)).reshape(shape)


def released() -> dict[str, Tensor]:
    """Weights by the names of the published modules: waves, and norms that do nothing."""
    tensors = {name: waves(shape) for name, shape in zip(NAMES, SHAPES, strict=True)}
    for name in NAMES:
        if "norm" in name:
            tensors[name] = torch.full((4,), float(name.endswith("weight")), dtype=torch.float64)
    return tensors


def pooler(
    query: Literal["states", "latents"], *, positions: int = 0, masked: bool = True
) -> LatentAttention:
    made = LatentAttention(4, 3, 2, query, head_dim=4, positions=positions, masked=masked).double()
    tensors = released()
    made.load_released(tensors | ({"pos_emb.weight": waves((3, 4))} if positions else {}))
    return made


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(
        found.detach(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_tokens_that_ask_give_what_nv_embeds_module_gives() -> None:
    close(pooler("states")(STATES, MASK), TOKENS_ASK)


def test_layers_that_are_asked_give_what_the_papers_module_gives() -> None:
    made = pooler("latents", positions=3)
    close(made(STATES, EVERY), LAYERS_ASKED)
    moved = made(STATES[:, [2, 0, 1]], EVERY) - made(STATES, EVERY)
    assert float(moved.detach().abs().max()) == pytest.approx(0.0296, abs=1e-4)


def test_last_layer_pooling_is_the_papers_without_the_mask_alone() -> None:
    close(pooler("latents", masked=False)(STATES, MASK), TOKENS_ASKED)
    close(pooler("latents")(STATES, MASK), TOKENS_ASKED_MASKED)


def test_swapped_roles_give_something_else() -> None:
    one, other = pooler("states")(STATES, MASK), pooler("latents")(STATES, MASK)
    assert float((one - other).detach().abs().max()) > 0.05


def test_without_positions_the_order_of_layers_does_not_count() -> None:
    made = pooler("latents")
    turned = made(STATES[:, [2, 0, 1]], EVERY)
    torch.testing.assert_close(turned, made(STATES, EVERY), rtol=0, atol=1e-12)


@pytest.mark.parametrize("query", ["states", "latents"])
def test_order_and_padding_of_tokens_do_not_count(query: Literal["states", "latents"]) -> None:
    made = pooler(query)
    found = made(STATES, MASK)
    turned = made(STATES[:, [2, 0, 1]], MASK[:, [2, 0, 1]])
    torch.testing.assert_close(turned, found, rtol=0, atol=1e-12)
    padded = STATES.clone()
    padded[1, 2] = torch.tensor([1e9, -1e9, 0, 3])
    assert torch.equal(made(padded, MASK), found)
    wider = torch.cat([STATES, torch.full((2, 5, 4), 7.0, dtype=torch.float64)], dim=1)
    mask = torch.cat([MASK, torch.zeros(2, 5, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(made(wider, mask), found, rtol=0, atol=1e-12)


def test_without_the_mask_vectors_depend_on_the_padding() -> None:
    made = pooler("latents", masked=False)
    wider = torch.cat([STATES, torch.zeros(2, 5, 4, dtype=torch.float64)], dim=1)
    mask = torch.cat([MASK, torch.zeros(2, 5, dtype=torch.bool)], dim=1)
    assert not torch.allclose(made(wider, mask), made(STATES, MASK))


def test_without_its_outputs_it_is_the_masked_mean() -> None:
    made = pooler("states")
    for layer in (made.to_out, made.narrow):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(made.narrow.bias)
    found = made(STATES, MASK)
    torch.testing.assert_close(found, Mean()(STATES, MASK), rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], STATES[1, :2].mean(dim=0), rtol=0, atol=1e-12)


def test_latents_without_their_output_see_nothing_of_the_states() -> None:
    made = pooler("latents", positions=3)
    assert not torch.allclose(made(STATES, EVERY)[0], made(STATES, EVERY)[1])
    torch.nn.init.zeros_(made.to_out.weight)
    found = made(STATES, EVERY)
    assert torch.equal(found[0], found[1])
    assert torch.equal(made(-3 * STATES, EVERY), found)


def test_the_released_norms_are_of_the_states_and_of_the_latents_whoever_asks() -> None:
    # Both papers' modules are called as `cross_attn(hiddens, context=latents)`.
    nothing = torch.zeros(4, dtype=torch.float64)
    made = pooler("latents")
    made.load_released(released() | {"cross_attend_blocks.0.norm.weight": nothing})
    torch.testing.assert_close(made(STATES, EVERY), made(-3 * STATES, EVERY))
    made = pooler("states")
    made.load_released(released() | {"cross_attend_blocks.0.norm_context.weight": nothing})
    found = made(STATES, MASK)
    torch.nn.init.zeros_(made.to_out.weight)
    torch.testing.assert_close(made(STATES, MASK), found)
    assert not torch.allclose(pooler("states")(STATES, MASK), found)


def test_the_sizes_are_those_of_the_released_poolers() -> None:
    with torch.device("meta"):
        nv_embed = LatentAttention(4096, 512, 8, "states", head_dim=4096)
        multi = LatentAttention(4096, 768, 32, "latents", head_dim=2048, positions=32)
    for made, said in ((nv_embed, 740_331_520), (multi, 1_278_382_080)):
        sizes = {name: part.numel() for name, part in made.named_parameters()}
        norms = sum(size for name, size in sizes.items() if "norm" in name)
        assert norms == 6 * 4096
        # Counted without the norms.
        assert sum(sizes.values()) - norms == said


def test_weights_that_are_no_poolers_are_refused() -> None:
    made = LatentAttention(4, 3, 2, "states", head_dim=4).double()
    tensors = released()
    for wrong, words in (
        ({name: tensors[name] for name in NAMES[1:]}, "no 'latents'"),
        (tensors | {"extra": waves((1,))}, "'extra' too many"),
        (tensors | {"latents": waves((2, 4))}, r"'latents' is \(2, 4\), not \(3, 4\)"),
    ):
        with pytest.raises(InputError, match=words):
            made.load_released(wrong)


def test_bad_settings_and_inputs_are_refused() -> None:
    for latents, heads, width in ((0, 2, None), (3, 0, None), (3, 2, 0)):
        with pytest.raises(InputError, match="at least 1"):
            LatentAttention(4, latents, heads, "states", head_dim=width)
    with pytest.raises(InputError, match="3 heads do not divide 4"):
        LatentAttention(4, 3, 3, "states")
    with pytest.raises(InputError, match="3 states, but positions for 2"):
        LatentAttention(4, 3, 2, "latents", positions=2)(STATES.float(), EVERY)
    empty = torch.tensor([[True, True, True], [False, False, False]])
    for query in ("states", "latents"):
        with pytest.raises(InputError, match="row 1"):
            pooler(query)(STATES, empty)


def test_multi_layer_takes_layers_first() -> None:
    torch.manual_seed(0)
    made = MultiLayer(4, 3, 2, 2, head_dim=4).double()
    layers = STATES.transpose(0, 1)
    expected = made.attention(STATES, EVERY)
    assert torch.equal(made(layers), expected)
    assert not torch.allclose(made(layers.flip(0)), expected)
    loose = MultiLayer(4, 3, 2, 2, head_dim=4, positions=False).double()
    torch.testing.assert_close(loose(layers.flip(0)), loose(layers), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="positions for 3"):
        made(layers[:2])


def test_nobody_else_asks() -> None:
    with pytest.raises(InputError, match="'state'"):
        make = LatentAttention.__init__.__wrapped__  # type: ignore[attr-defined]
        make(object.__new__(LatentAttention), 8, 3, 2, "state")


def test_latents_ask_the_vectors_of_all_layers() -> None:
    torch.manual_seed(0)
    made = MultiLayer(4, 3, 5, 2, head_dim=3)
    assert made.attention.latents.shape == (5, 4) and made.attention.heads == 2
    assert made.attention.to_query.out_features == 2 * 3
    torch.nn.init.zeros_(made.attention.to_out.weight)
    # Without what attention gives nothing of the layers is left.
    found = made(torch.randn(3, 2, 4))
    assert torch.equal(found[0], found[1])


def test_heads_share_the_width_and_places_start_small() -> None:
    made = LatentAttention(8, 3, 2, "states")
    assert made.to_query.out_features == 8 and made.to_out.in_features == 8
    torch.manual_seed(0)
    positions = LatentAttention(64, 3, 2, "latents", positions=32).positions
    assert positions is not None
    assert float(positions.detach().std()) == pytest.approx(0.02, rel=0.1)
