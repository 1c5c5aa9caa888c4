"""Vectors of texts that were asked for before."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
from jaxtyping import Float

# What an entry takes beside its vector: the key, the array's head, its place in the order.
_OVERHEAD = 320


class VectorCache:
    """The vectors that were used last, bounded in bytes; for one thread.

    Args:
        most_bytes: For all entries together; 0 keeps nothing.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._entries: OrderedDict[bytes, tuple[Float[np.ndarray, " dim"], int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @staticmethod
    def key(model: str, role: str, precision: str, truncate: bool, text: str | list[int]) -> bytes:
        """What a vector depends on, and whether it may be asked for in that way.

        Args:
            model: The fingerprint.
            role: Whose prompt the text gets.
            precision: Of the products.
            truncate: Whether a text that is too long is cut.
            text: The text itself, or its tokens.
        """
        if isinstance(text, str):
            kind, content = "text", text.encode("utf-8", "surrogatepass")
        else:
            kind, content = "ids", np.array(text, dtype=np.int64).tobytes()
        head = "\0".join((model, role, precision, str(truncate), kind, ""))
        return hashlib.sha256(head.encode() + content).digest()

    def get(self, key: bytes) -> tuple[Float[np.ndarray, " dim"], int] | None:
        """A vector and the number of its text's tokens."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, vector: Float[np.ndarray, " dim"], tokens: int) -> None:
        """Keeps a vector; those that were not used for longest make room."""
        size = vector.nbytes + _OVERHEAD
        if size > self._most:
            return
        if key not in self._entries:
            self.bytes += size
        # A copy: a row of a batch would keep the whole batch.
        self._entries[key] = (vector.copy(), tokens)
        self._entries.move_to_end(key)
        while self.bytes > self._most:
            _, (dropped, _) = self._entries.popitem(last=False)
            self.bytes -= dropped.nbytes + _OVERHEAD
