"""What a search needs of a place that holds passages, and what one outside of a Space says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from isometry.core.errors import InputError
from isometry.search.lancedb import Hit, Lexical
from isometry.search.view import Found

if TYPE_CHECKING:
    from isometry.search.filters import Filter

# Of what lies outside of a Space.
FORMAT = 1


class Passages(Protocol):
    """Passages with their vectors, searched by both; rows are known by numbers.

    `ChunkIndex` is a table of Lance, in a folder or in object storage, `PostgresPassages` lie on a
    server. Numbers of rows mean something within one snapshot.
    """

    def snapshot(self) -> AbstractContextManager[Passages]:
        """The passages as they are now, whatever is written within the block."""
        ...

    def rank_dense(self, vector: Float[np.ndarray, " dim"], k: int) -> Found:
        """The best row of each document by the inner product; see `ChunkIndex.rank_dense`."""
        ...

    def rank_lexical(self, query: str, k: int) -> Found:
        """The best row of each document by BM25; see `ChunkIndex.rank_lexical`."""
        ...

    def names(self, numbers: Int[np.ndarray, " rows"]) -> list[str]:
        """The documents of the passages in these rows."""
        ...

    def fetch(self, found: Found) -> list[Hit]:
        """The passages in these rows, in their order."""
        ...

    def vectors(self, numbers: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows dim"]:
        """The vectors of the passages in these rows."""
        ...

    def word_scores(
        self, words: Sequence[str], numbers: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows words"]:
        """The BM25 of each word alone, for the passages in these rows."""
        ...


class Elsewhere(Passages, Protocol):
    """Passages that lie outside of their Space, with what is known of their documents."""

    def only(self, filter: Filter) -> Passages:
        """What a search may show of them; numbers of rows and scores stay the same."""
        ...


@dataclass(frozen=True)
class Exported:
    """What is known of passages that lie outside of their Space.

    Attributes:
        space: Which Space they are of: the same through all its states and copies.
        state: The number of its state.
        encoder: The fingerprint of what made the vectors.
        dim: Their length.
        lexical: How text becomes terms.
    """

    space: str
    state: int
    encoder: str
    dim: int
    lexical: Lexical

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Exported:
        """What `to_json` gave; anything more in it is left out.

        Raises:
            InputError: When a newer version wrote it.
        """
        if value["format"] > FORMAT:
            raise InputError(
                f"This Space was exported in format {value['format']}; this Isometry reads up to"
                f" {FORMAT}.",
                "Upgrade Isometry.",
            )
        plain = {name: value[name] for name in ("space", "state", "encoder", "dim")}
        return cls(**plain, lexical=Lexical(**value["lexical"]))

    def check_encoder(self, encoder: str, shown: str) -> None:
        """Refuses queries of another encoder than made the vectors.

        Args:
            encoder: The fingerprint of the queries'.
            shown: Where the passages lie, for the message.

        Raises:
            InputError: When it is another one.
        """
        if self.encoder != encoder:
            raise InputError(
                f"{shown} holds vectors of another encoder than this Space's.",
                f"Its fingerprint is {self.encoder}; export the Space again with --replace, or"
                " search with the model that made them.",
            )

    def check_replaceable(self, new: Exported, shown: str) -> None:
        """Refuses what cannot be brought up to date document by document.

        Args:
            new: What shall lie there.
            shown: Where, for the message.

        Raises:
            InputError: When another Space lies there, or vectors or terms were made otherwise.
        """
        if self.space != new.space:
            raise InputError(
                f"{shown} holds another Space.", "Name another place, or give --replace."
            )
        if (self.encoder, self.dim) != (new.encoder, new.dim):
            raise InputError(
                f"{shown} holds vectors of another encoder: the Space was migrated since.",
                "With --replace all is exchanged at once; then search with the new model.",
            )
        if self.lexical != new.lexical:
            raise InputError(
                f"{shown} holds words that were cut otherwise.", "Give --replace to exchange all."
            )
