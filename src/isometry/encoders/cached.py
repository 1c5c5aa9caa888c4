"""An encoder that never computes a vector twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from isometry.core.files import hash_value
from isometry.core.vector_table import VectorTable, text_key
from isometry.encoders.encoder import Encoder
from isometry.encoders.text import Precision, Role


class CachedEncoder:
    """Keeps vectors on disk, keyed by text, encoder, prompt, precision and length.

    Long work that is killed loses at most the block of texts at hand.

    Args:
        encoder: The encoder; its weights must not change afterwards.
        folder: Where the vectors go.
        precision: In which the encoder computes.
    """

    def __init__(self, encoder: Encoder, folder: Path, precision: Precision) -> None:
        self.encoder = encoder
        self.precision: Precision = precision
        self.fingerprint = encoder.fingerprint()
        self._folder = folder

    def encode(
        self, texts: Sequence[str], role: Role = "document", *, title: str = "Encoding"
    ) -> Float[np.ndarray, "texts dim"]:
        """Unit vectors, as `TextEncoder.encode` gives them."""
        prompt = self.encoder.prompts[role]
        provenance = hash_value([self.fingerprint, prompt, self.precision])
        table = VectorTable(self._folder / provenance[:24], provenance, self.encoder.dim)
        keys = [text_key(text) for text in texts]

        def compute(rows: list[int]) -> Float[np.ndarray, "rows dim"]:
            return self.encoder.encode(
                [texts[row] for row in rows], role, precision=self.precision, title=title
            )

        return table.fill(keys, compute)
