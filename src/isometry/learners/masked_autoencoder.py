"""An encoder whose sentence vector must hold what a weak decoder needs to restore the text."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from isometry.core.errors import InputError
from isometry.corpora.views.masking import IGNORED
from isometry.encoders.text import TextEncoder
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.learner import Learner, Losses
from isometry.learners.masked_language import (
    TextMasker,
    check_head,
    check_share,
    masked_cross_entropy,
)

# What a transformers encoder reads of a batch.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class MaskedAutoencoder(Learner):
    """Starbucks' masked autoencoding (Zhuang et al. 2024, SMAE), after RetroMAE (Xiao et al. 2022).

    Each text is masked twice, the encoder's targets among the decoder's. For each size (n, d) the
    states of layer n, cut to d dimensions, predict the encoder's targets; and their sentence
    vector, lifted to full width by the head, stands at position 0 of the decoder, behind its
    embedding norm and without a position vector. The decoder is one more transformer block, at
    first a copy of the encoder's lowest. It sees the text with so many words masked that it needs
    the vector to predict them. The loss is the mean over the sizes of (encoder + decoder) / 2.
    With the one size (layers, width) this is RetroMAE with its basic decoder.

    The sentence vector is what the encoder's own pooling makes of the states: it is the vector
    that will be served and so the one that must carry the text. With CLS pooling that is
    Starbucks' choice, the state at position 0. A model that pools by mean has no use for a CLS
    state, and one trained to carry the text there would not be what its users read.

    Dropout stays off in encoder and decoder, as in `TwoTowers`. Drop head and decoder afterwards.

    Args:
        encoder: A BERT-like encoder: a stack of blocks that can be called alone.
        head: Predicts tokens, for both; tie it to the encoder's own word embeddings.
        sizes: (layers, dimensions) of each size, both increasing; layers count from 1.
        encoder_p: The share of the tokens that are masked for the encoder, between 0 and 1.
        decoder_p: The same for the decoder; not below the encoder's.
        tokens: Where texts are cut.
        whole_words: Whether words are masked together.
        seed: Of the masks; see `TokenMasker`.

    Raises:
        InputError: When the tokenizer has no mask token, no words to mask as a whole, or pads on
            the left; when the encoder has no pooling of its states; when its lowest block called
            alone is not what it is inside.
        ValueError: For sizes that are none, do not increase, or exceed the encoder; for shares
            outside (0, 1) or in the wrong order; for a head of another width than the encoder.

    Warns:
        UserWarning: When the last size is not the whole encoder, which then is not trained.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        head: MaskedLMHead,
        *,
        sizes: Sequence[tuple[int, int]],
        encoder_p: float = 0.2,
        decoder_p: float = 0.4,
        tokens: int,
        whole_words: bool = True,
        seed: int,
    ) -> None:
        super().__init__()
        check_share(encoder_p, "encoder_p")
        check_share(decoder_p, "decoder_p")
        if encoder_p > decoder_p:
            raise ValueError(
                f"the encoder's share must not exceed the decoder's: {encoder_p} > {decoder_p}"
            )
        check_head(encoder, head)
        _check_sizes(sizes, len(encoder.layers()), head.dim)
        _check_pooling(encoder, head.dim)
        self.encoder = encoder
        self.head = head
        self.sizes = tuple(sizes)
        self.encoder_p = encoder_p
        self.decoder_p = decoder_p
        self.masker = TextMasker(encoder, tokens=tokens, whole_words=whole_words, seed=seed)
        # Trainable even where the encoder's lowest block is frozen.
        self.decoder = copy.deepcopy(encoder.layers()[0]).requires_grad_(True)
        self.train(self.training)
        self._check_decoder()

    def train(self, mode: bool = True) -> MaskedAutoencoder:
        """Sets the mode of all parts but encoder and decoder, which stay without dropout."""
        super().train(mode)
        self.encoder.eval()
        self.decoder.eval()
        return self

    def collate(self, rows: Sequence[str]) -> dict[str, Any]:
        """Texts -> tokens masked for the encoder, and again, with more, for the decoder."""
        read = self.masker.read(rows)
        # The decoder's first position holds the vector, even if the tokenizer puts a word there.
        read.maskable[:, 0] = False
        decoder_ids, decoder_labels = self.masker.mask(read, self.decoder_p)
        ids, labels = self.masker.mask(read, self.encoder_p, within=decoder_labels != IGNORED)
        return {
            "masked": read.batch | {"input_ids": ids},
            "labels": labels,
            "decoder_ids": decoder_ids,
            "decoder_labels": decoder_labels,
        }

    def size_losses(self, batch: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """Of each size, the encoder's cross-entropy at its targets and the decoder's at its own."""
        masked = batch["masked"]
        states = self._states(masked)
        embedded = self._embed(batch["decoder_ids"], masked)
        losses: list[tuple[Tensor, Tensor]] = []
        for layer, dim in self.sizes:
            hidden = states[layer]
            vector = self.encoder.model[1]({**masked, "token_embeddings": hidden})
            lifted = self.head.lift(vector["sentence_embedding"][:, :dim])
            inputs = torch.cat([lifted[:, None].to(embedded.dtype), embedded[:, 1:]], dim=1)
            decoded = self._decode(inputs, masked["attention_mask"])
            losses.append(
                (
                    masked_cross_entropy(self.head, hidden[..., :dim], batch["labels"]),
                    masked_cross_entropy(self.head, decoded, batch["decoder_labels"]),
                )
            )
        return losses

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean over sizes and both parts; and each part's mean over sizes."""
        encoder, decoder = (
            torch.stack(part).mean() for part in zip(*self.size_losses(batch), strict=True)
        )
        return {
            "loss": (encoder + decoder) / 2,
            "masked_language": encoder.detach(),
            "autoencoding": decoder.detach(),
        }

    @property
    def _body(self) -> Any:
        """The underlying transformers model."""
        return self.encoder.model[0].model

    def _states(self, batch: Mapping[str, Any]) -> Sequence[Float[Tensor, "b t d"]]:
        """Of the embeddings, and behind each block."""
        inputs = {name: batch[name] for name in _INPUTS if name in batch}
        return self._body(**inputs, output_hidden_states=True).hidden_states

    def _embed(self, ids: Int[Tensor, "b t"], batch: Mapping[str, Any]) -> Float[Tensor, "b t d"]:
        segments = {name: batch[name] for name in ("token_type_ids",) if name in batch}
        return self._body.embeddings(input_ids=ids, **segments)

    def _decode(
        self, inputs: Float[Tensor, "b t d"], mask: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        from transformers.masking_utils import create_bidirectional_mask

        # In the form that the attention of this model takes.
        attention = create_bidirectional_mask(
            config=self._body.config, inputs_embeds=inputs, attention_mask=mask
        )
        return self.decoder(inputs, attention)

    @torch.no_grad()
    def _check_decoder(self) -> None:
        """Some blocks need more than states: a bias or rotation that the model computes for all."""
        device = next(self.encoder.parameters()).device
        batch: dict[str, Any] = dict(self.encoder.collate(["one", "more words"], "document"))
        batch = {name: batch[name].to(device) for name in _INPUTS if name in batch}
        mask = batch["attention_mask"]
        if not bool(mask[:, 0].all()):
            raise InputError(
                f"The tokenizer of '{self.encoder.name}' pads on the left.",
                "Set padding_side to right.",
            )
        expected = self._states(batch)[1]
        try:
            alone = self._decode(self._embed(batch["input_ids"], batch), mask)
            same = torch.allclose(alone[mask.bool()], expected[mask.bool()], atol=1e-3)
        except (AttributeError, TypeError):
            same = False
        if not same:
            raise InputError(
                f"No decoder can be made of a {type(self._body).__name__}: its blocks do not work"
                " alone.",
                "Use an encoder of the BERT, RoBERTa or DistilBERT kind.",
            )


def _check_sizes(sizes: Sequence[tuple[int, int]], layers: int, dim: int) -> None:
    if not sizes:
        raise ValueError("sizes must not be empty")
    if any(m >= n or c >= d for (m, c), (n, d) in pairwise(sizes)):
        raise ValueError(f"sizes must increase in layers and dimensions, not {tuple(sizes)}")
    if min(sizes[0]) < 1 or sizes[-1][0] > layers or sizes[-1][1] > dim:
        raise ValueError(
            f"sizes must lie between (1, 1) and the encoder's ({layers}, {dim}), not {tuple(sizes)}"
        )
    if tuple(sizes[-1]) != (layers, dim):
        warnings.warn(
            f"the last size is {tuple(sizes[-1])}: the whole encoder, ({layers}, {dim}), is not"
            " trained",
            stacklevel=3,
        )


def _check_pooling(encoder: TextEncoder, dim: int) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    pooling = encoder.model[1] if len(encoder.model) > 1 else None
    if not isinstance(pooling, Pooling) or pooling.get_embedding_dimension() != dim:
        raise InputError(
            f"The model '{encoder.name}' does not pool its states into one vector of their width.",
            "Use one with a Pooling module of one mode behind the transformer.",
        )
