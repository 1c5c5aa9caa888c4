"""One encoder for several domains, which share all but the feed-forward layers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isometry.core.errors import InputError
from isometry.encoders.text import Batch, Encoded, TextEncoder

# Where the linear maps of a layer's feed-forward part stand: BERT and its kin, and ModernBERT.
_LAYOUTS = (("intermediate.dense", "output.dense"), ("mlp.Wi", "mlp.Wo"))

# The expert of each row, while a batch is computed; each thread has its own.
_assignment: ContextVar[Tensor | None] = ContextVar("assignment", default=None)


class Experts(nn.Module):
    """As many copies of a linear map, one of which each row goes through as a whole.

    Args:
        dense: What is copied.
        count: How many there shall be.
    """

    def __init__(self, dense: nn.Module, count: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(count))

    def forward(self, states: Float[Tensor, "b t w"]) -> Float[Tensor, "b t v"]:
        """Each row through the expert that it is assigned to."""
        assignment = _assignment.get()
        if len(self.experts) == 1:
            return self.experts[0](states)
        if assignment is None:
            raise ValueError(f"which of the {len(self.experts)} experts each row goes to is open")
        present = assignment.unique().tolist()
        if len(present) == 1:
            return self.experts[present[0]](states)
        rows = [(assignment == expert).nonzero()[:, 0] for expert in present]
        parts = [self.experts[e](states[own]) for e, own in zip(present, rows, strict=True)]
        # Back into the order of the batch.
        return torch.cat(parts)[torch.cat(rows).argsort()]


class MixtureOfExperts(TextEncoder):
    """An encoder with a feed-forward part for each domain, and no router.

    A whole text of domain c goes through expert c in every layer, so a token costs what it costs in
    the dense model; attention, norms and embeddings are shared (Hallee et al., "Contrastive
    Learning and Mixture of Experts Enables Precise Vector Embeddings", enforced routing). In the
    beginning all experts are the pretrained one, and whatever the assignment is, vectors are those
    of the dense model. Experts that a batch does not use get no gradient at all, so an optimiser
    leaves them bit by bit as they are. The official code has this for ModernBERT alone.

    It trains as any encoder does, where the batch brings its assignment. What is served or saved is
    the dense encoder of one domain: see `split`.

    Args:
        encoder: It is left as it is, and shares nothing with this.
        experts: How many.
        layers: Which layers get experts, from 0 for the lowest; all when not given.

    Raises:
        InputError: When the layers have no feed-forward part of a known form.
        ValueError: When there is no expert, or no such layer.
    """

    def __init__(
        self, encoder: TextEncoder, experts: int, layers: Collection[int] | None = None
    ) -> None:
        if experts < 1:
            raise ValueError(f"there must be an expert, not {experts}")
        super().__init__(
            copy.deepcopy(encoder.model),
            encoder.name,
            query_prompt=encoder.prompts["query"],
            document_prompt=encoder.prompts["document"],
        )
        stack = super().layers()
        # In a tuple, or its weights would count twice.
        self._stack = (stack,)
        chosen = range(len(stack)) if layers is None else sorted(set(layers))
        if not chosen or chosen[0] < 0 or chosen[-1] >= len(stack):
            raise ValueError(f"of {len(stack)} layers, none or others are chosen: {list(chosen)}")
        for number in chosen:
            for path in _layout(self, stack[number]):
                above, _, name = path.rpartition(".")
                parent = stack[number].get_submodule(above)
                setattr(parent, name, Experts(getattr(parent, name), experts))
        self.experts = experts

    def layers(self) -> nn.ModuleList:
        """The stack of transformer blocks, and never the experts, however many there are."""
        return self._stack[0]

    def forward(self, batch: Batch, assignment: Int[Tensor, " b"] | None = None) -> Encoded:
        """Encodes a batch; gradients flow.

        Args:
            batch: What `collate` made.
            assignment: The expert of each row. Where none is given, the first column of
                `batch["assignment"]`, which is as wide as the tokens, so that whoever takes rows
                out of a batch takes its rows too. One expert alone needs none.

        Raises:
            ValueError: When rows have no expert, or one that there is not.
        """
        batch = dict(batch)
        own = batch.pop("assignment", None)
        if assignment is None and own is not None:
            assignment = own[:, 0]
        if assignment is not None:
            self._check(assignment, len(batch["input_ids"]))
        token = _assignment.set(assignment)
        try:
            return super().forward(batch)
        finally:
            _assignment.reset(token)

    def _check(self, assignment: Tensor, rows: int) -> None:
        whole = not assignment.dtype.is_floating_point and assignment.dtype != torch.bool
        if not whole or assignment.shape != (rows,):
            raise ValueError(
                f"an assignment is {rows} whole numbers, not {tuple(assignment.shape)} of"
                f" {assignment.dtype}"
            )
        if rows and not 0 <= int(assignment.min()) <= int(assignment.max()) < self.experts:
            raise ValueError(f"an expert is assigned that is none of 0 to {self.experts - 1}")

    def split(self, expert: int) -> TextEncoder:
        """The dense encoder of one domain, which is saved and served as any other.

        Args:
            expert: Which one; the others are not copied.

        Raises:
            ValueError: When there is no such expert.
        """
        if not 0 <= expert < self.experts:
            raise ValueError(f"there is no expert {expert} among {self.experts}")
        # The copy finds the expert's own map in place of all of them.
        memo: dict[int, object] = {}
        for part in self._routed():
            memo[id(part)] = copy.deepcopy(part.experts[expert], memo)
        return TextEncoder(
            copy.deepcopy(self.model, memo),
            self.name,
            query_prompt=self.prompts["query"],
            document_prompt=self.prompts["document"],
        )

    def _routed(self) -> Iterator[Experts]:
        return (part for part in self.modules() if isinstance(part, Experts))

    def save(self, folder: Path, *, card: str | None = None) -> None:
        """Refuses: nothing that loads a plain folder would know which expert to take.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "A mixture of experts is no plain model, so it cannot be saved as one.",
            "Save what split gives for each domain.",
        )


def _layout(encoder: TextEncoder, layer: nn.Module) -> tuple[str, ...]:
    names = {name for name, _ in layer.named_modules()}
    for layout in _LAYOUTS:
        if names.issuperset(layout):
            return layout
    paths = {id(part): name for name, part in encoder.model.named_modules()}
    tried = " and ".join(f"{paths[id(layer)]}.{layout[0]}" for layout in _LAYOUTS)
    raise InputError(
        f"The model '{encoder.name}' has no feed-forward part of a known form: no {tried}.",
        "Give one of the BERT family, such as packaged:minilm.",
    )
