from __future__ import annotations

import pytest

from isometry.core.errors import InputError
from isometry.corpora.pairs.antonyms import AntonymTriplet, antonym_triplets
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import Synset, open_wordnet


@pytest.fixture(scope="module")
def synsets() -> list[Synset]:
    return list(open_wordnet("", name="wordnet:", limit=None).synsets(ReadingReport()))


@pytest.fixture(scope="module")
def triplets(synsets: list[Synset]) -> list[AntonymTriplet]:
    return antonym_triplets(synsets)


def test_similar_ones_and_antonyms_are_those_of_wordnet(
    synsets: list[Synset], triplets: list[AntonymTriplet]
) -> None:
    by_key = {synset.key: synset for synset in synsets}
    for each in triplets:
        key, near, far = each.keys
        pointers = by_key[key].pointers
        assert ("&", near) in pointers and ("!", far) in pointers and key.endswith("-a")
        for text, own in zip((each.text, each.similar, each.antonym), each.keys, strict=True):
            assert by_key[own].gloss.startswith(text) and '"' not in text.partition("; ")[2][:1]
        assert len({each.text, each.similar, each.antonym}) == 3
    # One for each that has both; some share their definition with another.
    assert 2300 < len(triplets) <= 2504
    known = {by_key[each.keys[0]].lemmas[0]: by_key[each.keys[2]].lemmas[0] for each in triplets}
    assert known["nascent"] == "dying" and known["abridged"] == "unabridged"


def test_what_is_linked_has_one_group(triplets: list[AntonymTriplet]) -> None:
    group: dict[str, str] = {}
    for each in triplets:
        for key in each.keys:
            assert group.setdefault(key, each.group) == each.group
    by_key = {each.keys[0]: each for each in triplets}
    assert any(each.keys[2] in by_key for each in triplets)
    assert len({each.group for each in triplets}) > 1000


def by_hand(*edges: tuple[str, str, str], **said: str) -> list[Synset]:
    return [
        Synset(
            f"{name}-a", 0, (name,), text,
            tuple((symbol, f"{far}-a") for own, symbol, far in edges if own == name), name,
        )
        for name, text in said.items()
    ]  # fmt: skip


EDGES = (("hot", "&", "warm"), ("hot", "!", "cold"), ("cold", "!", "hot"), ("cold", "&", "icy"),
         ("wet", "!", "dry"))  # fmt: skip
SAID = {"hot": 'of heat; "hot tea"', "warm": "of some heat", "cold": "of no heat",
        "icy": "of ice", "wet": "of water", "dry": "of no water"}  # fmt: skip


def test_one_without_a_similar_one_makes_none_and_a_shared_definition_is_not_used() -> None:
    made = antonym_triplets(by_hand(*EDGES, **SAID))
    assert {each.keys for each in made} == {
        ("hot-a", "warm-a", "cold-a"), ("cold-a", "icy-a", "hot-a"),
    }  # fmt: skip
    assert {each.group for each in made} == {"hot-a"}
    assert {each.text for each in made} == {"of heat", "of no heat"}
    (left,) = antonym_triplets(by_hand(*EDGES, **{**SAID, "icy": "Of  water"}))
    assert left.keys[0] == "hot-a"


def test_the_order_depends_on_keys_alone() -> None:
    there = antonym_triplets(by_hand(*EDGES, **SAID))
    back = antonym_triplets(by_hand(*EDGES[::-1], **dict(reversed(SAID.items()))))
    assert [each.keys for each in there] == [each.keys for each in back]


def test_a_dictionary_without_antonyms_is_refused() -> None:
    with pytest.raises(InputError, match="No adjective has both"):
        antonym_triplets(by_hand(EDGES[0], **SAID))
