"""Memory of a process that lives for long: what was freed shall not stay with its allocators."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib import import_module
from typing import Any

_M_ARENA_MAX = -8  # <malloc.h>


def share_one_heap() -> None:
    """Lets all threads of this process, and Arrow, share one heap; call it before they start.

    glibc gives threads heaps of their own, eight a core, and Arrow has another allocator beside
    them. What is freed in one is of no use to the others, so that a process whose threads take
    turns at large tables comes to hold each of them several times. Elsewhere than under glibc only
    Arrow's part is done.
    """
    pa: Any = import_module("pyarrow")
    library = _glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, 1)
    pa.set_memory_pool(pa.system_memory_pool())


def give_back() -> None:
    """Returns to the system what was freed and is kept for the next time; takes milliseconds."""
    pa: Any = sys.modules.get("pyarrow")
    if pa is not None:
        pa.default_memory_pool().release_unused()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
