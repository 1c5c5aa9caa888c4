"""Two sets of words and a document: which set does the document make likelier?

The representative words prediction of PROP (Ma et al. 2021, "PROP: Pre-training with
Representative Words Prediction for Ad-hoc Retrieval", section 3.1).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from isometry.corpora.curation.dirichlet_lm import DirichletLM

# Lengths so far beyond the mean have no probability worth a draw.
_LONGEST = 12


@dataclass(frozen=True)
class RepresentativeWordPairs:
    """Draws pairs of word sets from each document's language model and lets it compare them.

    Attributes:
        model: The language models of documents, fitted on the collection.
        per_document: How many pairs are drawn for a document.
        mean_length: Of the Poisson distribution of lengths, before 0 is left out: about the mean
            length of the queries to come.
        same_length: Whether both sets have the same number of words; otherwise each its own, and
            the shorter one mostly wins.
        drop_ties: Whether sets that are equally likely give no pair. Otherwise, as in the official
            code, the second is the better one.
        threshold: Frequent words are drawn less often: with `f` as its share of the collection, a
            draw is kept with probability sqrt(t / f) + t / f, as in word2vec.
        vocabulary: How many words are drawn from, most of them by their document frequency.

    Raises:
        ValueError: When one of the numbers is not positive.
    """

    model: DirichletLM
    per_document: int = 5
    mean_length: float = 3.0
    same_length: bool = True
    drop_ties: bool = True
    threshold: float = 1e-4
    vocabulary: int = 500

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("per_document", "mean_length", "threshold", "vocabulary"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    def sets(self, text: str, rng: random.Random) -> Iterator[tuple[list[str], list[str]]]:
        """The better and the worse words of each pair that is drawn for a text.

        Args:
            text: A document; one without a word of the vocabulary gives no pair.
            rng: Draws.
        """
        if not self.model.counts(text):
            return
        words = self.model.sampling_vocabulary(text, self.vocabulary, rng)
        probabilities = self.model.probabilities(words, text)
        # Drawing from P and rejecting with 1 - keep is drawing from P * keep.
        running = np.cumsum(probabilities * self.keep(words)).tolist()
        logarithms = [math.log(value) if value else -math.inf for value in probabilities.tolist()]
        for _ in range(self.per_document):
            first = self.length(rng)
            second = first if self.same_length else self.length(rng)
            one, other = (
                rng.choices(range(len(words)), cum_weights=running, k=length)
                for length in (first, second)
            )
            # Exact sums: the order of drawing must not break a tie.
            lead = math.fsum(logarithms[i] for i in one) - math.fsum(logarithms[i] for i in other)
            if lead == 0 and self.drop_ties:
                continue
            better, worse = (one, other) if lead > 0 else (other, one)
            yield [words[i] for i in better], [words[i] for i in worse]

    def keep(self, words: Sequence[str]) -> Float[np.ndarray, " words"]:
        """The probability with which a draw of each word is kept.

        Mikolov et al.'s code of word2vec; their paper (2013, equation 5) has the first term only.
        """
        ratio = self.threshold / self.model.frequencies(words)
        return np.minimum(1.0, np.sqrt(ratio) + ratio)

    def length(self, rng: random.Random) -> int:
        """A number of words: a Poisson draw that is not 0."""
        return rng.choices(range(1, len(self._running) + 1), cum_weights=self._running)[0]

    @cached_property
    def _running(self) -> list[float]:
        """The running sums of the Poisson distribution from 1 on."""
        longest = math.ceil(self.mean_length + _LONGEST * (1 + math.sqrt(self.mean_length)))
        lengths = np.arange(1, longest + 1)
        logs = lengths * math.log(self.mean_length) - np.cumsum(np.log(lengths))
        return np.cumsum(np.exp(logs - logs.max())).tolist()
