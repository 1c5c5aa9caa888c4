"""Contrast with a batch whose targets are not the diagonal."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


class _Contrast(nn.Module):
    def __init__(self, temperature: float = 0.05, *, normalize: bool = True) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature
        self.normalize = normalize

    def _scaled(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return functional.normalize(vectors, dim=-1) if self.normalize else vectors


class SoftInfoNCE(_Contrast):
    """Cross-entropy of a batch's similarities with given targets, in both directions.

    With the identity as target it is `InfoNCE`; targets may also say who is of the same kind
    (Huang et al. 2023, "PLIP").

    Args:
        temperature: Divides the similarities.
        normalize: Whether vectors are scaled to unit length first.
    """

    def forward(
        self, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], target: Float[Tensor, "n m"]
    ) -> Float[Tensor, ""]:
        """The mean of a -> b and b -> a.

        Args:
            a: The items that ask.
            b: What they may find.
            target: How much each of `b` is what each of `a` asks for; rows, and columns for the
                way back, are scaled to a sum of 1.

        Raises:
            ValueError: When a row or a column has no target.
        """
        if bool((target < 0).any()) or not bool(target.sum(1).all() and target.sum(0).all()):
            raise ValueError("every row and every column needs a target, and none may be negative")
        logits = self._scaled(a) @ self._scaled(b).T / self.temperature
        return (_cross_entropy(logits, target) + _cross_entropy(logits.T, target.T)) / 2


class MNRPlus(_Contrast):
    """Contrast whose targets are the nearest by what each side says of itself (MNR-plus).

    Row i is to find the j with the largest `(a @ a.T + b @ b.T)[i, j] / 2` (Hallee et al.,
    "Contrastive Learning and Mixture of Experts Enables Precise Vector Embeddings", `mnr_plus_loss`
    of the official code). Among unit vectors nothing is nearer than the row itself, and the loss is
    that of `InfoNCE`, unless a pair stands twice. Among others a long vector is the target of all
    that lie in its direction; the official code never normalises, and has a temperature of 1. On
    the way back it compares softmaxes of different rows; here it is the argmax again.

    Args:
        temperature: Divides the similarities.
        normalize: Whether vectors are scaled to unit length first.
    """

    def forward(
        self,
        a: Float[Tensor, "n d"],
        b: Float[Tensor, "n d"],
        negatives: Float[Tensor, "n k d"] | None = None,
        same: Bool[Tensor, "n m"] | None = None,
        log_q: Float[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean of a -> b and b -> a.

        Args:
            a: The items that ask.
            b: Their positives.
            negatives: Further candidates of a -> b, shared by all rows.
            same: True where candidate j (first the rows of `b`, then the negatives) is a match of
                row i too; it then is no negative, and is left out unless it is the target.
            log_q: As in `InfoNCE`; not supported.

        Raises:
            ValueError: For a batch of one row without negatives.
        """
        if log_q is not None:
            raise ValueError("targets by similarity take no log_q")
        n = a.shape[0]
        if n < 2 and (negatives is None or not negatives.shape[1]):
            raise ValueError("a contrast needs at least two rows, or negatives")
        candidates = b if negatives is None else torch.cat([b, negatives.flatten(0, 1)])
        a, candidates = self._scaled(a), self._scaled(candidates)
        logits = a @ candidates.T / self.temperature
        nearest = nearest_by_themselves(a, candidates[:n])
        target = functional.one_hot(nearest, logits.shape[1]).to(logits)
        hidden = torch.zeros_like(target, dtype=torch.bool) if same is None else same
        # The diagonal is what a row came with.
        hidden = hidden & ~torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
        forth = _cross_entropy(logits, target, hidden & (target == 0))
        square, hidden = target[:, :n], hidden[:, :n].T
        back = _cross_entropy(logits[:, :n].T, square, hidden & (square == 0))
        return (forth + back) / 2


def nearest_by_themselves(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Tensor:
    """The targets of MNR-plus: for each row, the row that both sides together find nearest."""
    with torch.no_grad():
        return (a @ a.T + b @ b.T).argmax(dim=1)


def _cross_entropy(
    logits: Float[Tensor, "n m"],
    target: Float[Tensor, "n m"],
    hidden: Bool[Tensor, "n m"] | None = None,
) -> Float[Tensor, ""]:
    if hidden is not None:
        logits = logits.masked_fill(hidden, torch.finfo(logits.dtype).min)
    return functional.cross_entropy(logits, target / target.sum(dim=1, keepdim=True))
