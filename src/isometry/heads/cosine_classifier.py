"""Vectors -> logits over classes that are vectors of the same space."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError


class CosineClassifier(nn.Module):
    """The cosine with every class's vector, or the product: a linear layer that nobody trained.

    A class is given by a vector, of its name, of its definitions, of its examples; so there is no
    limit to the classes, and new ones need no training. Zero-shot classification compares images
    with class names this way (Radford et al. 2021, figure 1). DefSent+ (Liu 2024) projects
    definitions onto dictionary entries by the plain product: `normalize=False`. Classes that should
    not be predicted are left out of the vectors; a logit of 0 would hide nothing.

    Args:
        classes: One vector a class; copied.
        frozen: Whether they stay as they are: they then are no parameters, and no optimiser sees
            them, but they are saved with the head.
        normalize: Whether both sides are scaled to unit length first (cosine instead of product).
        temperature: Divides the similarities.

    Raises:
        InputError: For fewer than two classes, or vectors that are not finite, or zero where they
            are normalised.
    """

    classes: Tensor

    def __init__(
        self,
        classes: Float[Tensor, "k d"],
        *,
        frozen: bool = True,
        normalize: bool = True,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if len(classes) < 2:
            raise InputError(f"There is nothing to tell apart: {len(classes)} class.")
        lengths = classes.norm(dim=1)
        bad = ~lengths.isfinite() | ((lengths == 0) & normalize)
        if bad.any():
            raise InputError(
                f"The vector of class {int(bad.nonzero()[0])} is zero or not finite.",
                "The model overflowed or is damaged: encode in single precision.",
            )
        copied = classes.detach().clone()
        if frozen:
            self.register_buffer("classes", copied)
        else:
            self.classes = nn.Parameter(copied)
        self.normalize = normalize
        self.temperature = temperature

    def forward(self, vectors: Float[Tensor, "... d"]) -> Float[Tensor, "... k"]:
        """The logits of vectors: of images, pixels, boxes or texts.

        Raises:
            InputError: When they have other dimensions than the classes.
        """
        classes = self.classes
        if vectors.shape[-1] != classes.shape[1]:
            raise InputError(
                f"The vectors have {vectors.shape[-1]} dimensions, the classes {classes.shape[1]}.",
                "Make the vectors of the classes with the same encoder.",
            )
        if self.normalize:
            vectors = functional.normalize(vectors, dim=-1)
            classes = functional.normalize(classes, dim=-1)
        return vectors @ classes.T / self.temperature
