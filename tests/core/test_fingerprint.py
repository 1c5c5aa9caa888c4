from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from isometry.core.fingerprint import fingerprint


@dataclass(frozen=True)
class Row:
    text: str
    size: int


@dataclass(frozen=True)
class Other:
    text: str
    size: int


def test_equal_contents_have_one_fingerprint() -> None:
    assert fingerprint([Row("a", 1)]) == fingerprint((Row("a", 1),))
    assert fingerprint({"a": 1, "b": {2, 3}}) == fingerprint({"b": {3, 2}, "a": 1})
    big = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert fingerprint(big.T.copy()) == fingerprint(big.T)
    assert fingerprint(np.float64(1.5)) == fingerprint(1.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        ([["a"], "b"], ["a", ["b"]]),
        (1, "1"),
        (1, 1.0),
        (True, 1),
        (None, "None"),
        ("a", b"a"),
        ([1, 2], [2, 1]),
        ({"a": 1}, [("a", 1)]),
        (Row("a", 1), Other("a", 1)),
        (Row("a", 1), Row("a", 2)),
        (np.zeros(2, np.float32), np.zeros(2, np.float64)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ({"a": ["b"], "c": []}, {"a": [], "c": ["b"]}),
    ],
)
def test_other_contents_have_another(one: object, other: object) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_what_cannot_be_known_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        fingerprint([object()])
    with pytest.raises(TypeError, match="type"):
        fingerprint(Row)
