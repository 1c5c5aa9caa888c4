from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.core import vector_table
from isometry.core.errors import InputError
from isometry.core.vector_table import VectorTable, text_key

KEYS = [text_key(f"text {number}") for number in range(40)]
VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@settings(deadline=None)
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_keys_differ_exactly_where_texts_do(one: str, other: str) -> None:
    assert (text_key(one) == text_key(other)) == (one == other)
    assert len(bytes.fromhex(text_key(one))) == 32


def test_a_key_is_the_hash_of_utf8_and_half_a_surrogate_pair_has_one() -> None:
    assert text_key("naïve") == hashlib.sha256("naïve".encode()).hexdigest()
    assert text_key("\ud800") != text_key("\ud801")


def test_vectors_come_back_by_key_whatever_the_order_they_came_in(tmp_path: Path) -> None:
    table = VectorTable(tmp_path / "table", "encoder", 6)
    for part in (slice(20, 40), slice(0, 7), slice(7, 20)):
        table.add(KEYS[part], VECTORS[part])
    order = np.random.default_rng(1).integers(0, 40, size=100)
    wanted = [KEYS[i] for i in order]
    np.testing.assert_array_equal(table.get(wanted), VECTORS[order])
    again = VectorTable(tmp_path / "table", "encoder", 6)
    np.testing.assert_array_equal(again.get(wanted), VECTORS[order])
    assert len(again) == 40 and again.get([]).shape == (0, 6)


def test_missing_names_each_absent_key_once(tmp_path: Path) -> None:
    table = VectorTable(tmp_path, "encoder", 6)
    table.add(KEYS[:2], VECTORS[:2])
    assert table.missing([KEYS[5], KEYS[0], KEYS[6], KEYS[5], KEYS[1]]) == [0, 2]
    with pytest.raises(KeyError, match=KEYS[5]):
        table.get([KEYS[0], KEYS[5]])


def test_what_is_there_is_neither_encoded_nor_stored_again(tmp_path: Path) -> None:
    table = VectorTable(tmp_path, "encoder", 6)
    table.add(KEYS[:10], VECTORS[:10])
    asked: list[list[int]] = []

    def encode(positions: list[int]) -> np.ndarray:
        asked.append(positions)
        return VECTORS[[order[position] for position in positions]]

    order = [3, 12, 12, 11, 0, 13, 11, 14]
    filled = table.fill([KEYS[i] for i in order], encode, block=3)
    np.testing.assert_array_equal(filled, VECTORS[order])
    assert asked == [[1, 3, 5], [7]]
    table.add(KEYS[:5], np.zeros((5, 6)))
    np.testing.assert_array_equal(VectorTable(tmp_path, "encoder", 6).get(KEYS[:5]), VECTORS[:5])
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_a_run_that_is_killed_loses_one_block_at_most(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
import numpy as np
from isometry.core.vector_table import VectorTable, text_key

def encode(positions):
    if 9 in positions:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([[position, 1] for position in positions])

VectorTable(Path(sys.argv[1]), "encoder", 2).fill([text_key(str(i)) for i in range(20)], encode, 4)
"""
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert run.returncode == -signal.SIGKILL
    table = VectorTable(tmp_path, "encoder", 2)
    keys = [text_key(str(number)) for number in range(20)]
    assert table.missing(keys) == list(range(8, 20))
    np.testing.assert_array_equal(table.get(keys[:8])[:, 0], np.arange(8))


def test_a_shard_that_could_not_be_finished_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{")
        raise KeyboardInterrupt

    table = VectorTable(tmp_path, "encoder", 6)
    table.add(KEYS[:5], VECTORS[:5])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vector_table, "save_file", half)
        table.add(KEYS[5:9], VECTORS[5:9])
    for seen in (table, VectorTable(tmp_path, "encoder", 6)):
        assert seen.missing(KEYS[:9]) == [5, 6, 7, 8]


def test_two_writers_do_not_replace_each_others_shards(tmp_path: Path) -> None:
    one, other = VectorTable(tmp_path, "encoder", 6), VectorTable(tmp_path, "encoder", 6)
    for start in range(0, 40, 10):
        one.add(KEYS[start : start + 5], VECTORS[start : start + 5])
        other.add(KEYS[start + 5 : start + 10], VECTORS[start + 5 : start + 10])
    np.testing.assert_array_equal(VectorTable(tmp_path, "encoder", 6).get(KEYS), VECTORS)


def test_shards_are_numbered_beyond_six_digits(tmp_path: Path) -> None:
    table = VectorTable(tmp_path, "encoder", 6)
    table.add(KEYS[:1], VECTORS[:1])
    (tmp_path / "000001.safetensors").rename(tmp_path / "999999.safetensors")
    for number in range(1, 4):
        VectorTable(tmp_path, "encoder", 6).add(KEYS[number : number + 1], VECTORS[[number]])
    np.testing.assert_array_equal(VectorTable(tmp_path, "encoder", 6).get(KEYS[:4]), VECTORS[:4])


@pytest.mark.parametrize(("provenance", "dim"), [("another", 6), ("encoder", 7)])
def test_vectors_of_another_encoder_are_refused(tmp_path: Path, provenance: str, dim: int) -> None:
    VectorTable(tmp_path, "encoder", 6).add(KEYS[:5], VECTORS[:5])
    with pytest.raises(InputError, match=r"000001\.safetensors holds vectors of another"):
        VectorTable(tmp_path, provenance, dim)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_damaged_shard_is_named(tmp_path: Path, size: int) -> None:
    table = VectorTable(tmp_path, "encoder", 6)
    table.add(KEYS[:5], VECTORS[:5])
    table.add(KEYS[5:9], VECTORS[5:9])
    shard = tmp_path / "000002.safetensors"
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(InputError, match=r"000002\.safetensors is damaged") as caught:
        VectorTable(tmp_path, "encoder", 6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_value_that_is_not_finite_is_refused_with_its_key(tmp_path: Path, value: float) -> None:
    table = VectorTable(tmp_path / "table", "encoder", 6)
    vectors = VECTORS[:5].astype(np.float64)
    vectors[3:, 2] = value
    with pytest.raises(InputError, match=KEYS[3]), np.errstate(over="ignore"):
        table.add(KEYS[:5], vectors)
    assert len(table) == 0 and not (tmp_path / "table").exists()


def test_vectors_that_do_not_fit_the_keys_are_refused(tmp_path: Path) -> None:
    table = VectorTable(tmp_path, "encoder", 6)
    for keys, vectors in ((KEYS[:4], VECTORS[:5]), (KEYS[:5], VECTORS[:5, :4])):
        with pytest.raises(ValueError):
            table.add(keys, vectors)
    with pytest.raises(ValueError):
        table.missing(["no key"])
