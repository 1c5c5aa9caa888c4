"""A teacher's margins between positives and negatives, copied."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class MarginMSE(nn.Module):
    """The squared error of the margins by which positives lead their negatives.

    Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture
    Knowledge Distillation". A teacher whose scores have another zero, as a
    cross-encoder's have, can teach all the same: only differences count. Their unit does count.

    Example:
        >>> import torch
        >>> score = torch.tensor([0.5])
        >>> float(MarginMSE()(score, score[:, None] - 2, score + 7, score[:, None] + 4))
        1.0
    """

    def forward(
        self,
        student_positive: Float[Tensor, " n"],
        student_negatives: Float[Tensor, "n k"],
        teacher_positive: Float[Tensor, " n"],
        teacher_negatives: Float[Tensor, "n k"],
    ) -> Float[Tensor, ""]:
        """The mean over all negatives; no gradient reaches the teacher.

        Args:
            student_positive: The student's score of each row's positive.
            student_negatives: Its scores of the row's negatives.
            teacher_positive: The teacher's score of the positive.
            teacher_negatives: Its scores of the negatives.

        Raises:
            ValueError: When there is no negative.
        """
        if student_negatives.numel() == 0:
            raise ValueError("a margin needs a positive and a negative")
        student = student_positive[:, None] - student_negatives
        teacher = teacher_positive[:, None] - teacher_negatives
        return (student - teacher.detach()).square().mean()
