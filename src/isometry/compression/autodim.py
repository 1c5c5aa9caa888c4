"""The length of each field's vectors, by trying several at once (AutoDim)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isometry.compression.codec import DEVIATION, SearchingTable, below_floor, generator_of, normal
from isometry.compression.fields import field_of, starts_of
from isometry.compression.mixed_dimension import of_widths

_COOLING = 5e-5  # by which a step lowers the temperature from 1, to 0.01 at the least


class AutoDim(SearchingTable):
    """Tables of all widths that are powers of two, mixed by weights that say which is best.

    Zhao et al. 2021, "AutoDim: Field-aware Embedding Dimension Search in Recommender Systems", with
    first-order gradients, as by the survey's official code. Each width is mapped to the full one by
    a linear layer a field, and normalised over the batch; a softmax with Gumbel noise mixes them,
    whose temperature falls. The official layers have a bias for each field, and there the
    temperature falls with the size of a batch, here with every step alike. One learned number
    scales the mixture. Tables are trained on most of a batch, and the softmax on the rest of it.

    What it finds is `widths_for` a budget; then a table of these widths is trained from the start,
    as `mixed_dimension.of_widths`. Paper and official code take the most likely widths and leave
    the bytes to chance.

    Args:
        fields: How many ids each field has.
        dim: The length of a vector.
        seed: Of the noise.
    """

    count: Tensor
    starts: Tensor

    def __init__(self, fields: Sequence[int], dim: int, seed: int = 0) -> None:
        super().__init__(sum(fields), dim)
        self.fields = list(fields)
        self.widths = [2**power for power in range(dim.bit_length())]
        self.seed = seed
        self.tables = nn.ParameterList([normal(self.n, width) for width in self.widths])
        self.maps = nn.ParameterList(
            [normal(len(fields), width, dim, deviation=width**-0.5) for width in self.widths]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(dim, affine=False) for _ in self.widths])
        # What stands behind normalised vectors in the paper is a network with weights of its own;
        # a sum of their products is far from where other tables' vectors start.
        self.scale = nn.Parameter(torch.tensor(DEVIATION))
        self.logits = nn.Parameter(torch.zeros(len(fields), len(self.widths)))
        self.register_buffer("starts", starts_of(self.fields))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The mixture; the gradient reaches the tables. In training mode every call is a step."""
        if self.training:
            self.count += 1
        return self._mix(ids, self.logits.detach())

    def search(self, ids: Int[Tensor, "*b"]) -> Float[Tensor, "*b dim"]:
        """The mixture; the gradient reaches the weights of the widths."""
        return self._mix(ids, self.logits, frozen=True)

    def temperature(self) -> float:
        """Of the softmax, now."""
        return max(0.01, 1 - _COOLING * int(self.count))

    def _mix(self, ids: Tensor, logits: Tensor, *, frozen: bool = False) -> Tensor:
        flat = ids.flatten()
        field = field_of(flat, self.starts)
        shares = self._shares(logits)[field]
        mixed = torch.zeros(len(flat), self.dim, device=flat.device)
        for place, width in enumerate(self.widths):
            table, maps = self.tables[place], self.maps[place]
            if frozen:
                table, maps = table.detach(), maps.detach()
            rows = functional.embedding(flat, table).view(-1, 1, width)
            mapped = torch.bmm(rows, maps[field]).squeeze(1)
            mixed = mixed + self.norms[place](mapped) * shares[:, place, None]
        scale = self.scale.detach() if frozen else self.scale
        return (scale * mixed).view(*ids.shape, self.dim)

    def _shares(self, logits: Tensor) -> Float[Tensor, "fields widths"]:
        noise = torch.zeros_like(logits)
        if self.training:
            generator = generator_of(self.seed, int(self.count))
            uniform = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
            noise = -(-uniform.log()).log().to(logits.device)
        return ((logits.log_softmax(dim=1) + noise) / self.temperature()).softmax(dim=1)

    def widths_for(self, budget: int) -> list[int]:
        """The most likely width of each field; as far as a budget does not allow it, less.

        While it is too much, the field steps down that loses least likelihood for the bytes.

        Raises:
            InputError: When the smallest widths take more.
        """
        likely = self.logits.detach().log_softmax(dim=1).tolist()
        # Of equals the widest.
        chosen = [max(range(len(row)), key=lambda place: (row[place], place)) for row in likely]

        def size(places: Sequence[int]) -> int:
            with torch.device("meta"):
                widths = [self.widths[place] for place in places]
                return of_widths(self.fields, widths, self.dim).nbytes

        while (taken := size(chosen)) > budget:
            # Past widths that save nothing: with its projection, one may take what all of it does.
            steps = [
                [[*chosen[:field], place, *chosen[field + 1 :]] for place in reversed(range(own))]
                for field, own in enumerate(chosen)
            ]
            saving = [
                one
                for lower in steps
                if (one := next((one for one in lower if size(one) < taken), None)) is not None
            ]
            if not saving:
                raise below_floor(type(self).__name__, budget, taken, self.n, self.dim)
            held = sum(row[place] for row, place in zip(likely, chosen, strict=True))

            def loss(places: Sequence[int], held: float = held, taken: int = taken) -> float:
                now = sum(row[place] for row, place in zip(likely, places, strict=True))
                return (held - now) / (taken - size(places))

            chosen = min(saving, key=loss)
        return [self.widths[place] for place in chosen]
