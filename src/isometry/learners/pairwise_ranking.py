"""A cross-encoder that learns to order: two queries for one document, or documents for a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from isometry.encoders.cross_encoder import CrossEncoder
from isometry.heads.masked_lm import MaskedLMHead
from isometry.learners.learner import Learner, Losses
from isometry.learners.masked_language import TokenMasker, masked_cross_entropy, no_words

# As in the official code (multiprocessing_generate_pairwise_instances.py of Albert-Ma/PROP).
_SHARE, _MOST_MASKED = 0.15, 60


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """Two queries for one document.

    Attributes:
        better: The one that fits it better.
        worse: The other.
        document: The text.
    """

    better: str
    worse: str
    document: str


@dataclass(frozen=True, slots=True)
class CandidatesRow:
    """One query and documents, one of which answers it.

    Attributes:
        query: What asks.
        positive: What answers.
        negatives: What does not; any number from one up.
    """

    query: str
    positive: str
    negatives: tuple[str, ...]


class _Ranking(Learner):
    """Scores pairs of texts; dropout stays off, as in `TwoTowers`, so that a run resumes."""

    def __init__(self, encoder: CrossEncoder, tokens: int | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokens = tokens
        self.encoder.eval()

    def train(self, mode: bool = True) -> _Ranking:
        """Sets the mode of all parts but the encoder, which stays without dropout."""
        super().train(mode)
        self.encoder.eval()
        return self


class PairwiseRanking(_Ranking):
    """Of two queries for a document, prefer the better one (Ma et al. 2021, PROP, section 3.2).

    Both inputs of a row stand side by side in a batch, where no sampler can part them.

    Whole words of the documents are masked and predicted in the pass that scores, and their
    cross-entropy is added: 15 % of the document's tokens, and at most 60. Each of a row's inputs
    has a mask of its own, and no query is masked: it is what is compared.

    Args:
        encoder: Scores query and document together.
        objective: Takes `(better, worse)`, one score a row each: `Preference`, say. With `None`
            only masked words are learned, from the same inputs, and no score is.
        head: Predicts masked words; tie it to the encoder's own word embeddings.
        tokens: Where query and document together are cut; the encoder's own limit when `None`.
        seed: Of the masks. They depend on it and on a batch's tokens alone, so that a resumed run
            repeats them.

    Raises:
        InputError: When the tokenizer has no mask token, or knows no words.
        ValueError: When the head is of another width than the encoder.
    """

    def __init__(
        self,
        encoder: CrossEncoder,
        objective: nn.Module | None,
        head: MaskedLMHead,
        *,
        tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(encoder, tokens)
        width = encoder.model.config.hidden_size
        if head.dim != width:
            raise ValueError(f"a head of {head.dim} dimensions on states of {width}")
        self.objective = objective
        self.head = head
        self._masker = TokenMasker(encoder.tokenizer, encoder.name, seed)
        _, words = encoder.collate_with_words([("one", "two three")])
        if len(set(words[words >= 0].tolist())) < 2:
            raise no_words(encoder.name)

    def collate(self, rows: Sequence[PreferenceRow]) -> dict[str, Any]:
        """Rows -> tokens of better and worse query with their document, in turns.

        Words of the documents are masked, and `labels` says what stood there.
        """
        pairs = [
            (query, row.document) for row in rows for query in (row.better, row.worse)
        ]  # scored as one batch: [better, worse, better, worse...]
        batch, words = self.encoder.collate_with_words(pairs, self.tokens)
        ids = batch["input_ids"].numpy()
        masked, labels = self._masker.mask(
            ids,
            self._masker.maskable(ids, words >= 0),
            _SHARE,
            generator=self._masker.generator(ids),
            units=words,
            most=_MOST_MASKED,
        )
        return {"pairs": batch | {"input_ids": masked}, "labels": labels}

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The objective on this batch's scores, and the cross-entropy of its masked words.

        The objective is computed in float32, whatever the encoder computes in.
        """
        scores, states = self.encoder.forward_with_states(batch["pairs"])
        masked = masked_cross_entropy(self.head, states, batch["labels"])
        if self.objective is None:
            return {"loss": masked}
        with torch.autocast(scores.device.type, enabled=False):
            better, worse = scores.float().reshape(-1, 2).unbind(dim=1)
            preference = self.objective(better, worse)
        return {"loss": preference + masked, "preference": preference, "masked_language": masked}


class ListwiseRanking(_Ranking):
    """Of a query's candidates, choose the one that answers: a softmax over their scores.

    Supervised fine-tuning of re-rankers, as localized contrastive estimation (Gao et al. 2021,
    "Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline", section 3.2). With one
    negative it is the logistic preference of two documents.

    Args:
        encoder: As above.
        tokens: As above.
    """

    def __init__(self, encoder: CrossEncoder, *, tokens: int | None = None) -> None:
        super().__init__(encoder, tokens)

    def collate(self, rows: Sequence[CandidatesRow]) -> dict[str, Any]:
        """Rows -> tokens of each query with its candidates, the positive first, and how many.

        Raises:
            ValueError: For a row without negatives: its loss would be 0 whatever the scores are.
        """
        if not all(row.negatives for row in rows):
            raise ValueError("a row needs at least one negative")
        candidates = [(row.positive, *row.negatives) for row in rows]
        pairs = [
            (row.query, text) for row, own in zip(rows, candidates, strict=True) for text in own
        ]
        return {
            "pairs": self.encoder.collate(pairs, self.tokens),
            "candidates": torch.tensor([len(own) for own in candidates]),
        }

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean over queries, in float32 whatever the encoder computes in."""
        scores = self.encoder(batch["pairs"])
        with torch.autocast(scores.device.type, enabled=False):
            lists = scores.float().split(batch["candidates"].tolist())
            # Shorter lists are filled with what has no share in a softmax.
            logits = pad_sequence(list(lists), batch_first=True, padding_value=-torch.inf)
            target = torch.zeros(len(lists), dtype=torch.long, device=scores.device)
            return {"loss": functional.cross_entropy(logits, target)}
