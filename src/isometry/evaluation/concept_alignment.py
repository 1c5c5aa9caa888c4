"""Whether named dimensions mean what their names say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool, Float

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# A table of items and more concepts than this is given as a sparse one.
_MOST_DENSE = 50_000
_CONCEPTS_AT_ONCE = 256


def concept_alignment(
    activations: Float[np.ndarray, "items concepts"],
    tags: Bool[np.ndarray, "items concepts"] | csr_array,
) -> Float[np.ndarray, " concepts"]:
    """The AUC of every dimension: how often an item with its concept is above one without it.

    Ties count half. NaN for a concept that no item has, or that all have.

    Args:
        activations: What a model says.
        tags: Which concepts an item has, true or not 0.

    Raises:
        InputError: When the two differ in shape, an activation is not finite, or the tags are dense
            for more than 50,000 concepts.
    """
    from scipy.sparse import issparse
    from scipy.stats import rankdata

    sparse = bool(issparse(tags))
    items, concepts = cast("tuple[int, int]", tags.shape)
    if not sparse and concepts > _MOST_DENSE:
        raise InputError(
            f"A dense table of tags for {concepts} concepts is too large.",
            "Give a sparse one (scipy.sparse.csr_array).",
        )
    if activations.shape != (items, concepts):
        raise InputError(
            f"The activations are {activations.shape[0]} x {activations.shape[1]}, the tags"
            f" {items} x {concepts}.",
            "Both need one row an item and one column a concept.",
        )
    if not np.isfinite(activations).all():
        raise InputError("The activations hold numbers that are not finite.")
    result = np.full(concepts, np.nan)
    columns = cast("csr_array", tags).tocsc() if sparse else tags
    for start in range(0, concepts, _CONCEPTS_AT_ONCE):
        some = slice(start, start + _CONCEPTS_AT_ONCE)
        block: Any = columns[:, some]
        has = (block.toarray() if sparse else block) != 0
        ranks = rankdata(activations[:, some], axis=0)
        with_it = has.sum(axis=0)
        pairs = with_it * (items - with_it)
        above = (ranks * has).sum(axis=0) - with_it * (with_it + 1) / 2
        result[some] = np.divide(above, pairs, out=result[some], where=pairs > 0)
    return result


def permutation_gap(
    activations: Float[np.ndarray, "items concepts"],
    tags: Bool[np.ndarray, "items concepts"] | csr_array,
    seed: int = 0,
) -> float:
    """The mean AUC less the one that is left when the names change places at random.

    What a model gets without its names meaning anything is not counted: with a few very frequent
    concepts, any dimension may look like any.

    Args:
        activations: As in `concept_alignment`, which may raise.
        tags: The same.
        seed: Of the permutation.
    """
    shuffled = np.random.default_rng(seed).permutation(activations.shape[1])
    own, other = (
        float(np.nanmean(concept_alignment(each, tags)))
        for each in (activations, activations[:, shuffled])
    )
    return own - other
