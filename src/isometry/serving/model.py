"""A Space or an encoder that is ready to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from isometry.serving.batching import Engine
from isometry.serving.errors import invalid
from isometry.serving.sources import Source

if TYPE_CHECKING:
    from isometry.corpora.documents import Document
    from isometry.jobs.layered import StoredDocuments
    from isometry.jobs.store import Store
    from isometry.serving.encoding import BatchEncoder
    from isometry.space import Space


@dataclass(frozen=True)
class Model:
    """One that is ready to answer.

    Attributes:
        source: What it was loaded from.
        encoder: What makes its vectors.
        engine: The queue in front of it.
        fingerprint: The hash of what decides a vector.
        dims: The widths that it was trained to be cut to, with the whole; all where unknown.
        opened: The Space as it was when it was loaded; none for an encoder alone.
        created: When it was loaded, in seconds since 1970.
        documents: Those of `opened`, one by one; none where `store` has them.
        store: What takes documents; none where nothing is written.
    """

    source: Source
    encoder: BatchEncoder
    engine: Engine
    fingerprint: str
    dims: tuple[int, ...] | None
    opened: Space | None
    created: int
    documents: StoredDocuments | None = None
    store: Store | None = None

    @property
    def space(self) -> Space | None:
        """What can be searched: all that was acknowledged until now; none for an encoder alone."""
        return self.store.space if self.store else self.opened

    def document(self, id: str) -> Document | None:
        """The document of this id in `space`; none where there is none."""
        if self.store is not None:
            found = self.store.get(id)
            return found.document if found else None
        return self.documents.document(id) if self.documents is not None else None

    def check_dimensions(self, dimensions: int | None) -> None:
        """Refuses a width that vectors cannot be cut to.

        Raises:
            ApiError: For a width beyond the model's, or one that it was not trained for.
        """
        if dimensions is None or dimensions == self.encoder.dim:
            return
        if not 1 <= dimensions <= self.encoder.dim:
            raise invalid(
                f"dimensions must be 1 to {self.encoder.dim}.",
                "dimensions",
                "dimensions_beyond_model",
            )
        if self.dims is not None and dimensions not in self.dims:
            known = ", ".join(map(str, self.dims))
            raise invalid(
                f"This model was trained to be cut to {known} dimensions, not {dimensions}.",
                "dimensions",
                "dimensions_not_nested",
            )


def shorten(
    vectors: Float[np.ndarray, "texts dim"], dimensions: int | None
) -> Float[np.ndarray, "texts cut"]:
    """The first dimensions of vectors, to unit length again."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    first = vectors[:, :dimensions]
    # What was zero stays zero.
    return first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
