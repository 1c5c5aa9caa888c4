"""Any contrast over prefixes of depth and width, so that a cut encoder is usable too."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.objectives.knowledge_distillation import KnowledgeDistillation

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Cut:
    """One prefix that is trained: vectors of this layer, cut to the first dimensions.

    Attributes:
        layer: Index along the first axis of the stacked vectors: 0 is layer 1, -1 the last.
        dim: How many dimensions are kept.
        weight: The weight of the contrast on this prefix.
        distil: The weight of its distillation from the last layer.
        compress: The weight of its distillation from its own layer's `principal_target`.
    """

    layer: int
    dim: int
    weight: float = 1.0
    distil: float = 0.0
    compress: float = 0.0


@runtime_checkable
class Plan(Protocol):
    """Says which prefixes a step trains."""

    # Whether all terms are added, or their sum is divided by the weights of the contrasts.
    reduction: ClassVar[Reduction]

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """The prefixes of this step, for so many layers and dimensions."""
        ...


@dataclass(frozen=True)
class MRL:
    """The last layer at a fixed list of widths (Kusupati et al. 2022, equation 1).

    The loss is the weighted mean over the widths, where the equation has the sum: the same but for
    the learning rate.

    Attributes:
        dims: The widths; at least one.
        weights: Their weights; equal when not given.
    """

    reduction: ClassVar[Reduction] = "mean"

    dims: tuple[int, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_dims(self.dims)
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ValueError("dims and weights differ in length")

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """The same prefixes at every step."""
        weights = self.weights or (1.0,) * len(self.dims)
        return [Cut(-1, width, weight) for width, weight in zip(self.dims, weights, strict=True)]


class Random2D(nn.Module):
    """The last layer and a random one, both at full and at a random width; their sum.

    Li et al. 2024, "2D Matryoshka Sentence Embeddings" (2DMSE, arXiv 2402.14776 v1 and v3),
    section 3: with N layers of D dimensions, n < N and d < D drawn, the loss is l(X_N) + l(X_N^d) +
    l(X_n) + l(X_n^d) + distil * KL(X_N || X_n). The authors' first code (SeanLee97/AnglE at
    74e5ba2) lets the KL reach the teacher, and runs the encoder twice, with two dropouts; here both
    layers come from one pass. `Matryoshka2dLoss` of sentence-transformers may draw the embedding
    output as a layer; this never does.

    A draw depends on nothing but the seed and the number of the step. That number is kept with
    the weights (`state_dict`) of what holds the plan, so that a resumed training goes on with the
    draws that it would have made.

    Args:
        layers: How many layers the encoder has.
        dims: The widths to draw from, all below the full one; 8, 16, 32... in the paper.
        seed: Of the draws.
        distil: The weight of the distillation, at full width.
    """

    reduction: ClassVar[Reduction] = "sum"

    step: Tensor

    def __init__(
        self, layers: int, dims: tuple[int, ...], seed: int = 0, *, distil: float = 1.0
    ) -> None:
        super().__init__()
        _check_dims(dims)
        if layers < 2:
            raise ValueError(f"an inner layer needs at least two layers, not {layers}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, but it is {seed}")
        self.layers = layers
        self.dims = dims
        self.seed = seed
        self.distil = distil
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def draw(self, step: int) -> tuple[int, int]:
        """The inner layer, counted from 1, and the width of a step."""
        numbers = np.random.default_rng((self.seed, step))
        inner = 1 + int(numbers.integers(self.layers - 1))
        return inner, self.dims[int(numbers.integers(len(self.dims)))]

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """Four prefixes, of which the inner layer at full width is distilled.

        In training mode every call is a step; in evaluation mode the number stands still.

        Raises:
            ValueError: When the vectors have other layers than the plan, or are no wider than one
                of its widths.
        """
        if layers != self.layers:
            raise ValueError(f"a plan of {self.layers} layers does not fit vectors of {layers}")
        if max(self.dims) >= dim:
            raise ValueError(f"a width of {max(self.dims)} is not below the full {dim}")
        inner, width = self.draw(int(self.step))
        if self.training:
            self.step += 1
        return [
            Cut(-1, dim),
            Cut(-1, width),
            Cut(inner - 1, dim, distil=self.distil),
            Cut(inner - 1, width),
        ]


@dataclass(frozen=True)
class Diagonal:
    """The sizes that will be served, and no others, at every step; their sum.

    Zhuang et al. 2024, "Starbucks: Improved Training for 2D Matryoshka Embeddings" (SRL): each
    size but the full one is also distilled from the last layer. The official code for similarity
    (ielab/Starbucks, sts/starbucks_loss.py) distils coordinates with a weight of 0.3 and does not
    detach the teacher; it takes 768 dimensions for the full width, and the last size for the last
    layer. Its code for retrieval (retrieval/modeling.py) distils scores with a weight of 1.

    Attributes:
        pairs: (layer, dim), both strictly rising. Layers are counted from 1; the last pair should
            be the full model.
        distil: The weight of the distillation.
    """

    reduction: ClassVar[Reduction] = "sum"

    pairs: tuple[tuple[int, int], ...]
    distil: float = 0.3

    def __post_init__(self) -> None:
        smaller = [(0, 0), *self.pairs[:-1]]
        rising = all(a < c and b < d for (a, b), (c, d) in zip(smaller, self.pairs, strict=False))
        if not self.pairs or not rising:
            raise ValueError(
                f"pairs of layer and dim must rise in both, from 1 on, which these do not:"
                f" {self.pairs}"
            )

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """One prefix a pair, the same at every step.

        Warns when the full model is not among them: it teaches, but nobody trains it.

        Raises:
            ValueError: When the vectors have fewer layers than a pair names.
        """
        deepest = self.pairs[-1][0]
        if deepest > layers:
            raise ValueError(f"the plan has a pair for layer {deepest} out of {layers}")
        if self.pairs[-1] != (layers, dim):
            warnings.warn(
                f"The last size of the plan is {self.pairs[-1]}, so the full model"
                f" {(layers, dim)} is not trained.",
                stacklevel=2,
            )
        return [
            Cut(layer - 1, width, distil=0.0 if (layer, width) == (layers, dim) else self.distil)
            for layer, width in self.pairs
        ]


@dataclass(frozen=True)
class ESE:
    """The full model, and every layer at one width, compressed towards its principal components.

    Li et al. 2025, "ESE: Espresso Sentence Embeddings" (ICLR; arXiv 2402.14776 v2): l(X_N) +
    l(X_N^k) + C(X_N) + the mean over n < N of w_n * (l(X_n^k) + C(X_n)), with the weight
    w_n = 1 / (1 + ln n) of equation 2 and C the distillation from `principal_target`. The
    official code (`AngleESETrainer` in SeanLee97/AnglE) counts n from the embedding output, so it
    trains that and leaves out layer N-1; and it approximates the components at random.

    Attributes:
        dim: The width k; below the full one.
        compress: The weight of C.
    """

    reduction: ClassVar[Reduction] = "sum"

    dim: int
    compress: float = 1.0

    def __post_init__(self) -> None:
        _check_dims((self.dim,))

    def cuts(self, layers: int, dim: int) -> Sequence[Cut]:
        """The full model, then its last layer cut, then the others from the first on.

        Raises:
            ValueError: When the vectors are no wider than the plan's width.
        """
        if self.dim >= dim:
            raise ValueError(f"a width of {self.dim} is not below the full {dim}")
        weights = [1 / (1 + math.log(layer)) / (layers - 1) for layer in range(1, layers)]
        return [
            Cut(-1, dim),
            Cut(-1, self.dim, compress=self.compress),
            *(
                Cut(index, self.dim, weight, compress=weight * self.compress)
                for index, weight in enumerate(weights)
            ),
        ]


class Matryoshka(nn.Module):
    """A base contrast over (layer, width) prefixes, some of them distilled.

    The base normalises, so a prefix is cut first and normalised after. Distillation reads the
    vectors as they come. With a plan of one full prefix the loss equals the base's.

    Args:
        base: The contrast: `InfoNCE`, or anything that takes `(a, b, negatives, same, log_q)`.
        plan: Which prefixes each step trains, and whether their terms are added or averaged.
        distillation: Takes `(student, teacher)`, row by row; `KnowledgeDistillation()` when not
            given. Starbucks for retrieval has the contrast's temperature in it, and a gradient
            scale of 1.
        distil_on: What a prefix learns from the last layer. "coordinates": each vector, as a
            distribution over its first dimensions, from the same dimensions of the last layer
            (2DMSE, Starbucks for similarity). "scores" and "cosines": each row of `a`, as a
            distribution over all documents of the batch, from the last layer at full width
            (Starbucks for retrieval; its scores are products).

    Raises:
        ValueError: For another name of what to distil on.
    """

    def __init__(
        self,
        base: nn.Module,
        plan: Plan,
        *,
        distillation: nn.Module | None = None,
        distil_on: Literal["coordinates", "scores", "cosines"] = "coordinates",
    ) -> None:
        super().__init__()
        if distil_on not in ("coordinates", "scores", "cosines"):
            raise ValueError(f"there is nothing to distil on called {distil_on!r}")
        self.base = base
        self.plan = plan
        self.distillation = KnowledgeDistillation() if distillation is None else distillation
        self.distil_on = distil_on

    def forward(
        self,
        a: Float[Tensor, "layers n d"],
        b: Float[Tensor, "layers n d"],
        negatives: Float[Tensor, "layers n k d"] | None = None,
        same: Bool[Tensor, "n m"] | None = None,
        log_q: Float[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; the further arguments are those of `InfoNCE.forward`.

        Args:
            a: The pooled vectors of every layer, as `TextEncoder.pooled_layers` gives them: index 0
                is what layer 1 gives, not the output of the embeddings, which transformers counts
                as hidden state 0; index -1 is the last layer.
            b: Their positives, as `a`.
            negatives: Further candidates, as `a`.
            same: Which candidates match too.
            log_q: The logarithm of each candidate's probability to enter a batch.

        Raises:
            ValueError: When the plan names a layer or a width that the vectors do not have.
        """
        layers, dim = a.shape[0], a.shape[-1]
        cuts = self.plan.cuts(layers, dim)
        parts = (a, b) if negatives is None else (a, b, negatives)
        losses: list[Tensor] = []
        for cut in cuts:
            if not -layers <= cut.layer < layers:
                raise ValueError(f"a prefix of the layer at index {cut.layer} out of {layers}")
            if not 1 <= cut.dim <= dim:
                raise ValueError(f"a prefix of {cut.dim} dimensions out of {dim}")
            losses.append(
                cut.weight
                * self.base(
                    a[cut.layer, ..., : cut.dim],
                    b[cut.layer, ..., : cut.dim],
                    None if negatives is None else negatives[cut.layer, ..., : cut.dim],
                    same,
                    log_q,
                )
            )
            if cut.distil:
                losses.append(cut.distil * self._distilled(parts, cut))
            if cut.compress:
                losses.append(cut.compress * self._compressed(parts, cut))
        total = torch.stack(losses).sum()
        if self.plan.reduction == "sum":
            return total
        return total / sum(cut.weight for cut in cuts)

    def _distilled(self, parts: Sequence[Tensor], cut: Cut) -> Float[Tensor, ""]:
        if self.distil_on == "coordinates":
            student, teacher = (_rows(parts, layer, cut.dim) for layer in (cut.layer, -1))
        else:
            student = self._scores(parts, cut.layer, cut.dim)
            teacher = self._scores(parts, -1, parts[0].shape[-1])
        return self.distillation(student, teacher)

    def _scores(self, parts: Sequence[Tensor], layer: int, dim: int) -> Float[Tensor, "n m"]:
        a, documents = _rows(parts[:1], layer, dim), _rows(parts[1:], layer, dim)
        if self.distil_on == "cosines":
            a, documents = functional.normalize(a, dim=-1), functional.normalize(documents, dim=-1)
        return a @ documents.T

    def _compressed(self, parts: Sequence[Tensor], cut: Cut) -> Float[Tensor, ""]:
        vectors = _rows(parts, cut.layer, parts[0].shape[-1])
        target = principal_target(vectors, cut.dim)
        student = vectors[:, : cut.dim]
        return functional.mse_loss(student, target) + self.distillation(student, target)


def principal_target(vectors: Float[Tensor, "n d"], dim: int) -> Float[Tensor, "n k"]:
    """What ESE compresses a vector's first dimensions towards.

    With M the vectors, A = softmax(M^T M / sqrt(d)) row by row, and U S V^T its singular value
    decomposition, this is M U_k S_k (Li et al. 2025, "ESE", learn to compress). It resembles a
    principal component analysis, but nothing is centred and A is not symmetric.

    The official code approximates the decomposition at random. Here it is exact, and the sign of
    each component, which is arbitrary, is such that its largest entry in U is positive: a repeated
    run then has the same target.

    Args:
        vectors: The pooled vectors of one layer.
        dim: How many components.

    Returns:
        The target; no gradient passes through it.
    """
    with torch.no_grad():
        dependency = torch.softmax(vectors.T @ vectors / math.sqrt(vectors.shape[1]), dim=-1)
        u, s, _ = cast(
            "tuple[Tensor, Tensor, Tensor]",
            torch.linalg.svd(dependency),  # pyright: ignore[reportUnknownMemberType]
        )
        u, s = u[:, :dim], s[:dim]
        largest = u.gather(0, u.abs().argmax(dim=0, keepdim=True))
        return vectors @ (u * largest.sign() * s)


def _rows(parts: Sequence[Tensor], layer: int, dim: int) -> Float[Tensor, "rows dim"]:
    """All vectors of a layer, cut, one below the other."""
    return torch.cat([part[layer, ..., :dim].flatten(0, -2) for part in parts])


def _check_dims(dims: tuple[int, ...]) -> None:
    if not dims or min(dims) < 1:
        raise ValueError(f"dims must be positive and at least one, not {dims}")
