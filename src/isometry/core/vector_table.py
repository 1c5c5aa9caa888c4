"""A folder of vectors by key, which only ever grows: what an encoder need not compute again."""

# safetensors leaves its file handle and a path parameter untyped.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from isometry.core.errors import InputError
from isometry.core.writing import atomic_file, clear_disk_errors


def text_key(text: str) -> str:
    """The sha256 of a text's UTF-8 bytes, in hexadecimal; any string has one."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


class VectorTable:
    """Vectors by key, in safetensors shards that are only ever added.

    Every shard appears whole or not at all, and names the provenance of its vectors. Several
    processes may add to one folder; each sees what stood there when it opened the table, and what
    it added itself.

    Args:
        folder: Where the shards lie; made with the first one.
        provenance: What made the vectors: the hash of encoder, prompt and settings together.
        dim: The length of every vector.

    Raises:
        InputError: When a shard is damaged, or has another provenance or length.
    """

    def __init__(self, folder: Path, provenance: str, dim: int) -> None:
        self.folder = folder
        self.provenance = provenance
        self.dim = dim
        self._place: dict[bytes, tuple[Path, int]] = {}
        for shard in self._shards():
            self._learn(shard)

    def __len__(self) -> int:
        return len(self._place)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """The positions of the keys that are not there, each key at its first occurrence only."""
        first: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            digest = _digest(key)
            if digest not in self._place:
                first.setdefault(digest, position)
        return list(first.values())

    def add(self, keys: Sequence[str], vectors: Float[np.ndarray, "keys dim"]) -> None:
        """Adds one shard with the vectors whose keys are not there yet.

        Args:
            keys: sha256 digests in hexadecimal, as `text_key` makes them.
            vectors: One a key, in the same order.

        Raises:
            InputError: When a vector has a value that is not finite, or nothing can be written.
            ValueError: When there is not one vector of the table's length for every key.
        """
        if vectors.shape != (len(keys), self.dim):
            raise ValueError(f"{len(keys)} keys x {self.dim} do not fit vectors {vectors.shape}.")
        values = vectors.astype(np.float32, copy=False)
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            raise InputError(
                f"The vector of {keys[int(broken.argmax())]} has values that are not finite.",
                "The encoder overflows on this input; run it in float32.",
            )
        positions = self.missing(keys)
        if not positions:
            return
        digests = b"".join(_digest(keys[position]) for position in positions)
        tensors = {
            "keys": np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32),
            "vectors": np.ascontiguousarray(values[positions]),
        }
        with clear_disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Two processes must not choose the same number: one shard would replace the other.
            with FileLock(self.folder / "lock"):
                number = max((int(shard.stem) for shard in self._shards()), default=0) + 1
                shard = self.folder / f"{number:06}.safetensors"
                with atomic_file(shard) as temporary:
                    save_file(tensors, temporary, metadata={"provenance": self.provenance})
        self._learn(shard)

    def get(self, keys: Sequence[str]) -> Float[np.ndarray, "keys dim"]:
        """The vectors of these keys, in their order.

        Raises:
            KeyError: When a key is not there.
        """
        result = np.empty((len(keys), self.dim), dtype=np.float32)
        wanted: dict[Path, tuple[list[int], list[int]]] = {}
        for position, key in enumerate(keys):
            place = self._place.get(_digest(key))
            if place is None:
                raise KeyError(key)
            positions, rows = wanted.setdefault(place[0], ([], []))
            positions.append(position)
            rows.append(place[1])
        for shard, (positions, rows) in wanted.items():
            with safe_open(shard, framework="numpy") as file:
                result[positions] = file.get_tensor("vectors")[rows]
        return result

    def fill(
        self,
        keys: Sequence[str],
        encode: Callable[[list[int]], Float[np.ndarray, "positions dim"]],
        block: int = 2048,
    ) -> Float[np.ndarray, "keys dim"]:
        """The vectors of these keys; those that are not there are encoded and added first.

        They are added block by block, so a run that is killed loses one block at most.

        Args:
            keys: One for every item.
            encode: From positions in `keys` to the vectors of the items there.
            block: How many items make a shard.

        Raises:
            InputError: As `add` does.
        """
        missing = self.missing(keys)
        for start in range(0, len(missing), block):
            positions = missing[start : start + block]
            self.add([keys[position] for position in positions], encode(positions))
        return self.get(keys)

    def _shards(self) -> list[Path]:
        # By number: a seventh digit would otherwise sort before a sixth.
        return sorted(self.folder.glob("*.safetensors"), key=lambda shard: int(shard.stem))

    def _learn(self, shard: Path) -> None:
        """Notes which keys a shard holds, after checking that it is whole and ours."""
        try:
            with safe_open(shard, framework="numpy") as file:
                provenance = (file.metadata() or {}).get("provenance")
                shape = file.get_slice("vectors").get_shape()
                keys = file.get_tensor("keys")
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{shard} is damaged: {error}.", "Delete this file; its vectors are made again."
            ) from error
        if provenance != self.provenance or shape != [len(keys), self.dim]:
            raise InputError(
                f"{shard} holds vectors of another encoder, prompt or length.",
                "Choose another folder, or delete this one.",
            )
        for row, digest in enumerate(keys):
            self._place.setdefault(digest.tobytes(), (shard, row))


def _digest(key: str) -> bytes:
    digest = bytes.fromhex(key)
    if len(digest) != 32:
        raise ValueError(f"{key!r} is no sha256 in hexadecimal.")
    return digest
