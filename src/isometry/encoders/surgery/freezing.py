"""Which parameters train."""

from __future__ import annotations

from isometry.encoders.text import TextEncoder


def freeze_below(encoder: TextEncoder, layers: int) -> None:
    """Freezes the word vectors and so many of the lowest layers; 0 frees everything."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(True)
    if not layers:
        return
    stack = encoder.layers()
    kept = {id(parameter) for layer in stack[layers:] for parameter in layer.parameters()}
    above = {id(parameter) for part in list(encoder.model)[1:] for parameter in part.parameters()}
    for parameter in encoder.parameters():
        parameter.requires_grad_(id(parameter) in kept | above)
