"""A student's scores pulled to a teacher's, as distributions."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

GradientScale = Literal["1", "T", "T^2"]


class KnowledgeDistillation(nn.Module):
    """The divergence of a student's softmax from its teacher's, row by row.

    Rows are class scores (Hinton et al. 2015, section 2), the scores of one query's candidates,
    or the coordinates of one vector (Li et al. 2024, "2D Matryoshka Sentence Embeddings", section
    3.3). Soft cross-entropy (Turc et al. 2019) is this plus the teacher's entropy: it has the same
    gradient, but it is 0 nowhere.

    Args:
        temperature: Divides the scores of both sides before the softmax.
        hard: The weight of the cross-entropy with the teacher's arg max, at a temperature of 1;
            the rest goes to the divergence. 1 is training on pseudo-labels.
        gradient_scale: What multiplies the divergence. Its gradient falls with the square of the
            temperature, so "T^2" keeps it where it is (Hinton; 2DMSE's first code); "T" is what
            ESE and sentence-transformers do to vectors, "1" what Starbucks does to scores.
        detach: Whether the teacher is left alone. 2DMSE's own code, and Starbucks' for similarity,
            pulls the last layer to the shallow ones as well.

    Example:
        >>> import torch
        >>> teacher, student = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.5, 0.5, 0.0]])
        >>> round(float(KnowledgeDistillation()(student, teacher)), 6)
        0.011748
    """

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        hard: float = 0.0,
        gradient_scale: GradientScale = "T^2",
        detach: bool = True,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if not 0 <= hard <= 1:
            raise ValueError(f"hard must lie between 0 and 1, not {hard}")
        self.temperature = temperature
        self.hard = hard
        self.scale = {"1": 1.0, "T": temperature, "T^2": temperature**2}[gradient_scale]
        self.detach = detach

    def forward(
        self, student: Float[Tensor, "n c"], teacher: Float[Tensor, "n c"]
    ) -> Float[Tensor, ""]:
        """The mean loss of the rows.

        Args:
            student: Scores before the softmax.
            teacher: The same of the teacher. A candidate that is minus infinity on both sides
                does not exist, so that rows of different lengths can be padded.

        Raises:
            ValueError: For no row, or for one column, whose softmax is 1 whatever its score.
        """
        if student.shape[0] == 0 or student.shape[1] < 2:
            raise ValueError("distillation needs a row, and at least two scores in it")
        if self.detach:
            teacher = teacher.detach()
        if self.hard == 1:
            return functional.cross_entropy(student, teacher.argmax(dim=-1))
        log_p = functional.log_softmax(teacher / self.temperature, dim=-1)
        log_q = functional.log_softmax(student / self.temperature, dim=-1)
        p = log_p.exp()
        # Where p is 0 the term is 0, but its factors may be infinite.
        terms = p * (log_p - log_q).masked_fill(p == 0, 0.0)
        loss = self.scale * terms.sum(dim=-1).mean()
        if self.hard == 0:
            return loss
        labels = functional.cross_entropy(student, teacher.argmax(dim=-1))
        return (1 - self.hard) * loss + self.hard * labels
