"""Which of many labels an item has, where a missing label need not be a no."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class MultiLabel(nn.Module):
    """Binary cross-entropy of every label, averaged over rows and labels.

    Without `prior`, what is not marked counts as a no. With it, a mark is a yes and the rest is
    unknown: the share of yeses among all rows is taken to be `prior`, and the loss of a label is

        prior mean(l+ of marked) + max(0, mean(l- of all) - prior mean(l- of marked)),

    with l+ = softplus(-logit) and l- = softplus(logit). Where the prior is the share of marked
    rows, that is the plain loss. A label that no row of the batch has keeps mean(l- of all).

    Args:
        positive_weight: How many times a mark counts, for each label; see `positive_weight`.
        prior: The true share of rows with each label, above 0 and below 1; at least the share of
            the marked ones.

    Reference:
        Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator", NIPS 2017,
        equation 6; there the unlabelled rows are a sample of their own, here all rows are it. The
        published code also turns the gradient round where the maximum is 0, which is left out.

    Example:
        >>> logits, marks = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
        >>> round(float(MultiLabel()(logits, marks)), 6)
        1.410038
    """

    positive_weight: Tensor | None
    prior: Tensor | None

    def __init__(
        self,
        positive_weight: Float[Tensor, " k"] | None = None,
        prior: Float[Tensor, " k"] | None = None,
    ) -> None:
        super().__init__()
        if positive_weight is not None and prior is not None:
            raise ValueError("either marks weigh more, or the rest is unknown; not both")
        if positive_weight is not None and not (positive_weight > 0).all():
            raise ValueError("every positive weight must lie above 0")
        if prior is not None and not ((prior > 0) & (prior < 1)).all():
            raise ValueError("every prior must lie between 0 and 1")
        self.register_buffer(
            "positive_weight", None if positive_weight is None else positive_weight.clone()
        )
        self.register_buffer("prior", None if prior is None else prior.clone())

    def forward(
        self, logits: Float[Tensor, "n k"], marks: Float[Tensor, "n k"]
    ) -> Float[Tensor, ""]:
        """The mean loss.

        Args:
            logits: Before any sigmoid.
            marks: 1 where a row is known to have the label, else 0.

        Raises:
            ValueError: For no row, or marks other than 0 and 1.
        """
        if logits.shape[0] == 0:
            raise ValueError("labels need at least one row")
        if not ((marks == 0) | (marks == 1)).all():
            raise ValueError("marks must be 0 or 1")
        if self.prior is None:
            return functional.binary_cross_entropy_with_logits(
                logits, marks, pos_weight=self.positive_weight
            )
        marked = marks.sum(dim=0).clamp(min=1)
        yes = (functional.softplus(-logits) * marks).sum(dim=0) / marked
        no = (functional.softplus(logits) * marks).sum(dim=0) / marked
        rest = functional.softplus(logits).mean(dim=0) - self.prior * no
        return (self.prior * yes + torch.relu(rest)).mean()


def positive_weight(share: Float[Tensor, " k"], power: float = 1.0) -> Float[Tensor, " k"]:
    """((1 - share) / share) to a power: how much a mark must count to match the rest.

    Args:
        share: Of the rows that have each label.
        power: 1 makes both sides count the same; 0.5 is a compromise for rare labels.

    Raises:
        ValueError: For a share that does not lie between 0 and 1: a label that no row has, or that
            all have, teaches nothing and should be left out.
    """
    if not ((share > 0) & (share < 1)).all():
        column = int((~((share > 0) & (share < 1))).nonzero()[0])
        raise ValueError(f"the share of label {column} is {float(share[column]):g}: leave it out")
    return ((1 - share) / share) ** power
