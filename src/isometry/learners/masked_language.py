"""An encoder that predicts masked tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.corpora.views.masking import IGNORED, mask_units, word_units
from isometry.encoders.text import Batch, TextEncoder
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.learner import Learner, Losses

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Maskable:
    """A batch of texts before it is masked.

    Attributes:
        batch: What the encoder reads.
        ids: Its token ids.
        maskable: Where there is no special token and no padding.
        units: The word of each position, or None where tokens are masked one by one.
        generator: The batch's own randomness.
    """

    batch: Batch
    ids: Int[np.ndarray, "b t"]
    maskable: Bool[np.ndarray, "b t"]
    units: Int[np.ndarray, "b t"] | None
    generator: np.random.Generator


class TokenMasker:
    """Hides tokens of a batch.

    The random state of a batch depends on the seed and its tokens alone. So a resumed run repeats
    it, whatever came before; and the same batch has the same masks again. For new masks in each
    epoch (RoBERTa's dynamic masking) order the rows anew into batches, as `unique_batches` does.

    Args:
        tokenizer: Whose tokens they are.
        name: Of the model, for people.
        seed: Of the masks.

    Raises:
        InputError: When the tokenizer has no mask token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str, seed: int) -> None:
        mask_id: Any = tokenizer.mask_token_id
        if mask_id is None:
            raise InputError(f"The tokenizer of '{name}' has no mask token.")
        self.seed = seed
        self.mask_id = int(mask_id)
        self._special = np.array(sorted(set(tokenizer.all_special_ids)))
        self._ordinary = np.setdiff1d(
            np.array(sorted(set(tokenizer.get_vocab().values()))), self._special
        )

    def maskable(
        self, ids: Int[np.ndarray, "b t"], among: Bool[np.ndarray, "b t"]
    ) -> Bool[np.ndarray, "b t"]:
        """Those of the positions that hold no special token; their names may stand in a text.

        Raises:
            InputError: When there are none.
        """
        maskable = among & ~np.isin(ids, self._special)
        if not maskable.any():
            raise InputError(
                "No text of this batch has a token that could be masked.", "Leave out empty texts."
            )
        return maskable

    def generator(self, ids: Int[np.ndarray, "b t"]) -> np.random.Generator:
        """The batch's own randomness."""
        content = hashlib.sha256(f"{self.seed} {ids.shape} ".encode() + ids.tobytes()).digest()
        return np.random.default_rng(int.from_bytes(content))

    def mask(
        self,
        ids: Int[np.ndarray, "b t"],
        maskable: Bool[np.ndarray, "b t"],
        p: float,
        *,
        generator: np.random.Generator,
        units: Int[np.ndarray, "b t"] | None = None,
        within: Bool[np.ndarray, "b t"] | None = None,
        most: int | None = None,
    ) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"]]:
        """Masked ids and labels, as `mask_units` makes them."""
        masked, labels = mask_units(
            ids,
            maskable,
            p,
            mask_id=self.mask_id,
            generator=generator,
            units=units,
            within=within,
            most=most,
            random_ids=self._ordinary,
        )
        return torch.from_numpy(masked), torch.from_numpy(labels)


def no_words(name: str, hint: str = "") -> InputError:
    """What is wrong with a tokenizer that cannot tell words apart."""
    return InputError(
        f"The tokenizer of '{name}' has no word boundaries: to it, every text is one word.", hint
    )


class TextMasker:
    """Texts -> an encoder's batch, masked by a `TokenMasker`.

    Args:
        encoder: Its document prompt stands before each text and is masked like the text.
        tokens: Where texts are cut.
        whole_words: Whether words are masked together, or tokens each for itself.
        seed: Of the masks.

    Raises:
        InputError: When the tokenizer has no mask token, or no words to mask as a whole.
    """

    def __init__(self, encoder: TextEncoder, *, tokens: int, whole_words: bool, seed: int) -> None:
        self.encoder = encoder
        self.tokens = tokens
        self.whole_words = whole_words
        self.masker = TokenMasker(encoder.model.tokenizer, encoder.name, seed)
        if whole_words and len(set(encoder.tokenizer.encode("one two").word_ids) - {None}) < 2:
            raise no_words(encoder.name, "Mask single tokens: whole_words=False.")

    def read(self, texts: Sequence[str]) -> Maskable:
        """Tokenizes a batch of texts.

        Raises:
            InputError: When there is nothing to mask in any text.
        """
        batch: Any = self.encoder.collate(texts, "document", tokens=self.tokens)
        ids = batch["input_ids"].numpy()
        maskable = self.masker.maskable(ids, batch["attention_mask"].numpy().astype(bool))
        # What the tokenizer gives says more than the tensors in it.
        units = word_units([row.word_ids for row in batch.encodings]) if self.whole_words else None
        return Maskable(dict(batch), ids, maskable, units, self.masker.generator(ids))

    def mask(
        self, read: Maskable, p: float, within: Bool[Tensor, "b t"] | None = None
    ) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"]]:
        """Masked ids and labels, as `mask_units` makes them; each call draws anew."""
        return self.masker.mask(
            read.ids,
            read.maskable,
            p,
            generator=read.generator,
            units=read.units,
            within=None if within is None else within.numpy(),
        )


class MaskedLanguage(Learner):
    """Masked language modelling of an encoder (Devlin et al. 2019, section 3.1).

    The head sees the masked positions only, which is a seventh of the logits at 15 %. Dropout
    stays off as in `TwoTowers`, for the same reasons; the masks are noise enough.

    Args:
        encoder: Its last layer's states are read.
        head: Predicts tokens; tie it to the encoder's own word embeddings.
        p: The share of the tokens that are masked, between 0 and 1.
        tokens: Where texts are cut.
        whole_words: Whether words are masked together.
        seed: Of the masks; see `TokenMasker`.

    Raises:
        InputError: When the tokenizer has no mask token, or no words to mask as a whole.
        ValueError: When `p` is outside (0, 1), or the head of another width than the encoder.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        head: MaskedLMHead,
        *,
        p: float = 0.15,
        tokens: int,
        whole_words: bool = True,
        seed: int,
    ) -> None:
        super().__init__()
        check_share(p)
        check_head(encoder, head)
        self.encoder = encoder
        self.head = head
        self.p = p
        self.masker = TextMasker(encoder, tokens=tokens, whole_words=whole_words, seed=seed)
        self.encoder.eval()

    def train(self, mode: bool = True) -> MaskedLanguage:
        """Sets the mode of all parts but the encoder, which stays without dropout."""
        super().train(mode)
        self.encoder.eval()
        return self

    def collate(self, rows: Sequence[str]) -> dict[str, Any]:
        """Texts -> masked tokens, and what stood there."""
        read = self.masker.read(rows)
        ids, labels = self.masker.mask(read, self.p)
        return {"masked": read.batch | {"input_ids": ids}, "labels": labels}

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean cross-entropy of the masked tokens."""
        states = self.encoder(batch["masked"]).tokens
        return {"loss": masked_cross_entropy(self.head, states, batch["labels"])}


def masked_cross_entropy(head: MaskedLMHead, states: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy at the targets, whose states are gathered before the head.

    Args:
        head: Its logits over the vocabulary are what takes memory.
        states: Of all positions, (b, t, d); they may be cut.
        labels: The token at each position that is a target, `IGNORED` elsewhere, (b, t).
    """
    targets = labels != IGNORED
    return functional.cross_entropy(head(states[targets]).float(), labels[targets])


def check_share(p: float, name: str = "p") -> None:
    """Raises ValueError for a share outside (0, 1)."""
    if not 0 < p < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {p}")


def check_head(encoder: TextEncoder, head: MaskedLMHead) -> None:
    """Raises ValueError for a head of another width: a wider one would cut itself silently."""
    transformer: Any = encoder.model[0]
    width = transformer.get_embedding_dimension()
    if head.dim != width:
        raise ValueError(f"a head of {head.dim} dimensions on states of {width}")
