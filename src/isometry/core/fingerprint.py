"""A hash of any plain Python value by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any, cast

import numpy as np


def fingerprint(value: Any) -> str:
    """The sha256 of a value: of what it holds, not of where it lies in memory.

    Args:
        value: Numbers, strings, bytes, None, arrays, dataclasses, mappings, sequences and sets of
            these. A mapping's and a set's order does not count.

    Raises:
        TypeError: For anything else, whose content cannot be known.
    """
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    # Each value is preceded by its kind and size, so that no two values give the same bytes.
    if isinstance(value, np.generic):
        # Before numbers: a NumPy float is a float, too, and writes itself otherwise.
        _update(digest, value.item())
    elif value is None or isinstance(value, bool | int | float):
        digest.update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, str | bytes):
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        digest.update(f"{type(value).__name__}:{len(data)}:".encode() + data)
    elif isinstance(value, np.ndarray):
        array = cast("np.ndarray[Any, np.dtype[Any]]", value)
        digest.update(f"array:{array.dtype.str}:{array.shape}:".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    elif is_dataclass(value) and not isinstance(value, type):
        digest.update(f"dataclass:{type(value).__qualname__}:".encode())
        _update(digest, {field.name: getattr(value, field.name) for field in fields(value)})
    elif isinstance(value, Mapping):
        _unordered(digest, "mapping", list(cast("Mapping[Any, Any]", value).items()))
    elif isinstance(value, Set):
        _unordered(digest, "set", list(cast("Set[Any]", value)))
    elif isinstance(value, Sequence):
        items = cast("Sequence[Any]", value)
        digest.update(f"sequence:{len(items)}:".encode())
        for item in items:
            _update(digest, item)
    else:
        raise TypeError(f"the content of a {type(value).__name__} cannot be hashed")


def _unordered(digest: Any, kind: str, items: list[Any]) -> None:
    digest.update(f"{kind}:{len(items)}:".encode())
    for inner in sorted(fingerprint(item) for item in items):
        digest.update(inner.encode())
