"""Vectors that are counted, not learned: tf-idf, concepts by their texts (ESA), co-occurrences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class TfIdf:
    """Texts -> rows of unit length over the words of a collection.

    scikit-learn's: words of two characters or more in lower case, a word's count (or
    1 + log(count)) times `ln((1 + n) / (1 + texts with it)) + 1`, then unit length. A text without
    a known word is a row of zeros.

    Args:
        collection: The texts that the words and their weights are taken from.
        sublinear: Whether counts are dampened to 1 + log(count).

    Raises:
        InputError: When the collection has no word.
    """

    def __init__(self, collection: Sequence[str], *, sublinear: bool = False) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Its annotation knows float64 alone.
        single: Any = np.float32
        self._vectorizer: Any = TfidfVectorizer(sublinear_tf=sublinear, dtype=single)
        try:
            self._vectorizer.fit(collection)
        except ValueError as error:
            raise InputError(f"{len(collection)} texts hold no word to count.") from error

    @property
    def words(self) -> list[str]:
        """The word of each column."""
        return self._vectorizer.get_feature_names_out().tolist()

    def encode(self, texts: Sequence[str]) -> csr_array:
        """One row a text."""
        from scipy.sparse import csr_array

        return csr_array(self._vectorizer.transform(texts))


class ExplicitSemanticAnalysis:
    """Texts -> how like each of some named concepts they are, by shared words (ESA).

    A value is the cosine of the tf-idf rows of the text and of the concept's own text, so it is 0
    for most concepts, and nothing is trained. The paper's concepts are articles of Wikipedia, whose
    weak words it prunes, which is left out here.

    Args:
        words: How texts are counted.
        concepts: A text for each concept; the more, the better.

    Raises:
        InputError: When a concept's text has no known word.

    Reference:
        Gabrilovich and Markovitch, "Computing Semantic Relatedness Using Wikipedia-based Explicit
        Semantic Analysis", IJCAI 2007, section 2.
    """

    def __init__(self, words: TfIdf, concepts: Sequence[str]) -> None:
        self._words = words
        self.concepts = words.encode(concepts)
        empty = np.flatnonzero(np.diff(self.concepts.indptr) == 0)
        if len(empty):
            raise InputError(
                f"The text of concept {empty[0]} has no word of the collection:"
                f" {concepts[int(empty[0])][:60]!r}.",
                "Leave the concept out, or give it a longer text.",
            )

    def encode(self, texts: Sequence[str]) -> csr_array:
        """One row a text, one column a concept."""
        return cast("csr_array", self._words.encode(texts) @ self.concepts.T).tocsr()


def cooccurrence(sequences: Iterable[Sequence[int]], size: int, window: int) -> csr_array:
    """How often two words stand within a window: symmetric, and both of a pair count.

    Args:
        sequences: The numbers of the words of each text; no window goes beyond a text.
        size: How many words there are.
        window: How many places on either side.

    Returns:
        `size` x `size` counts; a word that stands twice in a window meets itself.

    Raises:
        ValueError: When the window is below 1, or a number is not below `size`.
    """
    from scipy.sparse import coo_array

    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}")
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for sequence in sequences:
        words = np.asarray(sequence, dtype=np.int64)
        for distance in range(1, min(window, len(words) - 1) + 1):
            left.append(words[:-distance])
            right.append(words[distance:])
    empty = np.empty(0, dtype=np.int64)
    one, other = np.concatenate([empty, *left]), np.concatenate([empty, *right])
    if len(one) and not 0 <= min(one.min(), other.min()) <= max(one.max(), other.max()) < size:
        raise ValueError(f"a word's number lies outside 0 to {size - 1}")
    places = np.concatenate([one, other]), np.concatenate([other, one])
    counts = np.ones(2 * len(one), dtype=np.float64)
    return coo_array((counts, places), (size, size)).tocsr()


def ppmi(counts: csr_array, alpha: float = 0.75, shift: float = 1.0) -> csr_array:
    """Positive pointwise mutual information of rows and columns.

    max(0, log(p(r, c) / (p(r) p'(c))) - log(shift)), with p'(c) in proportion to the column's
    count to the power of `alpha`.

    Args:
        counts: How often row and column meet.
        alpha: Below 1, rare columns are likelier than counted, so that they do not dominate.
        shift: The number of negative samples that skip-gram would take (k).

    Reference:
        Levy, Goldberg and Dagan, "Improving Distributional Similarity with Lessons Learned from
        Word Embeddings", TACL 2015, sections 2.1, 3.2 and equation 3.

    Raises:
        InputError: When nothing was counted, or a count is negative.
    """
    from scipy.sparse import coo_array

    cells = counts.tocoo()
    met = np.asarray(cells.data, dtype=np.float64)
    total = float(met.sum())
    if met.size and met.min() < 0:
        raise InputError("A count of co-occurrences is negative.")
    if total == 0:
        raise InputError("No two words occur together.", "Give more text, or a wider window.")
    by_row, by_column = (_sums(counts, axis) for axis in (1, 0))
    by_row, by_column = by_row / total, by_column**alpha
    by_column = by_column / by_column.sum()
    rows, columns = cells.coords
    rows, columns, share = rows[met > 0], columns[met > 0], met[met > 0] / total
    values = np.log(share) - np.log(by_row[rows]) - np.log(by_column[columns]) - np.log(shift)
    kept = values > 0
    places = rows[kept], columns[kept]
    return coo_array((values[kept], places), _shape(counts)).tocsr()


def ppmi_svd(
    counts: csr_array, dim: int, *, alpha: float = 0.75, shift: float = 1.0, power: float = 0.5
) -> Float[np.ndarray, "rows dim"]:
    """Short vectors of the rows of a table of counts: `U S**power` of `ppmi`, cut to `dim`.

    The same counts give the same vectors: the largest component of each column of U is positive.

    Args:
        counts: How often row and column meet.
        dim: How many dimensions, below both sides of the table.
        alpha: See `ppmi`.
        shift: See `ppmi`.
        power: How much of the singular values the rows keep; 1 makes the exact products of rows.

    Raises:
        InputError: As `ppmi`, or when rows and columns are independent: there is nothing left.
        ValueError: When `dim` does not lie below both sides.
    """
    from scipy.sparse.linalg import svds

    least = min(_shape(counts))
    if not 0 < dim < least:
        raise ValueError(f"dim must lie between 1 and {least - 1}, not {dim}")
    table = ppmi(counts, alpha, shift)
    if table.nnz == 0:
        raise InputError("Rows and columns of the counts are independent: all information is 0.")
    start = np.random.default_rng(0).normal(size=least)
    left, values, _ = cast("tuple[Any, Any, Any]", svds(table, k=dim, v0=start))
    order = np.argsort(-values)
    left, values = left[:, order], np.maximum(values[order], 0)
    largest = left[np.abs(left).argmax(axis=0), np.arange(dim)]
    return left * np.where(largest < 0, -1, 1) * values**power


def _shape(table: csr_array) -> tuple[int, int]:
    return cast("tuple[int, int]", table.shape)


def _sums(table: csr_array, axis: int) -> Float[np.ndarray, " n"]:
    return np.asarray(table.sum(axis=axis), dtype=np.float64).ravel()
