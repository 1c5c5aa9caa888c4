"""Contrasts over big batches in the memory of small ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from isometry.learners.learner import Learner, Losses
from isometry.learners.two_towers import PairRow, TwoTowers


class CachedStep(Learner):
    """A bi-encoder whose activations are held for one chunk of texts at a time.

    Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"
    (GradCache), section 3.2, for any objective: chunks are encoded without keeping activations,
    the loss and the gradients of all vectors are computed, and every chunk is encoded again for
    the gradients of the weights. That is gradient checkpointing whose segments are chunks of the
    batch, so `loss()["loss"].backward()` does it all, and the gradients are those of the plain
    step. It takes one forward pass more.

    Both passes of a chunk must give the same vectors. `TwoTowers` encodes without dropout, so no
    random state is kept, and an encoder in training mode is refused.

    Args:
        learner: What is trained, in place.
        chunk: The most texts that are encoded at once.

    Raises:
        ValueError: When `chunk` is below 1, or at a loss, when the encoder is in training mode.

    Example:
        >>> Trainer(CachedStep(towers, chunk=32), batches, folder, learning_rate=2e-5).run()
    """

    def __init__(self, learner: TwoTowers, chunk: int) -> None:
        super().__init__()
        if chunk < 1:
            raise ValueError(f"a chunk needs at least one text, not {chunk}")
        self.learner = learner
        self.chunk = chunk

    def collate(self, rows: Sequence[PairRow]) -> dict[str, Any]:
        """What the learner makes of the rows."""
        return self.learner.collate(rows)

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The learner's loss on the whole batch."""
        if any(part.training for part in self.learner.encoder.modules()):
            raise ValueError(
                "the encoder is in training mode: with dropout a chunk's second pass differs"
            )
        sides = ("query", "document", "negatives")
        vectors = {side: self._vectors(batch[side]) for side in sides if side in batch}
        return self.learner.contrast(vectors, batch["same"])

    def _vectors(self, batch: Mapping[str, Any]) -> Float[Tensor, "layers n d"]:
        """The vectors of a padded batch, in float32; only they are kept for the backward pass."""
        mask = batch["attention_mask"]
        # Texts of like length share a chunk, so that little of it is padding.
        order = mask.sum(dim=1).argsort(stable=True)
        chunks: list[Tensor] = []
        for rows in order.split(self.chunk):
            part = {
                name: value[rows]
                if isinstance(value, Tensor) and value.shape[:1] == mask.shape[:1]
                else value
                for name, value in batch.items()
            }
            chunks.append(
                checkpoint(self._encode, part, use_reentrant=False, preserve_rng_state=False)
            )
        return torch.cat(chunks, dim=1)[:, order.argsort()]

    def _encode(self, part: Mapping[str, Any]) -> Float[Tensor, "layers n d"]:
        return self.learner.vectors(part).float()


def gather_with_gradient(tensor: Float[Tensor, "n d"]) -> Float[Tensor, "m d"]:
    """The rows of all processes, by rank; gradients flow back to the process that each came from.

    A contrast over the gathered vectors is that of the joined batch. A row's gradient is the sum
    of what all processes have for it, so where each computes the loss of the joined batch, the
    mean of the weights' gradients over the processes, which `DistributedDataParallel` takes, is
    that of one process with the joined batch.

    Without a process group these are the rows themselves.

    Args:
        tensor: As many rows in every process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # pyright: ignore[reportAssignmentType]
    return gathered


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
