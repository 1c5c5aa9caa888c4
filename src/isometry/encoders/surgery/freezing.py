"""Which parameters train."""

from __future__ import annotations

from isometry.encoders.text import TextEncoder


def freeze_below(encoder: TextEncoder, layers: int) -> None:
    """Freezes the word vectors and so many of the lowest layers.

    Word vectors stay as they are even with 0: most words of a language are not in the training
    data, and would be left behind by those that are. They are also most of a multilingual model.
    """
    stack = encoder.layers()
    kept = {id(parameter) for layer in stack[layers:] for parameter in layer.parameters()}
    above = {id(parameter) for part in list(encoder.model)[1:] for parameter in part.parameters()}
    for parameter in encoder.parameters():
        parameter.requires_grad_(id(parameter) in kept | above)
