"""Heads over a frozen encoder that learn what causes what, and which words say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.encoders.text import TextEncoder
from isometry.heads.decoding.span_decoding import best_spans
from isometry.heads.pair_scorer import PairScorer
from isometry.heads.pointer import Pointer
from isometry.learners.learner import Learner, Losses

# Numbers in the states of texts that were read before.
_KEPT = 1 << 28


@dataclass(frozen=True, slots=True)
class VectorPair:
    """Two vectors that belong together or do not.

    Attributes:
        first: One side.
        second: The other.
        together: Whether they do.
        distance: How far they are apart, from 0; None where that does not count.
    """

    first: Float[np.ndarray, " d"]
    second: Float[np.ndarray, " d"]
    together: bool
    distance: int | None = None


class PairEntailment(Learner):
    """Cross-entropy of whether pairs belong together.

    Args:
        scorer: What is trained.
    """

    def __init__(self, scorer: PairScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def collate(self, rows: Sequence[VectorPair]) -> dict[str, Any]:
        """Pairs -> both sides, their distances if they have any, and what is true of them."""
        batch: dict[str, Any] = {
            "first": torch.from_numpy(np.stack([row.first for row in rows])).float(),
            "second": torch.from_numpy(np.stack([row.second for row in rows])).float(),
            "together": torch.tensor([float(row.together) for row in rows]),
        }
        if rows[0].distance is not None:
            batch["distances"] = torch.tensor([row.distance for row in rows])
        return batch

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean over pairs."""
        loss = functional.binary_cross_entropy_with_logits(self._logits(batch), batch["together"])
        return {"loss": loss}

    def _logits(self, batch: dict[str, Any]) -> Float[Tensor, " n"]:
        return self.scorer(batch["first"], batch["second"], batch.get("distances"))

    def score(self, rows: Sequence[VectorPair]) -> Float[np.ndarray, " n"]:
        """How probable it is that pairs belong together, as logits; all pairs at once."""
        batch = send_to_device(self.collate(rows), self.scorer.bilinear.device)
        with torch.no_grad():
            return self._logits(batch).float().cpu().numpy()


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A text, a question as a vector, and the words that answer it.

    Attributes:
        text: The text.
        question: The vector.
        start: Where the answer begins, in characters; -1 for no answer.
        end: Where it ends.
        borders: Where another part of the text begins, in characters; no answer goes across.
    """

    text: str
    question: Float[np.ndarray, " d"]
    start: int = -1
    end: int = -1
    borders: tuple[int, ...] = ()


class SpanExtraction(Learner):
    """Where an answer begins and ends, among the tokens of a frozen encoder.

    The mean of both cross-entropies. The first token stands for "no answer", and for an answer that
    is cut off (Devlin et al. 2019, section 4.3). The last one only ends the text, and no answer
    begins or ends there.

    A text is read once: as the encoder never changes, its states are kept, up to a gigabyte.

    Args:
        encoder: Gives the states of tokens; it is not trained.
        pointer: What is trained: two pointers.
        tokens: Where texts are cut.

    Raises:
        ValueError: When the encoder puts a prompt before documents, which would move all places.
    """

    def __init__(self, encoder: TextEncoder, pointer: Pointer, *, tokens: int) -> None:
        super().__init__()
        if encoder.prompts["document"]:
            raise ValueError("the encoder has a document prompt")
        self.encoder = encoder.requires_grad_(False).eval()
        self.pointer = pointer
        self.tokens = tokens
        self._known: dict[str, Float[Tensor, "t d"]] = {}

    def train(self, mode: bool = True) -> SpanExtraction:
        """Sets the mode of the pointer alone."""
        super().train(mode)
        self.encoder.eval()
        return self

    def collate(self, rows: Sequence[SpanRow]) -> dict[str, Any]:
        """Rows -> tokens, questions, and the first and last token of each answer."""
        places = [
            _token_span(self.offsets(row.text), row.start, row.end, self.tokens) for row in rows
        ]
        return {
            "texts": [row.text for row in rows],
            "questions": torch.from_numpy(np.stack([row.question for row in rows])).float(),
            "places": torch.tensor(places),
        }

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean over rows and both ends."""
        logits = self.logits(batch)
        losses = [
            functional.cross_entropy(logits[:, end], batch["places"][:, end]) for end in (0, 1)
        ]
        return {"loss": torch.stack(losses).mean()}

    def logits(self, batch: dict[str, Any]) -> Float[Tensor, "b 2 t"]:
        """Of the start and of the end."""
        states = self.states(batch["texts"])
        ends = torch.tensor([len(own) for own in states], device=states[0].device)
        padded = nn.utils.rnn.pad_sequence(states, batch_first=True)
        places = torch.arange(padded.shape[1], device=padded.device)
        words = (places < ends[:, None] - 1) | (places == 0)
        return self.pointer(padded, words, batch["questions"])

    def states(self, texts: Sequence[str]) -> list[Float[Tensor, "_ d"]]:
        """The encoder's states of every token, without padding."""
        own = {text: self._known[text] for text in texts if text in self._known}
        new = list(dict.fromkeys(text for text in texts if text not in own))
        if new:
            batch: Any = self.encoder.collate(new, "document", tokens=self.tokens)
            with torch.no_grad():
                read = self.encoder(send_to_device(batch, self.pointer.alone.weight.device))
            for text, states, mask in zip(new, read.tokens, read.mask, strict=True):
                own[text] = states[mask].float()
        self._known.update(own)
        kept = sum(states.numel() for states in self._known.values())
        while kept > _KEPT:
            kept -= self._known.pop(next(iter(self._known))).numel()
        return [own[text] for text in texts]

    def extract(self, rows: Sequence[SpanRow], *, longest: int, batch: int = 32) -> list[str]:
        """The words that answer, "" for none.

        Args:
            rows: Texts and questions; what is known of the answers is not looked at.
            longest: The most tokens of an answer.
            batch: Rows at once.
        """
        found: list[str] = []
        for first in range(0, len(rows), batch):
            some = rows[first : first + batch]
            inputs: Any = send_to_device(self.collate(some), self.pointer.alone.weight.device)
            with torch.no_grad():
                logits = self.logits(inputs)
            part = self._parts(some, logits.shape[2]).to(logits.device)
            spans = best_spans(logits[:, 0], logits[:, 1], longest, part).tolist()
            for row, (start, end) in zip(some, spans, strict=True):
                places = self.offsets(row.text)
                found.append(row.text[places[start][0] : places[end][1]] if start else "")
        return found

    def _parts(self, rows: Sequence[SpanRow], places: int) -> Int[Tensor, "b t"]:
        """Which part of its text each token begins in."""
        found = torch.zeros(len(rows), places, dtype=torch.long)
        for own, row in zip(found, rows, strict=True):
            firsts = [first for first, _ in self.offsets(row.text)[:places]]
            part = np.searchsorted(row.borders, firsts, side="right")
            own[: len(firsts)] = torch.from_numpy(part)
        return found

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters of every token; (0, 0) of a special one."""
        return list(self.encoder.tokenizer.encode(text).offsets)


def _token_span(
    offsets: Sequence[tuple[int, int]], start: int, end: int, tokens: int
) -> tuple[int, int]:
    if start < 0:
        return 0, 0
    own = [
        place
        for place, (first, last) in enumerate(offsets)
        if last > first and first < end and last > start
    ]
    return (own[0], own[-1]) if own and own[-1] < tokens - 1 else (0, 0)
