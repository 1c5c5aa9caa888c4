"""Which dimensions ids of like frequency need, by gates trained on other data (AutoSrh)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.compression.codec import SearchingTable, normal
from isometry.compression.sparse_rows import SparseRows

_GROUPS = 6
_PENALTY = 1e-5


class AutoSrh(SearchingTable):
    """A whole table, times gates from 0 to 1 by group of ids and dimension.

    Kong et al. 2022, "AutoSrh: An Embedding Dimensionality Search Framework for Tabular Data
    Prediction". Ids are sorted by frequency into groups of like size. Rows are
    trained on most of a batch, and gates on the rest of it, with a penalty on their sum. Then the
    smallest products of gate and number are dropped, wherever they are, and what is kept is trained
    again: as `SparseRows`.

    The paper trains gates by gradient descent with a rate of their own and gradients divided by
    their mean magnitude; here one Adam trains all, which evens out magnitudes itself.

    Args:
        counts: How often each id occurs where it is trained.
        dim: The length of a vector.
    """

    group: Tensor

    def __init__(self, counts: Int[Tensor, " n"], dim: int) -> None:
        super().__init__(len(counts), dim)
        self.rows = normal(self.n, dim)
        self.gates = nn.Parameter(torch.ones(_GROUPS, dim))
        group = torch.empty(self.n, dtype=torch.int64)
        group[counts.argsort(stable=True)] = torch.arange(self.n) * _GROUPS // self.n
        self.register_buffer("group", group)

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """Rows times gates; the gradient reaches the rows."""
        if self.training:
            # Not as a change that a penalty taken before would have to know.
            self.gates.data.clamp_(0, 1)
        gates = self.gates.detach().clamp(0, 1)
        return functional.embedding(ids, self.rows) * gates[self.group[ids]]

    def search(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """Rows times gates; the gradient reaches the gates."""
        rows = functional.embedding(ids, self.rows.detach())
        return rows * functional.embedding(self.group[ids], self.gates)

    def penalty(self) -> Float[Tensor, ""]:
        """The sum of the gates, weighted."""
        return _PENALTY * self.gates.abs().sum()

    @torch.no_grad()
    def pruned(self, budget: int) -> SparseRows:
        """The largest products, as many as a budget allows.

        Raises:
            InputError: When it allows none.
        """
        return SparseRows.fit(self.rows * self.gates.clamp(0, 1)[self.group], budget)
