"""Vectors -> one number for each of some named concepts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError

Activation = Literal["identity", "relu", "softplus", "sigmoid"]


class ConceptHead(nn.Module):
    """Named dimensions: s = f(U h + b), one row of U for each concept (SESA).

    Without `concept_vectors` the rows are free. With them they are tied to the concepts' own
    vectors: s_k = f(g <P h, v_k> + b_k), where P and g are learned and v_k stays. A tied head knows
    concepts that came after its training, too: see `with_concepts`.

    That a layer over a text encoder has an explicit dimension for every concept of a knowledge base
    is what the paper says (Bogdanova and Yazdani 2017, "SESA: Supervised Explicit Semantic
    Analysis", abstract and section 1). Its equations could not be read: the affine layer, the
    choice of f and the tied form are the usual reading of it.

    Args:
        names: One a concept, all different.
        in_dim: The width of what comes in.
        activation: f. "sigmoid" makes memberships, "relu" and "softplus" weights from 0 up.
        concept_vectors: What rows are tied to, of any width.

    Raises:
        InputError: For no name, one that comes twice, or another number of vectors than of names.
    """

    concept_vectors: Tensor

    def __init__(
        self,
        names: Sequence[str],
        in_dim: int,
        *,
        activation: Activation = "relu",
        concept_vectors: Float[Tensor, "k d"] | None = None,
    ) -> None:
        super().__init__()
        self.names = _checked(names)
        self.in_dim = in_dim
        self.activation: Activation = activation
        self.bias = nn.Parameter(torch.zeros(len(names)))
        self.tied = concept_vectors is not None
        if concept_vectors is None:
            bound = 1 / math.sqrt(in_dim)
            self.rows = nn.Parameter(torch.empty(len(names), in_dim).uniform_(-bound, bound))
            return
        _check_count(names, concept_vectors)
        self.register_buffer("concept_vectors", concept_vectors.detach().clone().float())
        # As near to the identity as widths allow: at the start, a concept is what its text is.
        self.projection = nn.Parameter(torch.eye(concept_vectors.shape[1], in_dim))
        self.gain = nn.Parameter(torch.ones(()))

    @property
    def weight(self) -> Float[Tensor, "k m"]:
        """U, tied or free: the concepts as directions of what comes in."""
        if not self.tied:
            return self.rows
        return self.gain * (self.concept_vectors @ self.projection)

    def logits(self, h: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch k"]:
        """U h + b, for a loss on the concepts themselves."""
        return functional.linear(h, self.weight, self.bias)

    def activate(self, logits: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k"]:
        """The function f of what `logits` gave."""
        if self.activation == "relu":
            return functional.relu(logits)
        if self.activation == "softplus":
            return functional.softplus(logits)
        return torch.sigmoid(logits) if self.activation == "sigmoid" else logits

    def forward(self, h: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch k"]:
        """The activation of every concept, in the order of the names."""
        return self.activate(self.logits(h))

    def with_concepts(self, names: Sequence[str], vectors: Float[Tensor, "k d"]) -> ConceptHead:
        """A tied head with the same projection over other concepts, known or new.

        A new concept gets the mean bias of the trained ones.

        Args:
            names: One a concept, all different.
            vectors: Theirs, made as those of the head were.

        Raises:
            InputError: As when a head is made, or when the vectors have another width.
            ValueError: When the head is not tied.
        """
        if not self.tied:
            raise ValueError("a head with free rows knows no other concepts")
        if vectors.shape[1] != self.concept_vectors.shape[1]:
            raise InputError(
                f"The vectors of the concepts have {vectors.shape[1]} dimensions, those of the"
                f" head {self.concept_vectors.shape[1]}.",
                "Make them with the same encoder.",
            )
        head = ConceptHead(names, self.in_dim, activation=self.activation, concept_vectors=vectors)
        known = dict(zip(self.names, self.bias.detach(), strict=True))
        mean = self.bias.detach().mean()
        with torch.no_grad():
            head.projection.copy_(self.projection)
            head.gain.copy_(self.gain)
            head.bias.copy_(torch.stack([known.get(name, mean) for name in names]))
        return head


def keep_largest(activations: Float[Tensor, "n k"], most: int) -> Float[Tensor, "n k"]:
    """Zeros for all but the largest values of each row: what an inverted index holds.

    Args:
        activations: One row a text.
        most: How many values of a row stay; of equal ones, those of the first columns.
    """
    if most < 1:
        raise ValueError(f"at least one value must stay, not {most}")
    order = activations.abs().argsort(dim=1, descending=True, stable=True)
    return activations.scatter(1, order[:, most:], 0.0)


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise InputError("A head of concepts needs at least one name.")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"The concept '{name}' comes {count} times.", "Give each its own name.")
    return tuple(names)


def _check_count(names: Sequence[str], vectors: Float[Tensor, "k d"]) -> None:
    if len(vectors) != len(names):
        raise InputError(f"There are {len(names)} names for {len(vectors)} concept vectors.")
