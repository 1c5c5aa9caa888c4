"""Attention between states and a trained dictionary, in either direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.pooling.mean import Mean, check_mask

# What the parts are called in the released weights of both papers.
_RELEASED = {
    "latents": "latents",
    "positions": "pos_emb.weight",
    "norm_states": "cross_attend_blocks.0.norm",
    "norm_latents": "cross_attend_blocks.0.norm_context",
    "to_query": "cross_attend_blocks.0.fn.to_q",
    "to_key_value": "cross_attend_blocks.0.fn.to_kv",
    "to_out": "cross_attend_blocks.0.fn.to_out",
    "norm_out": "cross_attend_blocks.1.norm",
    "widen": "cross_attend_blocks.1.fn.net.0",
    "narrow": "cross_attend_blocks.1.fn.net.2",
}


class LatentAttention(nn.Module):
    """Pools states by attention with latents Z, of which there are a fixed number.

    One block with norms first and two residuals: x' = x + W_o MHA(LN x, LN c), then
    x'' = x' + W_2 (u * gelu(g)) with [u, g] = W_1 LN x', and a mean.

    - `query="states"`: every state asks the dictionary, and the mean is over the states that count
      (Lee et al. 2024, "NV-Embed", section 3.1). States never see one another. The paper writes a
      softmax of Q K^T with K = V = Z and a plain MLP; this is what its published code does.
    - `query="latents"`: the latents ask the states, and the mean is over the latents. Over the
      tokens of the last layer this is the last-layer trainable pooling of Tang and Yang (2024,
      "Pooling And Attention"); over one vector a layer, with `positions`, their multi-layer
      trainable pooling.

    The published code of the second paper leaves the mask out, so that vectors depend on the
    padding of their batch: `masked=False` does the same. Its layer positions start from N(0, 1);
    here they start at a deviation of 0.02, since they are added to states whose length they would
    exceed. The result is not normalised.

    Args:
        d: The width of states and latents.
        latents: How many latents there are.
        heads: Of the attention.
        query: Who asks.
        head_dim: The width of a head; the states' width shared out by default.
        positions: How many places of states have a vector of their own, added to the state: the
            number of layers. 0 where order does not count.
        masked: Whether states outside the mask are left out.

    Raises:
        InputError: For no latent or head, a width that the heads do not divide, or others to ask.
    """

    def __init__(
        self,
        d: int,
        latents: int,
        heads: int,
        query: Literal["states", "latents"],
        *,
        head_dim: int | None = None,
        positions: int = 0,
        masked: bool = True,
    ) -> None:
        super().__init__()
        if min(latents, heads, 1 if head_dim is None else head_dim) < 1:
            raise InputError(
                f"{latents} latents and {heads} heads of width {head_dim}: each must be at least 1."
            )
        if query not in ("states", "latents"):
            raise InputError(f"Who asks is 'states' or 'latents', not {query!r}.")
        if head_dim is None and d % heads:
            raise InputError(f"{heads} heads do not divide {d} dimensions.", "Give head_dim.")
        inner = heads * (head_dim or d // heads)
        self.heads = heads
        self.query = query
        self.masked = masked
        self.latents = nn.Parameter(torch.randn(latents, d))
        self.positions = nn.Parameter(torch.randn(positions, d) * 0.02) if positions else None
        self.norm_states = nn.LayerNorm(d)
        self.norm_latents = nn.LayerNorm(d)
        self.to_query = nn.Linear(d, inner, bias=False)
        self.to_key_value = nn.Linear(d, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, d, bias=False)
        self.norm_out = nn.LayerNorm(d)
        self.widen = nn.Linear(d, 8 * d)
        self.narrow = nn.Linear(4 * d, d)
        self.mean = Mean()

    def forward(
        self, states: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b d"]:
        """One vector a row.

        Args:
            states: Of tokens, or one of each layer.
            mask: True where a state counts.

        Raises:
            InputError: When nothing of a row counts, or states have other places than positions.
        """
        check_mask(mask)
        if self.positions is not None:
            if states.shape[1] != len(self.positions):
                raise InputError(
                    f"There are {states.shape[1]} states, but positions for {len(self.positions)}.",
                    "The output of the embeddings is no layer.",
                )
            states = states + self.positions
        if not self.masked:
            mask = torch.ones_like(mask)
        latents = self.latents.expand(len(states), -1, -1)
        asked, given = self.norm_latents(latents), self.norm_states(states)
        if self.query == "states":
            mixed = states + self._attend(given, asked, None)
        else:
            mixed = latents + self._attend(asked, given, mask)
        value, gate = self.widen(self.norm_out(mixed)).chunk(2, dim=-1)
        mixed = mixed + self.narrow(value * functional.gelu(gate))
        return self.mean(mixed, mask) if self.query == "states" else mixed.mean(dim=1)

    def _attend(
        self,
        asking: Float[Tensor, "b q d"],
        asked: Float[Tensor, "b k d"],
        mask: Bool[Tensor, "b k"] | None,
    ) -> Float[Tensor, "b q d"]:
        query = self._split(self.to_query(asking))
        key, value = map(self._split, self.to_key_value(asked).chunk(2, dim=-1))
        seen = None if mask is None else mask[:, None, None]
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.to_out(found.transpose(1, 2).flatten(2))

    def _split(self, rows: Float[Tensor, "b n inner"]) -> Float[Tensor, "b heads n width"]:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def load_released(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the weights of a published pooler of either paper.

        Args:
            tensors: By their names there, without a prefix such as `latent_attention_model.`.

        Raises:
            InputError: When a weight is missing, left over, or of another shape.
        """
        own = self.state_dict()
        names = {name: _released(name) for name in own}
        missing = [name for name in names.values() if name not in tensors]
        over = sorted(set(tensors) - set(names.values()))
        if missing or over:
            wrong = f"no '{missing[0]}'" if missing else f"'{over[0]}' too many"
            raise InputError(f"These are not the weights of such a pooler: {wrong}.")
        for name, released in names.items():
            if tensors[released].shape != own[name].shape:
                shape = tuple(tensors[released].shape)
                raise InputError(f"'{released}' is {shape}, not {tuple(own[name].shape)}.")
        self.load_state_dict({name: tensors[released] for name, released in names.items()})


def _released(name: str) -> str:
    part, dot, rest = name.partition(".")
    return _RELEASED[part] + dot + rest
