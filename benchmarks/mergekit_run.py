"""One merge by mergekit, for `benchmarks/merge.py`; runs under the Python that has mergekit.

    PYTHON benchmarks/mergekit_run.py SETTINGS.json OUT

The settings are mergekit's own configuration, and `masks` (drop, seed) where its random masks are
to be those of Isometry. Prints the seconds of the merge alone, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any


def allow_aliases() -> None:
    """Lets mergekit 0.1.5 plan a BERT: it adds a tuple of names to a list, which raises."""
    from mergekit.plan import MergePlanner

    class Aliases(tuple[str, ...]):
        def __radd__(self, other: list[str]) -> list[str]:
            return [*other, *self]

    whole = MergePlanner.plan_tensor

    def plan_tensor(self: Any, weight: Any, weights_in: Any, *others: Any, **more: Any) -> None:
        dressed = [
            own.model_copy(update={"aliases": Aliases(own.aliases or ())}) for own in weights_in
        ]
        whole(self, weight, dressed, *others, **more)

    MergePlanner.plan_tensor = plan_tensor


def inject_masks(drop: float, seed: int) -> None:
    """Puts the masks that `isometry.merging.dare` draws in place of mergekit's own."""
    import torch
    from mergekit import sparsify
    from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge

    at: dict[str, Any] = {}
    whole = GeneralizedTaskArithmeticMerge.merge_group

    def merge_group(self: Any, group: Any, /, **parameters: Any) -> torch.Tensor:
        at.update(name=group.metadata.name, model=0)
        return whole(self, group, **parameters)

    def bernoulli(tensor: torch.Tensor, density: float, rescale_norm: Any = None) -> torch.Tensor:
        digest = hashlib.sha256(f"{seed}/{at['model']}/{at['name']}".encode()).digest()
        at["model"] += 1
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        mask = torch.rand(tensor.shape, generator=generator) >= drop
        return sparsify.rescaled_masked_tensor(tensor, mask.to(tensor.dtype), rescale_norm)

    GeneralizedTaskArithmeticMerge.merge_group = merge_group
    sparsify.bernoulli = bernoulli


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    masks = settings.pop("masks", None)
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    allow_aliases()
    if masks is not None:
        inject_masks(**masks)
    configuration = MergeConfiguration.model_validate(settings)
    start = time.perf_counter()
    run_merge(configuration, sys.argv[2], options=MergeOptions(quiet=True, copy_tokenizer=False))
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
