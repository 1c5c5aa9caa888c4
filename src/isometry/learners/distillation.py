"""A student that learns what a teacher made of the same texts, without the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from isometry.encoders.text import Role
from isometry.learners.learner import Learner, Losses


@runtime_checkable
class Student(Protocol):
    """What can be distilled into: `TextEncoder`, `StaticEncoder`, or one with a head on it."""

    def collate(self, texts: Sequence[str], role: Role, *, tokens: int | None = None) -> Any:
        """Raw texts -> tensors by name, on the CPU."""
        ...

    def __call__(self, batch: Any) -> Any:
        """A batch -> something whose `vector` is [n, d]."""
        ...


@dataclass(frozen=True, slots=True)
class DistillationRow:
    """One text.

    Attributes:
        text: Without a prompt.
        target: The row of the targets that holds what the teacher made of it.
        role: Whose prompt the student puts before it.
    """

    text: str
    target: int
    role: Role = "document"


class Distillation(Learner):
    """Pulls a student's vectors, or class scores, to a teacher's stored ones.

    The teacher ran once, before: its vectors lie in a `VectorTable`, or come from a
    `CachedEncoder`. No row contrasts with another, so a batch may hold texts of one length, which
    need no padding.

    As in `TwoTowers`, dropout stays off.

    Args:
        student: A module; trained in place.
        targets: What the teacher made of the texts: one row each, of the student's width.
        objective: Takes (student, teacher): `FeatureDistillation` for vectors,
            `KnowledgeDistillation` for class scores.
        tokens: Where the student's texts are cut; at its own limit when not given.

    Raises:
        ValueError: When a target is not finite, which would spoil all weights in one step.
    """

    def __init__(
        self,
        student: Student,
        targets: Float[np.ndarray, "texts d"],
        objective: nn.Module,
        *,
        tokens: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(student, nn.Module):
            raise TypeError("the student is no module: there is nothing to train")
        broken = ~np.isfinite(targets).all(axis=1)
        if broken.any():
            raise ValueError(f"target {int(broken.argmax())} has values that are not finite")
        self.student = student
        self.targets = targets
        self.objective = objective
        self.tokens = tokens
        self.student.eval()

    def train(self, mode: bool = True) -> Distillation:
        """Sets the mode of all parts but the student, which stays without dropout."""
        super().train(mode)
        self.student.eval()
        return self

    def collate(self, rows: Sequence[DistillationRow]) -> dict[str, Any]:
        """Rows -> for each role that occurs, the student's tensors and the teacher's vectors."""
        parts: dict[str, Any] = {}
        for role in ("query", "document"):
            own = [row for row in rows if row.role == role]
            if own:
                texts = [row.text for row in own]
                parts[role] = self.student.collate(texts, role, tokens=self.tokens)
                stored = self.targets[[row.target for row in own]]
                parts[f"{role} target"] = torch.from_numpy(np.asarray(stored, dtype=np.float32))
        return parts

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The objective on this batch, in float32 whatever the student computes in.

        Raises:
            ValueError: When the student's vectors and the targets differ in length.
        """
        roles = [role for role in ("query", "document") if role in batch]
        student = torch.cat([self._vectors(batch[role]) for role in roles])
        teacher = torch.cat([batch[f"{role} target"] for role in roles]).to(student.device)
        if student.shape != teacher.shape:
            raise ValueError(
                f"the student makes vectors of {student.shape[1]}, the teacher made"
                f" {teacher.shape[1]}: project one of them first"
            )
        with torch.autocast(student.device.type, enabled=False):
            return {"loss": self.objective(student, teacher)}

    def _vectors(self, batch: Mapping[str, Any]) -> Float[Tensor, "n d"]:
        return self.student(batch).vector.float()
