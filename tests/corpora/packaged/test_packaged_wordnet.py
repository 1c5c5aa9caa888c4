from __future__ import annotations

from collections import Counter

from isometry.corpora.packaged.wordnet import wordnet, wordnet_synsets


def test_all_of_wordnet_3_1_and_its_files() -> None:
    concepts = wordnet()
    named = concepts.by_concept("name")
    kinds = Counter(key[-2:] if key[0].isdigit() else "file" for key in named)
    # wnstats(7WN) of 3.0, and the few synsets that 3.1 has more or fewer.
    assert kinds["file"] == 45
    assert 82_000 < kinds["-n"] < 82_300 and 13_700 < kinds["-v"] < 13_900
    assert named["noun.animal"] == ["animal"]
    assert {"is_a", "part_of", "category"} <= {edge.relation for edge in concepts.edges}


def test_synsets_are_the_concepts_that_are_no_file() -> None:
    synsets = wordnet_synsets()
    named = wordnet().by_concept("name")
    assert {each.key for each in synsets} == {key for key in named if key[0].isdigit()}
