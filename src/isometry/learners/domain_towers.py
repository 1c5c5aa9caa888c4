"""One encoder, or a mixture of experts, that learns several domains, told apart by a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isometry.encoders.surgery.experts import MixtureOfExperts
from isometry.encoders.text import TextEncoder
from isometry.learners.two_towers import PairRow, TwoTowers
from isometry.vocabulary.extend import token_id


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A training pair of a domain.

    Attributes:
        pair: Its texts.
        domain: The number of its domain, and of its expert.
    """

    pair: PairRow
    domain: int


class DomainTowers(TwoTowers):
    """`TwoTowers` over rows of several domains, whose texts begin with the token of theirs.

    It stands where `[CLS]` would, in all texts of a row (Hallee et al., "Contrastive Learning and
    Mixture of Experts Enables Precise Vector Embeddings"); what `with_first_token` does for one
    domain when it is served. A mixture of experts gets the domain as its assignment.

    Args:
        encoder: A dense one, or a mixture with an expert for each domain.
        objective: See `TwoTowers`.
        first_tokens: The token of each domain, in the order of their numbers.
        tokens: Where texts are cut.

    Raises:
        InputError: When the tokenizer does not have one of the tokens.
        ValueError: When a mixture has not as many experts as there are domains.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        objective: nn.Module,
        first_tokens: Sequence[str],
        *,
        tokens: int,
    ) -> None:
        super().__init__(encoder, objective, query_tokens=tokens, document_tokens=tokens)
        self.routed = isinstance(encoder, MixtureOfExperts)
        if isinstance(encoder, MixtureOfExperts) and encoder.experts != len(first_tokens):
            raise ValueError(f"{encoder.experts} experts for {len(first_tokens)} domains")
        tokenizer: Any = encoder.model.tokenizer
        self.first = torch.tensor([token_id(tokenizer, token) for token in first_tokens])

    # Rows are of another type than those of a single domain.
    def collate(self, rows: Sequence[DomainRow]) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Rows -> what `TwoTowers` makes of them, with each text's domain.

        Raises:
            ValueError: As `TwoTowers.collate`; and when there is no such domain, or texts do not
                begin with [CLS].
        """
        if not all(0 <= row.domain < len(self.first) for row in rows):
            raise ValueError(f"domains are numbered from 0 to {len(self.first) - 1}")
        batch = super().collate([row.pair for row in rows])
        domains = torch.tensor([row.domain for row in rows])
        tokenizer: Any = self.encoder.model.tokenizer
        for side in ("query", "document", "negatives"):
            if side in batch:
                ids = batch[side]["input_ids"]
                if not bool((ids[:, 0] == tokenizer.cls_token_id).all()):
                    raise ValueError("texts do not begin with [CLS], so no token can stand for it")
                own = domains.repeat_interleave(len(ids) // len(rows))
                ids[:, 0] = self.first[own]
                if self.routed:
                    batch[side]["assignment"] = own[:, None].expand_as(ids)
        return batch
