"""Contrast with the other items of a batch."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional


class InfoNCE(nn.Module):
    """Softmax over in-batch negatives, in one or both directions.

    Known as CLIP's loss, SimCSE's, NT-Xent between two views, multiple negatives ranking, and
    in-batch sampled softmax (van den Oord et al. 2018, equation 4; Radford et al. 2021, figure 3;
    Chang et al. 2020, section 3.1 with `log_q`).

    Args:
        temperature: Divides the similarities.
        learn: Whether the temperature is trained (as its logarithm).
        normalize: Whether vectors are scaled to unit length first (cosine instead of product).
        a_to_b: The weight of the direction a -> b; the rest goes to b -> a. 1 trains only one.
        label_smoothing: As in `torch.nn.CrossEntropyLoss`.
        in_batch: Whether a row contrasts with the other rows and their negatives, or only with
            its own negatives.

    Example:
        >>> loss = InfoNCE(temperature=1.0, normalize=False, a_to_b=1.0)
        >>> a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> round(float(loss(a, b)), 6)
        0.442058
    """

    log_temperature: Tensor

    def __init__(
        self,
        temperature: float = 0.05,
        *,
        learn: bool = False,
        normalize: bool = True,
        a_to_b: float = 0.5,
        label_smoothing: float = 0.0,
        in_batch: bool = True,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if not 0 <= a_to_b <= 1:
            raise ValueError(f"a_to_b must lie between 0 and 1, not {a_to_b}")
        if not in_batch and a_to_b < 1:
            raise ValueError("without in-batch negatives only a -> b exists: set a_to_b=1")
        self.normalize = normalize
        self.a_to_b = a_to_b
        self.label_smoothing = label_smoothing
        self.in_batch = in_batch
        value = torch.tensor(math.log(temperature))
        if learn:
            self.log_temperature = nn.Parameter(value)
        else:
            self.register_buffer("log_temperature", value)

    @property
    def temperature(self) -> Tensor:
        """The present temperature."""
        return self.log_temperature.exp()

    def forward(
        self,
        a: Float[Tensor, "n d"],
        b: Float[Tensor, "n d"],
        negatives: Float[Tensor, "n k d"] | None = None,
        same: Bool[Tensor, "n m"] | None = None,
        log_q: Float[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean loss of the rows.

        Args:
            a: The items that ask.
            b: Their positives: `b[i]` belongs to `a[i]`.
            negatives: Further candidates for each row; with `in_batch` they are shared by all.
            same: True where candidate j (first the rows of `b`, then the negatives) is a match of
                row i too; it then is neither positive nor negative. The diagonal is ignored.
            log_q: The logarithm of each candidate's probability to enter a batch, subtracted
                from its column so that frequent candidates are not punished twice.

        Raises:
            ValueError: For a batch that offers no negative at all, as far as its size says: its
                loss would be 0 whatever the vectors are, as it is where all others match too.
        """
        n = a.shape[0]
        k = 0 if negatives is None else negatives.shape[1]
        if k == 0 and (n < 2 or not self.in_batch):
            raise ValueError("a contrast needs at least two rows, or negatives")
        if self.normalize:
            a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)
            negatives = None if negatives is None else functional.normalize(negatives, dim=-1)
        if not self.in_batch:
            assert negatives is not None
            candidates = torch.cat([b[:, None], negatives], dim=1)
            logits = torch.einsum("nd,nkd->nk", a, candidates) / self.temperature
            row = torch.arange(n, device=a.device)
            if log_q is not None:
                own = torch.cat([log_q[:n, None], log_q[n:].reshape(n, k)], dim=1)
                logits = logits - own
            hidden = None
            if same is not None:
                own = same[:, n:].reshape(n, n, k)[row, row]
                hidden = torch.cat([torch.zeros_like(own[:, :1]), own], dim=1)
            return self._cross_entropy(logits, torch.zeros_like(row), hidden)
        candidates = b if negatives is None else torch.cat([b, negatives.flatten(0, 1)])
        logits = a @ candidates.T / self.temperature
        target = torch.arange(n, device=a.device)
        hidden = None
        if same is not None:
            hidden = same.clone()
            hidden[target, target] = False
        forth = logits if log_q is None else logits - log_q
        loss = self.a_to_b * self._cross_entropy(forth, target, hidden)
        if self.a_to_b < 1:
            hidden = None if hidden is None else hidden[:, :n].T
            back = self._cross_entropy(logits[:, :n].T, target, hidden)
            loss = loss + (1 - self.a_to_b) * back
        return loss

    def _cross_entropy(
        self,
        logits: Float[Tensor, "n m"],
        target: Int[Tensor, " n"],
        hidden: Bool[Tensor, "n m"] | None,
    ) -> Float[Tensor, ""]:
        if hidden is None:
            return functional.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        logits = logits.masked_fill(hidden, -torch.inf)
        loss = functional.cross_entropy(logits, target)
        if not self.label_smoothing:
            return loss
        # Smoothed over the visible candidates only: a hidden one would make it infinite.
        log_p = functional.log_softmax(logits, dim=-1).masked_fill(hidden, 0.0)
        smooth = -(log_p.sum(dim=-1) / (~hidden).sum(dim=-1)).mean()
        return (1 - self.label_smoothing) * loss + self.label_smoothing * smooth
