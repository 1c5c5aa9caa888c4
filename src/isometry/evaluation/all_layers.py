"""The vectors of all layers, kept as those of the last one are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from isometry.encoders.text import Precision, Role, TextEncoder
from isometry.evaluation.nested import layer_vectors


class AllLayers(TextEncoder):
    """An encoder whose vector is that of every layer behind one another, lowest first.

    `CachedEncoder` then keeps them. They are not normalised: layers differ in length. Its weights
    must not change, since they are hashed once.

    Args:
        encoder: Whose layers they are; used, not copied.
        cut: After how many tokens texts are cut.
    """

    def __init__(self, encoder: TextEncoder, cut: int) -> None:
        super().__init__(encoder.model, encoder.name)
        self.cut = cut
        self._fingerprint = f"{super().fingerprint()}-layers-{cut}"

    @property
    def dim(self) -> int:
        """The dimensions of all layers together."""
        return len(self.layers()) * super().dim

    def fingerprint(self) -> str:
        """Of what decides a vector: the encoder, that it is of all layers, and the cut."""
        return self._fingerprint

    def encode(
        self,
        texts: Sequence[str],
        role: Role = "document",
        *,
        tokens: int | None = None,
        batch_tokens: int | None = None,
        precision: Precision = "float32",
        title: str = "Encoding",
    ) -> Float[np.ndarray, "texts dim"]:
        """The layers of each text, as `layer_vectors` gives them, in float32."""
        del batch_tokens, precision, title
        found = layer_vectors(self, texts, role, tokens=min(tokens or self.cut, self.cut))
        return np.ascontiguousarray(found.transpose(1, 0, 2)).reshape(len(texts), -1)
