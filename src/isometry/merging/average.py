"""The weighted mean of models of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor


def average(
    models: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Averages parameters, tensor by tensor.

    With two models and weights (1 - t, t) this is the straight line between them: WiSE-FT
    (Wortsman et al. 2022, section 3) where the first is the pretrained one. Sums are made in
    float32 at least and given back in each tensor's own type; tensors of whole numbers (position
    ids) must agree and are passed on.

    Args:
        models: State dicts with the same names and shapes.
        weights: One for each model; equal when not given. They need not sum to 1.

    Yields:
        Name and tensor, in the first model's order.

    Raises:
        ValueError: When names, shapes or whole-number tensors differ, or weights are missing.
    """
    if not models:
        raise ValueError("nothing to average")
    shares = list(weights) if weights is not None else [1 / len(models)] * len(models)
    if len(shares) != len(models):
        raise ValueError(f"{len(models)} models and {len(shares)} weights")
    first = models[0]
    for other in models[1:]:
        if different := sorted(set(first) ^ set(other)):
            raise ValueError(f"the models differ in their tensors: {', '.join(different[:3])}")
    for name, tensor in first.items():
        parts = [model[name] for model in models]
        if any(part.shape != tensor.shape for part in parts):
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"the models differ in the shape of {name}: {shapes}")
        if not tensor.is_floating_point():
            if any(not torch.equal(part, tensor) for part in parts):
                raise ValueError(f"the models differ in {name}, which cannot be averaged")
            yield name, tensor
            continue
        wide = torch.promote_types(tensor.dtype, torch.float32)
        total = tensor.to(wide) * shares[0]
        for part, share in zip(parts[1:], shares[1:], strict=True):
            total.add_(part.to(wide), alpha=share)
        yield name, total.to(tensor.dtype)
