from __future__ import annotations

import numpy as np

from isometry.serving.cache import VectorCache


def key(text: str = "a", **other: object) -> bytes:
    given = {"model": "m", "role": "query", "precision": "float32", "truncate": False, **other}
    return VectorCache.key(**given, text=text)  # type: ignore[arg-type]


def vector(value: float) -> np.ndarray:
    return np.full(100, value, dtype=np.float32)


def test_a_key_tells_all_apart_that_decides_a_vector() -> None:
    keys = {
        key(),
        key("b"),
        key("a "),
        key("é"),
        key("e\u0301"),
        key(role="document"),
        key(model="n"),
        key(precision="bfloat16"),
        key(truncate=True),
        key([97]),  # type: ignore[arg-type]
        key([9, 7]),  # type: ignore[arg-type]
        key("query\0a"),
    }
    assert len(keys) == 12
    assert key() == key()
    assert key("\ud800") != key("?")


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = VectorCache(3 * 720)
    for text in "abc":
        cache.put(key(text), vector(ord(text)), 5)
    assert cache.get(key("a")) is not None
    cache.put(key("d"), vector(4), 5)
    assert cache.get(key("b")) is None
    found = cache.get(key("a"))
    assert found is not None
    assert (found[0].tolist(), found[1]) == ([97.0] * 100, 5)
    assert len(cache) == 3
    assert cache.bytes <= 3 * 720


def test_bytes_are_those_of_what_is_kept_and_batches_are_let_go() -> None:
    cache = VectorCache(10**6)
    batch = np.zeros((1000, 100), dtype=np.float32)
    cache.put(key(), batch[3], 1)
    cache.put(key(), batch[4], 1)
    assert cache.bytes == 720
    kept = cache.get(key())
    assert kept is not None
    assert kept[0].base is None
    batch[4] = 7
    assert not kept[0].any()


def test_nothing_is_kept_without_room() -> None:
    cache = VectorCache(0)
    cache.put(key(), vector(1), 1)
    assert (len(cache), cache.bytes, cache.get(key())) == (0, 0, None)
