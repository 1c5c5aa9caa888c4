from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.corpora.packaged.word_pairs import word_pairs


def test_simlex_is_all_there() -> None:
    pairs = word_pairs("simlex-999")
    assert len(pairs.first) == len(pairs.second) == len(pairs.gold) == 999
    assert (pairs.first[0], pairs.second[0], pairs.gold[0]) == ("old", "new", 1.58)
    assert (pairs.first[-1], pairs.second[-1], pairs.gold[-1]) == ("attend", "arrive", 6.08)
    words = {*pairs.first, *pairs.second}
    assert len(words) == 1028 and all(word.isalpha() and word.islower() for word in words)
    # The collection's own range; opposites score low.
    assert (pairs.gold.min(), pairs.gold.max()) == (0.23, 9.8)
    found = dict(zip(zip(pairs.first, pairs.second, strict=True), pairs.gold, strict=True))
    assert found["hard", "easy"] == 0.95 < found["hard", "difficult"] == 8.77


def test_wordsim_is_all_there() -> None:
    pairs = word_pairs("wordsim-353")
    assert len(pairs.first) == len(pairs.second) == len(pairs.gold) == 353
    assert (pairs.first[0], pairs.second[0], pairs.gold[0]) == ("love", "sex", 6.77)
    assert (pairs.first[2], pairs.second[2], pairs.gold[2]) == ("tiger", "tiger", 10)
    assert len({*pairs.first, *pairs.second}) == 437
    # Names keep their capitals.
    assert {"OPEC", "Jerusalem", "CD"} < {*pairs.first, *pairs.second}
    both = zip(pairs.first, pairs.second, strict=True)
    twice = {pair for pair, times in Counter(frozenset(each) for each in both).items() if times > 1}
    assert twice == {frozenset({"money", "bank"}), frozenset({"money", "cash"})}
    assert pairs.gold.dtype == np.float64 and pairs.gold.mean() == pytest.approx(5.85586, abs=1e-5)


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gensim" / "gensim" / "test" / "test_data"
    folder.mkdir(parents=True)
    monkeypatch.setenv("ISOMETRY_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"simlex999\.txt of the package 'gensim'") as caught:
        word_pairs("simlex-999")
    assert caught.value.hint.endswith("fetch_data.py gensim")
    (folder / "simlex999.txt").write_text("# Word 1\tWord 2\tHuman (mean)\nold\tnew\n")
    with pytest.raises(InputError, match="cannot be read as word pairs"):
        word_pairs("simlex-999")


def test_an_unknown_collection_is_refused() -> None:
    unknown: Any = "simlex"
    with pytest.raises(ValueError, match="no word pairs 'simlex'"):
        word_pairs(unknown)
