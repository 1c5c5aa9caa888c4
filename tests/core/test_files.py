from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_folder, hash_value, read_json
from isometry.core.writing import write_json


def test_json_comes_back_in_any_script_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"naïve 🙂": [1, 2.5, None, True], "path": tmp_path}
    write_json(path, value)
    assert read_json(path) == {**value, "path": str(tmp_path)}
    assert "naïve 🙂" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    assert read_json(path)["path"] == str(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{'a': 1}"])
def test_what_is_no_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "value.json"
    with pytest.raises(InputError, match="There is no file"):
        read_json(path)
    path.write_bytes(content)
    with pytest.raises(InputError, match="Cannot read") as caught:
        read_json(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(InputError, match="Cannot read"):
        read_json(tmp_path)


def test_hashes_are_sha256_and_name_every_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "inner").write_bytes(b"x" * 200_000)
    (tmp_path / "a").write_bytes(b"")
    expected = {
        "a": hashlib.sha256(b"").hexdigest(),
        "b/inner": hashlib.sha256(b"x" * 200_000).hexdigest(),
    }
    assert hash_folder(tmp_path) == expected and list(hash_folder(tmp_path)) == ["a", "b/inner"]
    assert hash_file(tmp_path / "a") == expected["a"]


def test_the_hash_of_a_value_knows_content_but_not_the_order_of_names() -> None:
    one = hash_value({"a": [1, "é"], "b": None})
    assert one == hash_value({"b": None, "a": [1, "é"]})
    others = ({"a": ["é", 1], "b": None}, {"a": [1, "e"], "b": None}, {"a": [1, "é"]})
    assert one not in {hash_value(other) for other in others}
    assert hash_value(Path("x")) == hash_value("x")


def test_json_keeps_numbers_of_numpy_as_numbers(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32(0.5), "p": tmp_path})
    assert read_json(tmp_path / "a.json") == {"n": 3, "x": 0.5, "p": str(tmp_path)}
