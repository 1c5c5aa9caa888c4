"""Tables of several fields, each stored in its own way, in the place of `torch.nn.Embedding`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isometry.compression.budget_solver import solve
from isometry.compression.codec import Codec, FloatTable, check_ids, damaged, read_codec, restore
from isometry.compression.fields import field_of, starts_of
from isometry.core.errors import InputError


class CompressedEmbedding(Codec):
    """Codecs side by side, one a field; ids are numbered through, field after field.

    It is called as `torch.nn.Embedding` is.

    Args:
        parts: The fields' codecs, of vectors of one length.
        frozen: Whether it may be one that cannot be trained.

    Raises:
        InputError: When nothing in it can be trained, and it is not meant to be frozen.
        ValueError: When there is no part, or the lengths differ.
    """

    starts: Tensor

    def __init__(self, parts: Sequence[Codec], *, frozen: bool = False) -> None:
        if len({part.dim for part in parts}) != 1:
            raise ValueError("the parts must have vectors of one length")
        super().__init__(sum(part.n for part in parts), parts[0].dim)
        self.parts = nn.ModuleList(parts)
        self.frozen = frozen
        self.fields = [part.n for part in parts]
        self.register_buffer("starts", starts_of(self.fields), persistent=False)
        if not frozen and not self.trainable:
            names = ", ".join(sorted({type(part).__name__ for part in parts}))
            raise InputError(
                f"{names} cannot be trained: it stores a table that is given.",
                "Say frozen=True, or train another codec.",
            )

    @property
    def num_embeddings(self) -> int:
        """How many ids there are, as `torch.nn.Embedding` calls it."""
        return self.n

    @property
    def embedding_dim(self) -> int:
        """The length of a vector, as `torch.nn.Embedding` calls it."""
        return self.dim

    @property
    def unbounded(self) -> bool:
        """Whether the only part has vectors for all ids."""
        return len(self.parts) == 1 and cast("Codec", self.parts[0]).unbounded

    @property
    def method(self) -> str:
        """The kinds of its parts, without the fields that are small enough to stay as they are."""
        kinds = {cast("Codec", part).method for part in self.parts}
        return ", ".join(sorted(kinds - {FloatTable.__name__} or kinds))

    @property
    def settings(self) -> dict[str, Any]:
        """The kinds and settings of the parts."""
        parts = [cast("Codec", part) for part in self.parts]
        return {
            "parts": [[type(part).__name__, part.settings] for part in parts],
            "frozen": self.frozen,
        }

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The vectors of ids, each from its field's codec.

        Raises:
            InputError: When an id is outside all fields, or negative.
        """
        check_ids(ids, None if self.unbounded else self.n)
        if len(self.parts) == 1:
            return self.parts[0](ids)
        flat = ids.flatten()
        field = field_of(flat, self.starts)
        order = field.argsort(stable=True)
        groups = flat[order].split(field.bincount(minlength=len(self.parts)).tolist())
        vectors = [
            part(group - start)
            for part, group, start in zip(self.parts, groups, self.starts.tolist(), strict=True)
            if len(group)
        ]
        found = torch.cat([*vectors, torch.zeros(0, self.dim, device=ids.device)])
        return found.index_select(0, order.argsort()).view(*ids.shape, self.dim)

    @classmethod
    def load(cls, path: Path, *kinds: type[Codec]) -> CompressedEmbedding:
        """Reads what `save` wrote.

        Args:
            path: The file.
            kinds: The codecs that may be in it, beside `FloatTable`; no other code is run.

        Raises:
            InputError: When the file is no such embedding, or has a part of another kind.
        """
        settings, tensors = read_codec(path, cls.__name__)
        known = {kind.__name__: kind for kind in (FloatTable, *kinds)}
        try:
            parts: list[Codec] = []
            for name, inner in settings["parts"]:
                if name not in known:
                    raise InputError(
                        f"{path} has a part of the kind {name}.", f"Give {name} to load."
                    )
                parts.append(known[name](**inner))
            embedding = cls(parts, frozen=settings["frozen"])
            restore(embedding, tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(path) from error
        return embedding


def compress_fields(
    fields: Sequence[int],
    dim: int,
    make: Callable[[int, int], Codec],
    knobs: Sequence[int],
    budget: int,
) -> CompressedEmbedding:
    """One codec a field, all with the same knob, the last one that keeps the budget.

    A field is compressed only if that makes it smaller: small ones stay as they are.

    Args:
        fields: How many ids each field has.
        dim: The length of a vector.
        make: Makes a field's codec of its number of ids and a knob.
        knobs: See `solve`.
        budget: In bytes, for all fields together.

    Raises:
        InputError: When the first knob takes more.
    """

    def one(n: int, knob: int) -> Codec:
        with torch.device("meta"):
            smaller = make(n, knob).nbytes < FloatTable(n, dim).nbytes
        return make(n, knob) if smaller else FloatTable(n, dim)

    def planned(knob: int) -> CompressedEmbedding:
        return CompressedEmbedding([one(n, knob) for n in fields])

    return planned(solve(planned, knobs, budget))
