"""Texts or token ids of several requests -> vectors, as `encode` gives them for each text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isometry.encoders.inference import products, share_out, side_by_side
from isometry.encoders.loading import encodable
from isometry.encoders.padding import Ids, cut, pad, same_batch
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import Role, TextEncoder, token_batches
from isometry.serving.errors import invalid

if TYPE_CHECKING:
    from isometry.encoders.encoder import Encoder
    from isometry.encoders.text import Precision

# The server computes as long as it lives, so that laying out the weights is always worth it.
_MANY_TOKENS = 1 << 30
# What shows whether ids can be padded here: short, odd, and longer than any model reads.
_TRIAL = ("a", "  \tÀ la Carte  \n", "word " * 10_000)
_ROLES: tuple[Role, ...] = ("query", "document")
# More characters than tokens of any text stand for on average, spaces included. It is assumed, not
# known: a word beyond what a tokenizer looks up is one token however long it is, and so may spaces
# be. What lies beyond is not read even where it is such a word.
TOKEN_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Item:
    """One text to encode.

    Attributes:
        ids: Its tokens with prompt and special tokens, cut.
        role: Whose prompt it has.
        text: The text without prompt, where it came as one.
    """

    ids: Ids
    role: Role
    text: str | None = None


class BatchEncoder:
    """An encoder that takes what several clients sent, mixed, in one batch.

    The vectors are those of `encode` for each text alone, but for rounding: 1e-5 in float32. In
    bfloat16 the products of a batch of another shape may round otherwise, in the third digit.

    Args:
        encoder: In evaluation mode; its weights must not change any more.
        precision: Of the matrix products.
    """

    def __init__(self, encoder: Encoder, precision: Precision) -> None:
        self.encoder = encoder
        self.precision: Precision = precision
        self.dim = encoder.dim
        self.max_tokens = encoder.max_tokens
        self._vocabulary = 1 + max(encoder.tokenizer.get_vocab(with_added_tokens=True).values())
        self._like: dict[Role, dict[str, Any]] = {}
        self._roles_apart = False
        self._ending = 0
        if isinstance(encoder, StaticEncoder):
            return
        special = encoder.tokenizer.encode("a").special_tokens_mask
        self._ending = special[::-1].index(0) if 0 in special else 0
        self._device = next(encoder.parameters()).device
        self._products = products(
            encoder.model, self._device, precision == "bfloat16", _MANY_TOKENS
        )
        self._like = self._padding(encoder)
        marks = [_marks(like) for like in self._like.values()]
        self._roles_apart = marks[1:] != marks[:-1]

    def _padding(self, encoder: TextEncoder) -> dict[Role, dict[str, Any]]:
        """What batches of each role look like, where padded ids are what `collate` makes."""
        likes: dict[Role, dict[str, Any]] = {}
        for role in _ROLES:
            like = encoder.collate(_TRIAL, role)
            ids = [cut(some, encoder.max_tokens, self._ending) for some in self._read(_TRIAL, role)]
            pad_id = encoder.model.tokenizer.pad_token_id
            if pad_id is None or not same_batch(pad(ids, pad_id, like), like):
                return {}
            likes[role] = like
        return likes

    @property
    def takes_ids(self) -> bool:
        """Whether token ids can be given; a model that pads in its own way takes texts only."""
        return isinstance(self.encoder, StaticEncoder) or bool(self._like)

    def within_reach(
        self, texts: Sequence[str], places: Sequence[str], *, truncate: bool
    ) -> list[str]:
        """Texts without what lies so far behind that their tokens need not be counted to know it.

        Args:
            texts: As in `of_texts`.
            places: As in `of_texts`.
            truncate: As in `of_texts`.

        Raises:
            ApiError: For a text that has more, unless it may be cut.
        """
        if self.max_tokens is None:
            return list(texts)
        most = TOKEN_CHARACTERS * self.max_tokens
        for text, place in zip(texts, places, strict=True):
            if len(text) > most and not truncate:
                raise invalid(
                    f"{place} has {len(text):,} characters; this model reads"
                    f' {self.max_tokens:,} tokens. Send less, or "truncate": true to cut.',
                    place,
                    "too_many_tokens",
                )
        return [text[:most] for text in texts]

    def of_texts(
        self, texts: Sequence[str], role: Role, places: Sequence[str], *, truncate: bool
    ) -> list[Item]:
        """Tokenises texts.

        Args:
            texts: The texts, without their prompt.
            role: Whose prompt to put before them.
            places: Where each stands in the request, for complaints.
            truncate: Whether to cut what is too long; it is an error otherwise.

        Raises:
            ApiError: For a text without a token, or with too many.
        """
        return [
            Item(self._fit(ids, place, truncate), role, text)
            for text, ids, place in zip(texts, self._read(texts, role), places, strict=True)
        ]

    def of_ids(
        self, inputs: Sequence[Sequence[int]], role: Role, places: Sequence[str], *, truncate: bool
    ) -> list[Item]:
        """Takes tokens as they are: prompt and special tokens are the client's business.

        Args:
            inputs: The ids of each text, which passed `check_ids`.
            role: Whose prompt they have.
            places: As in `of_texts`.
            truncate: As in `of_texts`.

        Raises:
            ApiError: For a text without a token, or with too many.
        """
        return [
            Item(self._fit(ids, place, truncate), role)
            for ids, place in zip(inputs, places, strict=True)
        ]

    def check_ids(self, inputs: Sequence[Sequence[int]], places: Sequence[str]) -> None:
        """Refuses token ids that this model cannot read.

        Args:
            inputs: The ids of each text.
            places: As in `of_texts`.

        Raises:
            ApiError: For an id that is not in the vocabulary, or a model that takes no ids.
        """
        if not self.takes_ids:
            raise invalid(
                "This model takes texts, not token ids.", "input", "token_ids_unsupported"
            )
        for ids, place in zip(inputs, places, strict=True):
            if len(ids) and not 0 <= min(ids) <= max(ids) < self._vocabulary:
                raise invalid(
                    f"{place} has token ids outside of this model's vocabulary of"
                    f" {self._vocabulary:,}: another tokenizer made them. Send texts instead.",
                    place,
                    "unknown_token",
                )

    def _read(self, texts: Sequence[str], role: Role) -> list[list[int]]:
        """The ids of each text with its prompt, before any truncation."""
        prompt = self.encoder.prompts[role]
        encodings = self.encoder.tokenizer.encode_batch_fast(
            [encodable(prompt + text) for text in texts],
            add_special_tokens=not isinstance(self.encoder, StaticEncoder),
        )
        return [encoding.ids for encoding in encodings]

    def _fit(self, ids: Sequence[int], place: str, truncate: bool) -> Ids:
        if len(ids) == 0:
            raise invalid(f"{place} has no token.", place, "empty_input")
        limit = self.max_tokens or len(ids)
        if len(ids) > limit and not truncate:
            raise invalid(
                f"{place} has {len(ids):,} tokens; this model reads {limit:,}."
                ' Send less, or "truncate": true to cut.',
                place,
                "too_many_tokens",
            )
        return cut(ids, limit, self._ending)

    def encode(self, items: Sequence[Item]) -> Float[np.ndarray, "items dim"]:
        """Unit vectors of items, in their order; NaN where the model gives that."""
        if isinstance(self.encoder, StaticEncoder):
            return self._looked_up(self.encoder, items)
        return self._computed(self.encoder, items)

    def _looked_up(
        self, encoder: StaticEncoder, items: Sequence[Item]
    ) -> Float[np.ndarray, "items dim"]:
        lengths = np.array([len(item.ids) for item in items])
        flat = np.concatenate([item.ids for item in items]).astype(np.int64)
        offsets = np.concatenate([[0], lengths[:-1].cumsum()]).astype(np.int64)
        batch = {"input_ids": torch.from_numpy(flat), "offsets": torch.from_numpy(offsets)}
        device = encoder.table.device
        with torch.inference_mode():
            moved = {name: value.to(device) for name, value in batch.items()}
            return encoder(moved).vector.cpu().numpy()

    def _computed(
        self, encoder: TextEncoder, items: Sequence[Item]
    ) -> Float[np.ndarray, "items dim"]:
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        lengths = [len(item.ids) for item in items]
        workers, best_tokens = share_out(sum(lengths), self._device)
        batches = [
            rows
            for group in self._groups(items)
            for rows in _within(group, token_batches([lengths[row] for row in group], best_tokens))
        ]

        def compute(rows: list[int]) -> None:
            batch = self._batch(encoder, [items[row] for row in rows])
            moved = {name: _moved(value, self._device) for name, value in batch.items()}
            vector = encoder(moved).vector.float()
            vectors[rows] = torch.nn.functional.normalize(vector, dim=-1).cpu().numpy()

        side_by_side(iter(batches), compute, self._products, max(1, min(workers, len(batches))))
        return vectors

    def _groups(self, items: Sequence[Item]) -> list[list[int]]:
        """The rows that may stand in one batch: all, unless that would change their vectors."""
        groups: dict[Any, list[int]] = {}
        for row, item in enumerate(items):
            groups.setdefault(self._kind(item), []).append(row)
        return list(groups.values())

    def _kind(self, item: Item) -> Any:
        if not self._like:
            # Padding in another way may move a text's positions, so that nothing is padded.
            return item.role, len(item.ids)
        return item.role if self._roles_apart else None

    def _batch(self, encoder: TextEncoder, items: Sequence[Item]) -> dict[str, Any]:
        role = items[0].role
        if not self._like:
            return dict(encoder.collate([cast(str, item.text) for item in items], role))
        pad_id = cast(int, encoder.model.tokenizer.pad_token_id)
        return pad([item.ids for item in items], pad_id, self._like[role])


def _within(group: list[int], batches: Any) -> list[list[int]]:
    return [[group[place] for place in places] for places in batches]


def _marks(batch: dict[str, Any]) -> dict[str, Any]:
    """What is said of a batch as a whole, such as how long its prompt is."""
    return {name: value for name, value in batch.items() if not isinstance(value, Tensor)}


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
