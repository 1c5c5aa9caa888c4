"""Sizes of an encoder as people write them: 2x96 is two layers and 96 dimensions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from isometry.encoders.text import TextEncoder

# Layers, from the lowest, and dimensions, from the first.
Size: TypeAlias = tuple[int, int]
# One coordinate is no distribution, and a size learns those of the whole as one.
FEWEST_DIMENSIONS = 2


def size_name(size: Sequence[int]) -> str:
    """A size as people write it."""
    layers, dim = size
    return f"{layers}x{dim}"


def size_names(sizes: Sequence[Sequence[int]]) -> str:
    """Sizes as people write them."""
    return ", ".join(map(size_name, sizes))


def read_size(text: str, option: str = "--size") -> Size:
    """Layers and dimensions out of 2x96.

    Args:
        text: What somebody typed.
        option: Where they typed it.

    Raises:
        InputError: When it is no size.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text.strip().lower())
    if found is None:
        raise InputError(
            f"{option}: {text.strip()[:40]!r} is no size.",
            "A size is LAYERSxDIMENSIONS, such as 2x96.",
        )
    return int(found[1]), int(found[2])


def read_sizes(text: str, option: str = "--nested") -> tuple[Size, ...]:
    """Sizes out of 2x96,4x192, each with more layers and more dimensions than the one before.

    Args:
        text: What somebody typed.
        option: Where they typed it.

    Raises:
        InputError: When they are no sizes, or do not rise.
    """
    sizes = tuple(read_size(part, option) for part in text.split(","))
    if not are_nested(sizes):
        raise InputError(
            f"{option}: the sizes {size_names(sizes)} do not nest.",
            f"Give each more layers and more dimensions than the one before, the first at least"
            f" {FEWEST_DIMENSIONS} dimensions: 2x96,4x192.",
        )
    return sizes


def are_nested(sizes: Sequence[Size]) -> bool:
    """Whether sizes rise in layers and in dimensions, from the least that can be trained on."""
    return all(
        before[0] < after[0] and before[1] < after[1]
        for before, after in pairwise([(0, FEWEST_DIMENSIONS - 1), *sizes])
    )


def check_sizes(sizes: Sequence[Size], encoder: TextEncoder) -> None:
    """Refuses sizes that an encoder cannot be trained for.

    Args:
        sizes: As `read_sizes` gives them; at least one.
        encoder: What shall be trained.

    Raises:
        InputError: When one does not have fewer layers and fewer dimensions than the encoder, or
            its inner layers have no vectors (see `TextEncoder.pooled_layers`).
    """
    from isometry.encoders.surgery.layers import truncate

    whole = len(encoder.layers()), encoder.dim
    if not are_nested([*sizes, whole]):
        raise InputError(
            f"The model '{encoder.name}' is {size_name(whole)}, so {size_name(sizes[-1])} cannot be"
            " nested in it.",
            "Give sizes of fewer layers and fewer dimensions.",
        )
    # It refuses what is more than layers and their pooling.
    truncate(encoder, *sizes[-1])
    if encoder.model.truncate_dim is not None:
        raise InputError(
            f"The model '{encoder.name}' cuts its own vectors (truncate_dim), so it has no sizes.",
            "Take that out of its config_sentence_transformers.json.",
        )
