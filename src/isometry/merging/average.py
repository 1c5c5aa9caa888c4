"""The weighted mean of models of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from isometry.merging.tensors import Weights, merge_tensors, shares_of


def average(
    models: Sequence[Mapping[str, Tensor]], weights: Weights | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Averages parameters, tensor by tensor.

    With two models and weights (1 - t, t) this is the straight line between them: WiSE-FT
    (Wortsman et al. 2022, section 3) where the first is the pretrained one. Sums are made in
    float32 at least and given back in each tensor's own type; tensors of whole numbers (position
    ids) must agree and are passed on.

    Args:
        models: State dicts with the same names and shapes.
        weights: One for each model, for all tensors or by a tensor's name; equal when not given.
            They need not sum to 1, and are not made to: mergekit's `linear` divides by their sum.

    Yields:
        Name and tensor, in the first model's order.

    Raises:
        ValueError: When names, shapes or whole-number tensors differ, or weights are missing.
    """

    def merge(name: str, part: Callable[[int], Tensor]) -> Tensor:
        shares = shares_of(weights, len(models), name, 1 / len(models))
        total = part(0) * shares[0]
        for model, share in enumerate(shares[1:], 1):
            total.add_(part(model), alpha=share)
        return total

    return merge_tensors(models, merge)
