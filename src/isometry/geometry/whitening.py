"""Affine maps after which the dimensions of a set of vectors are uncorrelated and equally wide."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from isometry.core.errors import InputError

# A column is constant if it is so much narrower than the widest one, a direction none if its
# variance is so much smaller than the largest: single precision would not tell them from noise.
_CONSTANT, _DEPENDENT = 1e-6, 1e-10


@dataclass(frozen=True)
class Whitening:
    """`(x - mean) @ matrix`, so that the covariance of what it was made of is `scale ** 2 * I`.

    Whitening is unique but for a rotation: `pca`, `zca` and `ica` differ in nothing else, and in
    whether columns count by their width. Covariances divide by the number of vectors.

    Directions in which the vectors do not vary are left out, instead of becoming infinite. Encoders
    have some: the last norm of all-MiniLM-L6-v2 scales three of 384 dimensions with 0, and a norm
    without a shift keeps a weighted sum of the others at 0.

    Attributes:
        mean: What is subtracted.
        matrix: From the dimensions of a vector to the new ones.
    """

    mean: Float[np.ndarray, " d"]
    matrix: Float[np.ndarray, "d k"]

    @classmethod
    def pca(cls, vectors: Float[np.ndarray, "n d"], *, scale: float = 1.0) -> Whitening:
        """Along the principal components, the widest first.

        Args:
            vectors: More of them than dimensions.
            scale: The standard deviation of every new dimension.

        Raises:
            InputError: When there are too few vectors, or all are the same, or a number is not
                finite.
        """
        mean, kept = _varying(vectors)
        variances, directions = _components(vectors[:, kept] - mean[kept])
        return cls(mean, _embedded(directions / np.sqrt(variances) * scale, kept))

    @classmethod
    def zca(cls, vectors: Float[np.ndarray, "n d"], *, scale: float = 1.0) -> Whitening:
        """The whitening that moves vectors least: the matrix is symmetric (Mahalanobis).

        It has as many dimensions as before, each the old one's likeness; what is left out is 0.

        Args:
            vectors: See `pca`.
            scale: See `pca`.

        Raises:
            InputError: As `pca` does.
        """
        mean, kept = _varying(vectors)
        variances, directions = _components(vectors[:, kept] - mean[kept])
        matrix = np.zeros((len(kept), len(kept)))
        matrix[np.ix_(kept, kept)] = directions / np.sqrt(variances) @ directions.T * scale
        return cls(mean, matrix)

    @classmethod
    def ica(
        cls,
        vectors: Float[np.ndarray, "n d"],
        *,
        scale: float = 1.0,
        iterations: int = 1000,
        tolerance: float = 1e-4,
        seed: int = 42,
    ) -> Whitening:
        """Towards independent dimensions, by FastICA with log cosh on columns of equal width.

        Source: Hyvärinen and Oja (2000), "Independent component analysis: algorithms and
        applications", section 6, by scikit-learn. With a scale of 100 it is what DefSent+ does with
        its entries (Liu 2024; `ICA-transform.py` of the official code), whose settings the others
        are. However early FastICA stops, the result is whitened, and its inner products are those
        of a PCA of standardised columns.

        Args:
            vectors: See `pca`.
            scale: See `pca`.
            iterations: How many FastICA takes at most.
            tolerance: By how much the cosine of a direction with what the next iteration makes of
                it may differ from 1.
            seed: Of the directions that it starts from.

        Raises:
            InputError: As `pca` does.

        Warns:
            UserWarning: When it did not converge; it says how far it came.
        """
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        mean, kept = _varying(vectors)
        centred = vectors[:, kept] - mean[kept]
        widths = centred.std(axis=0)
        ica = FastICA(
            n_components=len(_components(centred / widths)[0]),
            fun="logcosh",
            whiten="unit-variance",
            max_iter=iterations,
            tol=tolerance,
            random_state=seed,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sources: Any = ica.fit_transform(centred / widths)
        for warning in caught:
            if not issubclass(warning.category, ConvergenceWarning):
                warnings.warn(warning.message, stacklevel=2)
            elif (reached := _change(sources)) >= tolerance:
                warnings.warn(
                    f"FastICA stopped after {iterations} iterations at a tolerance of"
                    f" {reached:.2g}, not {tolerance:g}.",
                    stacklevel=2,
                )
        return cls(mean, _embedded(ica.components_.T / widths[:, None] * scale, kept))

    def transform(self, vectors: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Any vectors of the same space, in their own precision."""
        return ((vectors - self.mean) @ self.matrix).astype(vectors.dtype)


def _varying(
    vectors: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, " d"], Bool[np.ndarray, " d"]]:
    """The mean, in double precision, and which columns are not constant."""
    if not np.isfinite(vectors).all():
        raise InputError(
            "Some of the vectors to whiten hold numbers that are not finite.",
            "The model overflowed or is damaged: encode in single precision.",
        )
    mean = vectors.mean(axis=0, dtype=np.float64)
    widths = np.sqrt(((vectors - mean) ** 2).mean(axis=0))
    kept = widths > _CONSTANT * widths.max(initial=0.0)
    if not kept.any():
        raise InputError("All vectors to whiten are the same.", "Give those of different texts.")
    if len(vectors) <= kept.sum():
        raise InputError(
            f"{len(vectors)} vectors are too few to whiten {kept.sum()} dimensions.",
            "Give more of them than they have dimensions, or reduce their dimensions first.",
        )
    return mean, kept


def _components(
    centred: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "d k"]]:
    """Variances, highest first, and their directions, as columns; without those that are none."""
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    first = int((variances <= _DEPENDENT * variances[-1]).sum())
    return variances[first:][::-1], directions[:, first:][:, ::-1]


def _embedded(
    matrix: Float[np.ndarray, "c k"], kept: Bool[np.ndarray, " d"]
) -> Float[np.ndarray, "d k"]:
    """With rows of zeros for the columns that were left out."""
    whole = np.zeros((len(kept), matrix.shape[1]))
    whole[kept] = matrix
    return whole


def _change(sources: Float[np.ndarray, "n k"]) -> float:
    """By how much the next iteration of FastICA would turn a direction, as it measures it.

    Of white sources the present directions are the axes.
    """
    tanh = np.tanh(sources)
    turned = tanh.T @ sources / len(sources) - np.diag((1 - tanh**2).mean(axis=0))
    left, _, right = np.linalg.svd(turned)
    return float(np.abs(np.abs(np.diag(left @ right)) - 1).max())
