"""Why a document was found: contributions with names that sum to its score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal
from unicodedata import category

import numpy as np
from jaxtyping import Float, Int

from isometry.core.errors import InputError

# Into so many concepts a query is taken apart at most; each must be as like what is left of it.
_CONCEPTS = 6
_LIKE = 0.1
# Where fewer headings were found, words that passages share are concepts too.
_FEW = 10
_SHARED_WORDS = 100
# Lance adds up single precision; beyond that, words do not account for a score.
_ROUNDING = 1e-4

REST = "rest of the query"


@cache
def _kind(mark: str) -> str:
    """The first letter of a character's category in Unicode: L, M, N, ..."""
    return category(mark)[0]


@dataclass(frozen=True, slots=True)
class Contribution:
    """A part of a score.

    Attributes:
        side: Whether vectors or words brought it.
        name: A concept, a word of the query, or what is left.
        value: How much it adds; below 0 it speaks against the document.
    """

    side: Literal["dense", "lexical"]
    name: str
    value: float


def contributions(
    query: Float[np.ndarray, " k"],
    document: Float[np.ndarray, " k"],
    names: Sequence[str],
    *,
    top: int | None = None,
    normalize: bool = False,
) -> list[tuple[str, float]]:
    """What each named dimension adds to an inner product (SESA, ESA, SPLADE).

    Args:
        query: One side's activations.
        document: The other's.
        names: One a dimension.
        top: How many are named, those of the largest absolute value; the others are one entry at
            the end, "N others".
        normalize: Whether both are scaled to unit length first, so that the sum is the cosine.

    Returns:
        Names with values, the largest absolute value first, which sum to the score; dimensions that
        add nothing are left out.

    Raises:
        InputError: When there is not one name for every dimension, or a side that is to be scaled
            has no active concept.
    """
    if not len(names) == len(query) == len(document):
        raise InputError(
            f"There are {len(names)} names for {len(query)} and {len(document)} dimensions."
        )
    sides = [side.astype(np.float64) for side in (query, document)]
    if normalize:
        lengths = [float(np.linalg.norm(side)) for side in sides]
        if min(lengths) == 0:
            raise InputError("No concept is active on one side: there is no cosine to explain.")
        sides = [side / length for side, length in zip(sides, lengths, strict=True)]
    products = sides[0] * sides[1]
    order = np.argsort(-np.abs(products), kind="stable")
    order = order[products[order] != 0]
    shown = order if top is None else order[:top]
    found = [(names[int(row)], float(products[row])) for row in shown]
    if len(others := order[len(shown) :]):
        found.append((f"{len(others)} others", float(products[others].sum())))
    return found


def shares(found: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Contributions as shares of their sum.

    Raises:
        InputError: When one is negative, or all are 0: they are no shares of a whole.
    """
    total = sum(value for _, value in found)
    for name, value in found:
        if value < 0:
            raise InputError(
                f"'{name}' contributes {value:.4f}: negative contributions are no percentages.",
                "Show the values, or use an activation that is never negative.",
            )
    if total == 0:
        raise InputError("Nothing contributes: there are no percentages.")
    return [(name, value / total) for name, value in found]


def concept_names(query: str, headings: Sequence[str], texts: Sequence[str]) -> list[str]:
    """What a query may be about, in the words of what was found for it.

    The last part of every heading and the query's own words; where there are few headings, words
    that at least two passages and at most half of them share, too.

    Args:
        query: What somebody typed.
        headings: The heading paths of passages; some may be empty.
        texts: The passages.
    """
    own = [heading.rpartition(" > ")[2].strip() for heading in headings]
    names = dict.fromkeys(name for name in own if name)
    pieces = [
        piece
        for sentence in re.split("[.?!]", query)
        for place, piece in enumerate(_runs(sentence, "LMN"))
        if _tells(piece) or _names(piece, first=place == 0)
    ]
    asked = dict.fromkeys(piece.lower() for piece in pieces)
    shared: list[str] = []
    if len(names) < _FEW:
        counts = Counter(word for text in texts for word in set(_words(text)))
        common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        shared = [word for word, count in common if 2 <= count <= max(2, len(texts) // 2)]
    return list(names | asked | dict.fromkeys(shared[:_SHARED_WORDS]))


def express(
    query: Float[np.ndarray, " d"], concepts: Float[np.ndarray, "k d"]
) -> tuple[Int[np.ndarray, " chosen"], Float[np.ndarray, " chosen"]]:
    """A query's vector as a sum of few concepts' vectors, none of them negative.

    Orthogonal matching pursuit: the concept that is most like what is left comes in, and all
    weights are fitted anew by least squares, until none is like it.

    Args:
        query: Of unit length.
        concepts: Of unit length.

    Returns:
        The rows of the concepts that are used, and the weight of each, above 0. What is left of the
        query is orthogonal to them.

    Reference:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal Matching Pursuit", Asilomar 1993; with
        weights from 0 up: Bruckstein, Elad and Zibulevsky, "On the Uniqueness of Nonnegative Sparse
        Solutions to Underdetermined Systems of Equations", IEEE TIT 2008, section IV.
    """
    from scipy.optimize import nnls

    target, rows = query.astype(np.float64), concepts.astype(np.float64)
    chosen: list[int] = []
    weights, left = np.zeros(0), target
    for _ in range(min(_CONCEPTS, len(rows))):
        like = rows @ left
        like[chosen] = -np.inf
        best = int(like.argmax())
        if like[best] < _LIKE:
            break
        chosen.append(best)
        weights = nnls(rows[chosen].T, target)[0]
        left = target - weights @ rows[chosen]
    kept = weights > 0
    return np.array(chosen, dtype=np.int64)[kept], weights[kept]


@dataclass(frozen=True)
class Parts:
    """The scores that one side gave, taken apart.

    Attributes:
        side: Which one.
        documents: What it found, best first.
        names: One a part.
        values: The parts of every document's score; a row sums to the score.
        scores: The scores, as they were found.
    """

    side: Literal["dense", "lexical"]
    documents: list[str]
    names: list[str]
    values: Float[np.ndarray, "documents parts"]
    scores: Float[np.ndarray, " documents"]

    @classmethod
    def of_vectors(
        cls,
        documents: list[str],
        scores: Float[np.ndarray, " documents"],
        vectors: Float[np.ndarray, "documents d"],
        query: Float[np.ndarray, " d"],
        names: Sequence[str],
        concepts: Float[np.ndarray, "names d"],
    ) -> Parts:
        """Inner products by concept: its weight in the query times its likeness to the passage.

        What concepts do not account for is the last part.

        Args:
            documents: What was found.
            scores: The inner products.
            vectors: The passages' vectors.
            query: The query's.
            names: The concepts that may be used.
            concepts: Their vectors.
        """
        chosen, weights = express(query, concepts)
        values = (vectors.astype(np.float64) @ concepts[chosen].T.astype(np.float64)) * weights
        rest = scores.astype(np.float64) - values.sum(axis=1)
        return cls(
            "dense",
            documents,
            [*(names[int(row)] for row in chosen), REST],
            np.column_stack([values, rest]),
            scores,
        )

    @classmethod
    def of_words(
        cls,
        documents: list[str],
        scores: Float[np.ndarray, " documents"],
        words: list[str],
        by_word: Float[np.ndarray, "documents words"],
    ) -> Parts:
        """BM25 by word of the query: it is a sum over words.

        Args:
            documents: What was found.
            scores: What the whole query scores.
            words: Its words.
            by_word: What each alone scores, times how often the query has it.
        """
        total, sums = scores.astype(np.float64), by_word.sum(axis=1)
        close = np.abs(total - sums) <= _ROUNDING * total
        factor = np.divide(total, sums, out=np.ones_like(sums), where=close & (sums > 0))
        values = by_word * factor[:, None]
        return cls(
            "lexical",
            documents,
            [*words, REST],
            np.column_stack([values, np.where(close, 0.0, total - sums)]),
            scores,
        )

    def explain(self, document: str) -> list[Contribution]:
        """The parts of a document's own score."""
        if document not in self.documents:
            return []
        return self._named(self.values[self.documents.index(document)])

    def explain_fused(self, document: str, weight: float, missing: int) -> list[Contribution]:
        """What this side adds to `standard_score_fusion`: by how much each part is above average.

        Args:
            document: Whose.
            weight: How much the side counts.
            missing: How many documents it found fewer than it was asked for, where these score 0.
        """
        values = np.vstack([self.values, np.zeros((missing, len(self.names)))])
        # The fusion's own numbers: of equal scores, sums of parts may differ by their rounding.
        scores = np.concatenate([self.scores.astype(np.float64), np.zeros(missing)])
        spread = float(scores.std()) if len(scores) else 0.0
        if not weight or spread == 0:
            return []
        factor = weight / spread
        if document in self.documents:
            own = values[self.documents.index(document)]
            return self._named(factor * (own - values.mean(axis=0)))
        lowest = factor * (float(scores.min()) - float(scores.mean()))
        count = len(self.documents)
        among = f"the {count:,} found" if missing else f"the first {count:,}"
        return [Contribution(self.side, f"not among {among}", lowest)]

    def _named(self, values: Float[np.ndarray, " parts"]) -> list[Contribution]:
        found = [
            Contribution(self.side, name, value)
            for name, value in zip(self.names, values.tolist(), strict=True)
            if value
        ]
        return sorted(found, key=lambda part: (part.name == REST, -abs(part.value)))


def query_words(query: str) -> dict[str, int]:
    """The pieces of a query between blanks, and how often each comes.

    No term of the lexical index goes across a blank, so the scores of the pieces add up.
    """
    return dict(Counter(query.encode("utf-8", errors="replace").decode("utf-8").split()))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _runs(text, "LM") if _tells(word)]


def _runs(text: str, kinds: str) -> list[str]:
    """Runs of letters with their marks, without which an Indian word would be in pieces."""
    return "".join(mark if _kind(mark) in kinds else " " for mark in text).split()


def _tells(word: str) -> bool:
    """Whether a word may be what something is about, and no "of" or "I".

    Scripts without capitals say much in two letters.
    """
    letters = any(_kind(mark) == "L" for mark in word)
    return letters and (len(word) >= 3 or (len(word) == 2 and word.lower() == word.upper()))


def _names(word: str, *, first: bool) -> bool:
    """Whether a short word of a query is written as a name: CI, or Go where no sentence begins."""
    return len(word) == 2 and (word.isupper() if first else word[0].isupper())
