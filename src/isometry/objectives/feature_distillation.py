"""A student's vectors pulled to frozen ones."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

Distance = Literal["cosine", "squared", "l1"]
Reduction = Literal["mean", "sum"]


class FeatureDistillation(nn.Module):
    """The distance of each vector from its teacher's, which is left alone.

    One objective under many names: the feature term of self-distillation (Lee et al. 2023: squared,
    summed), ZeTT's imitation of known rows (Minixhofer et al. 2024: squared, summed) and of
    sentences (cosine), ViLD's image distillation (Gu et al. 2022, section 3.3: l1, summed, of unit
    vectors), CRESCENDO's pairs (cosine, centred), sentence-transformers' `MSELoss` (squared, mean).

    Args:
        distance: "cosine" is 1 minus the cosine; the others compare coordinates as they are, so a
            method that wants unit vectors gives it unit vectors.
        center: Subtracted from both sides before the cosine: the teacher's mean over all of its
            data. Where a teacher keeps all of its vectors in one narrow cone, cosines to it are
            close to 1 from the start, and the loss says next to nothing.
        reduce: Whether the distances of a vector's coordinates are averaged or added; a sum over
            768 of them pulls 768 times as hard. The cosine has no such choice. Vectors are
            averaged in any case.

    Raises:
        ValueError: For another distance or reduction, and a centre where it would change nothing.

    Example:
        >>> import torch
        >>> student = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
        >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> float(FeatureDistillation("squared", reduce="sum")(student, teacher))
        4.5
    """

    center: Tensor | None

    def __init__(
        self,
        distance: Distance = "cosine",
        *,
        center: Float[Tensor, " d"] | None = None,
        reduce: Reduction = "mean",
    ) -> None:
        super().__init__()
        if distance not in get_args(Distance) or reduce not in get_args(Reduction):
            raise ValueError(f"there is no distance {distance!r} with a {reduce!r}")
        if center is not None and distance != "cosine":
            raise ValueError(f"a centre changes nothing about differences ({distance!r})")
        self.distance: Distance = distance
        self.reduce: Reduction = reduce
        self.register_buffer("center", None if center is None else center.detach().clone())

    def forward(
        self,
        student: Float[Tensor, "*rows d"],
        teacher: Float[Tensor, "*rows d"],
        mask: Bool[Tensor, "*rows"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean over the vectors; no gradient reaches the teacher.

        Args:
            student: Vectors, with any leading axes; one at least.
            teacher: Theirs, in the same places.
            mask: True where there is a vector; all others count for nothing. All are there where
                it is not given.

        Raises:
            ValueError: When there is no vector at all, or one that has no direction under the
                cosine.
        """
        teacher = teacher.detach()
        if mask is None:
            student, teacher = student.flatten(0, -2), teacher.flatten(0, -2)
        else:
            student, teacher = student[mask], teacher[mask]
        if student.shape[0] == 0:
            raise ValueError("distillation needs a vector")
        if self.distance == "cosine":
            return self._cosine(student, teacher)
        difference = student - teacher
        parts = difference.square() if self.distance == "squared" else difference.abs()
        each = parts.sum(dim=-1) if self.reduce == "sum" else parts.mean(dim=-1)
        return each.mean()

    def _cosine(
        self, student: Float[Tensor, "n d"], teacher: Float[Tensor, "n d"]
    ) -> Float[Tensor, ""]:
        if self.center is not None:
            student, teacher = student - self.center, teacher - self.center
        for name, side in (("student", student), ("teacher", teacher)):
            # Its gradient would be immense, or its loss the same whatever the student does.
            if not bool(side.detach().any(dim=-1).all()):
                raise ValueError(f"a vector of the {name} is zero, which has no direction")
        cosines = functional.normalize(student, dim=-1) * functional.normalize(teacher, dim=-1)
        return (1 - cosines.sum(dim=-1)).mean()
