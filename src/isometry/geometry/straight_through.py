"""A step that has no gradient, with that of something smooth."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def straight_through(hard: Float[Tensor, "*shape"], soft: Float[Tensor, "*shape"]) -> Tensor:
    """Gives the hard value on the way forward, and the soft one's gradient on the way back.

    Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons", section
    3.1. For vector quantization `hard` is the nearest centroid and `soft` the vector itself (van
    den Oord et al. 2017, section 3.2): the vector gets the centroid's gradient, and the centroid
    none.

    The value is `hard` to the last bit; the sum `soft + (hard - soft)`, which is often written,
    rounds. No infinity may be in `soft`.

    Args:
        hard: What the result is. It gets no gradient.
        soft: What gets the gradient of the result, unchanged.

    Raises:
        ValueError: When the shapes differ: one of them would be repeated silently.
    """
    if hard.shape != soft.shape:
        raise ValueError(f"shapes {tuple(hard.shape)} and {tuple(soft.shape)} differ")
    return hard.detach() + (soft - soft.detach())
