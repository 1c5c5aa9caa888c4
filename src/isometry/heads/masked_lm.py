"""Token states -> logits over the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Activation = Callable[[Tensor], Tensor]

# Where heads of transformers keep dense layer, activation and norm. RoBERTa's and MPNet's have
# a function between the two, which has no place.
_LAYOUTS = (
    (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.transform_act_fn",
        "cls.predictions.transform.LayerNorm",
    ),
    ("lm_head.dense", None, "lm_head.layer_norm"),
    ("head.dense", "head.act", "head.norm"),
    ("vocab_transform", "activation", "vocab_layer_norm"),
)


class MaskedLMHead(nn.Module):
    """Dense layer, activation, norm, and a decoder that is tied to word embeddings.

    It is BERT's head (Devlin et al. 2019), and takes cut states too: states of the first
    `d_cut` dimensions meet the first `d_cut` columns of the dense layer, everything else stays
    (Starbucks' nested head, Zhuang et al. 2024). What is written to the columns beyond does not
    change them.

    Args:
        dense: From states to what the decoder reads; used, not copied, as the other parts.
        activation: Behind the dense layer.
        norm: Behind the activation.
        decoder: To the vocabulary; its weight may be an embedding's own, then they train as one.
    """

    def __init__(
        self, dense: nn.Linear, activation: Activation, norm: nn.Module, decoder: nn.Linear
    ) -> None:
        super().__init__()
        self.dense = dense
        self.activation = activation
        self.norm = norm
        self.decoder = decoder

    @classmethod
    def over(cls, embeddings: nn.Embedding) -> MaskedLMHead:
        """A fresh head: the dense layer is the identity, the decoder the word embeddings.

        For encoders that come without one, as sentence-transformers models do. It draws nothing
        at random.

        Args:
            embeddings: The encoder's word embeddings.
        """
        weight = embeddings.weight
        dim = embeddings.embedding_dim
        place = {"device": weight.device, "dtype": weight.dtype}
        identity = nn.Parameter(torch.eye(dim, **place))
        dense = _linear(identity, nn.Parameter(torch.zeros(dim, **place)))
        bias = nn.Parameter(torch.zeros(embeddings.num_embeddings, **place))
        return cls(dense, functional.gelu, nn.LayerNorm(dim, **place), _linear(weight, bias))

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, embeddings: nn.Embedding | None = None
    ) -> MaskedLMHead:
        """The head of a transformers model for masked language modelling.

        Args:
            model: For instance a `BertForMaskedLM`; RoBERTa's, MPNet's, DistilBERT's and
                ModernBERT's heads are known too.
            embeddings: Word embeddings to tie the decoder to, where the encoder to be trained is
                another copy of the model; those of `model` where none are given.

        Raises:
            InputError: When the head is of another form.
            ValueError: When the embeddings are not of the decoder's shape.
        """
        head = _read(model)
        if head is None:
            raise InputError(
                f"{type(model).__name__} has no masked-language head of a known form.",
                "Load it with AutoModelForMaskedLM, or use MaskedLMHead.over(word embeddings).",
            )
        if embeddings is not None:
            if embeddings.weight.shape != head.decoder.weight.shape:
                raise ValueError(
                    f"embeddings of shape {tuple(embeddings.weight.shape)} for a decoder of"
                    f" {tuple(head.decoder.weight.shape)}"
                )
            head.decoder = _linear(embeddings.weight, head.decoder.bias)
        return head

    @property
    def dim(self) -> int:
        """The number of dimensions of a whole state."""
        return self.dense.in_features

    def lift(self, states: Float[Tensor, "... d_cut"]) -> Float[Tensor, "... d"]:
        """States, cut or whole -> what the decoder reads: dense layer, activation, norm.

        Raises:
            ValueError: For states that are wider than the head.
        """
        width = states.shape[-1]
        if width > self.dim:
            raise ValueError(f"states of {width} dimensions for a head of {self.dim}")
        dense = functional.linear(states, self.dense.weight[:, :width], self.dense.bias)
        return self.norm(self.activation(dense))

    def forward(self, states: Float[Tensor, "... d_cut"]) -> Float[Tensor, "... v"]:
        """Logits over the vocabulary, for states cut to any width or whole."""
        return self.decoder(self.lift(states))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer around parameters, which may be somebody else's too."""
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, device="meta")
    layer.register_parameter("weight", cast("nn.Parameter", weight))
    layer.register_parameter("bias", cast("nn.Parameter | None", bias))
    return layer


def _read(model: PreTrainedModel) -> MaskedLMHead | None:
    """The head of a model, if it is of a known form and nothing else is in it."""
    decoder = model.get_output_embeddings()
    for dense_at, activation_at, norm_at in _LAYOUTS:
        try:
            dense, norm = attrgetter(dense_at, norm_at)(model)
            activation = attrgetter(activation_at)(model) if activation_at else functional.gelu
        except AttributeError:
            continue
        if not isinstance(decoder, nn.Linear):
            return None
        head = MaskedLMHead(dense, activation, norm, decoder)
        known = {id(part) for owner in (model.base_model, head) for part in owner.parameters()}
        return head if all(id(part) in known for part in model.parameters()) else None
    return None
