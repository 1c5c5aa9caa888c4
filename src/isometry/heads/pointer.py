"""States and a question -> the states that it points to."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Pointer(nn.Module):
    """For each of several pointers, a logit for every state: `states W_i question + v_i states`.

    With two pointers, start and end, and no question these are the heads of extractive question
    answering (Devlin et al. 2019, section 4.2), where the question stands in the text itself. Here
    it comes as a vector, so that the text is read once for all questions.

    Args:
        d: The width of states.
        pointers: How many there are.
        condition: The width of questions; 0 for none.
    """

    def __init__(self, d: int, pointers: int = 2, condition: int = 0) -> None:
        super().__init__()
        self.alone = nn.Linear(d, pointers)
        self.asked = nn.Linear(condition, pointers * d, bias=False) if condition else None

    def forward(
        self,
        states: Float[Tensor, "b t d"],
        mask: Bool[Tensor, "b t"],
        question: Float[Tensor, "b c"] | None = None,
    ) -> Float[Tensor, "b n t"]:
        """Logits; minus infinity where a state does not count.

        Args:
            states: Of tokens, turns or patches.
            mask: True where a state counts.
            question: What is asked of each row.

        Raises:
            ValueError: When a question is missing, or given to a pointer that takes none.
        """
        if (question is None) != (self.asked is None):
            raise ValueError("a question is needed where there is a condition, and nowhere else")
        logits = self.alone(states).transpose(1, 2)
        if self.asked is not None and question is not None:
            wanted = self.asked(question).unflatten(1, (-1, states.shape[-1]))
            logits = logits + torch.einsum("bnd,btd->bnt", wanted, states)
        return logits.masked_fill(~mask[:, None], -torch.inf)
