"""What computes here: versions and the machine, for records."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from typing import Any


def versions() -> dict[str, str]:
    """What computed all this."""
    names = ("torch", "transformers", "sentence-transformers", "tokenizers", "lancedb", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def machine() -> dict[str, Any]:
    """Where it was computed."""
    import torch

    memory = None
    if sys.platform.startswith("linux"):
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "threads": torch.get_num_threads(),
    }
