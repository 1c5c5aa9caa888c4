"""Whether two encoders find the same texts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from isometry.geometry.neighbors import top_k


def agreement(
    teacher: tuple[Float[np.ndarray, "queries width"], Float[np.ndarray, "texts width"]],
    student: tuple[Float[np.ndarray, "queries dim"], Float[np.ndarray, "texts dim"]],
    depth: int = 10,
) -> float:
    """The share of what the teacher finds first that the student finds first, too.

    Args:
        teacher: Its unit vectors of texts that search, and of texts that are searched.
        student: The same of the student, which may have other dimensions.
        depth: How many of the first are compared.
    """
    depth = min(depth, len(teacher[1]))
    found = [top_k(asking, among, depth)[1].tolist() for asking, among in (teacher, student)]
    both = [len(set(one) & set(other)) for one, other in zip(*found, strict=True)]
    return float(np.mean(both)) / depth
