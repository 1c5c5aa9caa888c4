"""How probable words are under a document: unigrams with Dirichlet smoothing.

Zhai and Lafferty (2001), "A Study of Smoothing Methods for Language Models Applied to Ad Hoc
Information Retrieval", section 3; its use in PROP: Ma et al. (2021), "PROP: Pre-training with
Representative Words Prediction for Ad-hoc Retrieval", section 3.1.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.corpora.curation import dedup


@dataclass(frozen=True)
class DirichletLM:
    """The language model of any document: its own counts, smoothed by a collection's.

    P(w|D) = (tf(w, D) + mu * P(w|C)) / (|D| + mu). All counts are of the words of the vocabulary,
    so that the probabilities of a document sum to 1. Words are split as everywhere in Isometry, by
    `corpora.curation.dedup.words` on case-folded text: any language, where the official code of
    PROP knows the letters a to z.

    Attributes:
        corpus_frequency: How often each word of the vocabulary stands in the collection.
        document_frequency: In how many of its documents.
        mu: The weight of the collection, in words; 0 leaves only the document's own words.
        background: Whether P(w|C) is a share of the document frequencies, as in the official code,
            or of all words, as in the papers.
        stop_words: Case-folded words that count nowhere.

    Example:
        >>> texts = ["a cold night", "a warm night", "a cold day"]
        >>> model = DirichletLM.fit(texts, least=1, stop_words=["a"])
        >>> model.probabilities(["cold", "night", "day"], "cold cold").round(3).tolist()
        [0.667, 0.167, 0.083]
    """

    corpus_frequency: Mapping[str, int]
    document_frequency: Mapping[str, int]
    mu: float
    background: Literal["df", "tf"] = "df"
    stop_words: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Checks what would give no distribution.

        Raises:
            ValueError: When `mu` is negative or not finite, or a word lacks one of its counts.
        """
        if not 0 <= self.mu < float("inf"):
            raise ValueError(f"mu must be a finite number from 0 up, not {self.mu}")
        if self.corpus_frequency.keys() != self.document_frequency.keys():
            raise ValueError("corpus_frequency and document_frequency must hold the same words")

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        mu: float | None = None,
        background: Literal["df", "tf"] = "df",
        least: int = 10,
        stop_words: Collection[str] | None = None,
    ) -> DirichletLM:
        """Counts a collection.

        Args:
            texts: Its documents.
            mu: The mean number of a document's words, stop words left out, when `None`.
            background: As above.
            least: Words that the collection holds less often are left out of the vocabulary.
            stop_words: scikit-learn's English ones when `None`.

        Raises:
            InputError: When no word is left.
        """
        if stop_words is None:
            from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

            stop_words = ENGLISH_STOP_WORDS
        stopped = frozenset(word.casefold() for word in stop_words)
        corpus: Counter[str] = Counter()
        documents: Counter[str] = Counter()
        count = 0
        for count, text in enumerate(texts, start=1):  # noqa: B007
            own = Counter(word for word in dedup.words(text.casefold()) if word not in stopped)
            corpus.update(own)
            documents.update(own.keys())
        kept = {word: number for word, number in corpus.items() if number >= least}
        if not kept:
            raise InputError(
                f"No word stands {least} times or more in the {count} documents.",
                "Give more text, or a smaller `least`.",
            )
        return cls(
            kept,
            {word: documents[word] for word in kept},
            sum(kept.values()) / count if mu is None else mu,
            background,
            stopped,
        )

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All words that have a probability, in the order of their first use."""
        return tuple(self.corpus_frequency)

    @cached_property
    def _total(self) -> int:
        return sum(self._weights.values())

    @cached_property
    def _tokens(self) -> int:
        return sum(self.corpus_frequency.values())

    @property
    def _weights(self) -> Mapping[str, int]:
        return self.document_frequency if self.background == "df" else self.corpus_frequency

    @cached_property
    def _running_background(self) -> list[int]:
        return list(accumulate(self._weights[word] for word in self.vocabulary))

    @cached_property
    def _running_documents(self) -> list[int]:
        return list(accumulate(self.document_frequency[word] for word in self.vocabulary))

    def counts(self, document: str) -> Counter[str]:
        """How often each word of the vocabulary stands in a document."""
        found = dedup.words(document.casefold())
        return Counter(word for word in found if word in self.corpus_frequency)

    def _own(self, document: str) -> tuple[Counter[str], int]:
        """The counts of a document and their sum, where that leaves a distribution."""
        own = self.counts(document)
        if own.total() + self.mu == 0:
            raise InputError(
                f"No word is left of the document {document[:60]!r}.", "Leave it out, or set mu."
            )
        return own, own.total()

    def frequencies(self, words: Sequence[str]) -> Float[np.ndarray, " words"]:
        """The share of each word in all words of the collection."""
        return np.array([self.corpus_frequency.get(word, 0) for word in words]) / self._tokens

    def probabilities(self, words: Sequence[str], document: str) -> Float[np.ndarray, " words"]:
        """P(w|D) of each word, 0 for one that neither side knows.

        Args:
            words: Case-folded words.
            document: The text of any document, of the collection or not.

        Raises:
            InputError: When the document has no word of the vocabulary and `mu` is 0.
        """
        own, length = self._own(document)
        counts = np.array([own[word] for word in words])
        background = np.array([self._weights.get(word, 0) for word in words]) / self._total
        return (counts + self.mu * background) / (length + self.mu)

    def logprob(self, words: Sequence[str], document: str) -> float:
        """The logarithm of the probability that a document gives to a sequence of words.

        Args:
            words: Case-folded words; one that stands twice counts twice.
            document: As above.

        Raises:
            InputError: When a word has probability 0, or as above.
        """
        values = self.probabilities(words, document)
        if not values.all():
            word = words[int(np.flatnonzero(values == 0)[0])]
            raise InputError(
                f"The word {word!r} has probability 0 under the document {document[:60]!r}.",
                "It is no word of the vocabulary, or mu is 0 and the document lacks it.",
            )
        return float(np.log(values).sum())

    def sample(self, document: str, length: int, rng: random.Random) -> list[str]:
        """Words drawn with replacement from P(.|D).

        P(.|D) is a mixture, of the document's words with the weight |D| / (|D| + mu) and of the
        collection's with the rest: each word first draws its side.

        Args:
            document: As above.
            length: How many words.
            rng: Draws.

        Raises:
            InputError: As `probabilities`.
        """
        own, total = self._own(document)
        inner = list(own), list(accumulate(own.values()))
        outer = self.vocabulary, self._running_background
        drawn: list[str] = []
        for _ in range(length):
            names, running = inner if rng.random() * (total + self.mu) < total else outer
            drawn += rng.choices(names, cum_weights=running)
        return drawn

    def sampling_vocabulary(self, document: str, size: int, rng: random.Random) -> list[str]:
        """The words of a document, and words drawn from the collection by document frequency.

        The set from which PROP samples. Its document's words are likelier than under the whole
        vocabulary, most of which it lacks.

        Args:
            document: As above.
            size: How many words at most, unless the document alone has more. A word drawn twice
                is not made up for. The whole vocabulary where it is no larger.
            rng: Draws.
        """
        if len(self.vocabulary) <= size:
            return list(self.vocabulary)
        found = dict.fromkeys(self.counts(document))
        drawn = rng.choices(
            self.vocabulary,
            cum_weights=self._running_documents,
            k=max(0, size - len(found)),
        )
        return list(found | dict.fromkeys(drawn))
