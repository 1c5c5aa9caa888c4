"""Spherical linear interpolation between two models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from isometry.merging.tensors import dot, merge_tensors


def slerp(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    t: float | Callable[[str], float] = 0.5,
    *,
    straight_below: float = 1e-6,
) -> Iterator[tuple[str, Tensor]]:
    """Turns each tensor of one model, as one vector, towards the other's.

    Shoemake (1985), "Animating Rotation with Quaternion Curves": with the angle W between u and v,
    (sin((1-t) W) u + sin(t W) v) / sin W. It keeps lengths where a mean of vectors at an angle is
    too short. Where sin W is near 0 there is no one arc, and the straight line is taken.

    mergekit's `slerp` takes that line from |cos W| > 0.9995 on, a sine of 0.0316, which most
    tensors of two models tuned from one base are beyond: there it is a mean. For its result, set
    `straight_below` so. It also treats a tensor of zeros as standing at a right angle to any
    other; here the line is taken.

    Args:
        first: A state dict.
        second: One with the same names and shapes.
        t: Where on the arc, for all tensors or by a tensor's name; 0 is the first, 1 the second.
        straight_below: The sine of the angle below which the straight line is taken.

    Yields:
        Name and tensor, in the first model's order and types.

    Raises:
        ValueError: When names, shapes or whole-number tensors differ.
    """

    def merge(name: str, part: Callable[[int], Tensor]) -> Tensor:
        place = t(name) if callable(t) else t
        one, other = part(0), part(1)
        lengths = math.sqrt(dot(one, one)) * math.sqrt(dot(other, other))
        cosine = dot(one, other) / lengths if lengths else 1.0
        angle = math.acos(max(-1.0, min(1.0, cosine)))
        sine = math.sin(angle)
        if sine < straight_below:
            return torch.lerp(one, other, place)
        total = one * (math.sin((1 - place) * angle) / sine)
        return total.add_(other, alpha=math.sin(place * angle) / sine)

    return merge_tensors([first, second], merge)
