from __future__ import annotations

import pytest

from isometry.core.progress import progress_shown
from isometry.corpora.concept_vocabulary import ConceptVocabulary, frequent_concepts
from isometry.corpora.pairs.related_glosses import Gloss, GlossPair, glosses_of
from isometry.corpora.readers.concepts import Concepts, ConceptText, Edge


def test_concepts_are_frequent_and_those_of_the_same_glosses_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gloss(*above: str) -> Gloss:
        return Gloss("text", (f"own{len(above)}", *above))

    names = ("big", "low", "high", "rare", "other")
    texts = [ConceptText(key, "en", "name", "x" if key == "low" else key) for key in names]
    texts += [ConceptText("low", "en", "definition", "a gloss")]
    texts += [ConceptText(f"noun.{name}", "en", "name", name) for name in ("x", "empty")]
    edges = [Edge("a", "category", "noun.x"), Edge("b", "category", "noun.empty")]
    # "low" and "high" have the same glosses, and "big" has all.
    pairs = [
        GlossPair(gloss("low", "high", "big", "noun.x"), gloss("low", "high", "big", "noun.x")),
        GlossPair(gloss("other", "big", "noun.x"), gloss("rare", "other", "big", "noun.x")),
    ]
    concepts = Concepts(texts, edges)
    with progress_shown(True):
        found = frequent_concepts(concepts, pairs, count=9, least=2, most=0.5)
    assert found.keys == ("noun.x", "low", "other")
    assert "No training gloss falls under noun.empty" in " ".join(capsys.readouterr().err.split())
    assert found.names == ("x (noun.x)", "x (low)", "other")
    assert found.texts == ("x", "x; a gloss", "other")
    assert found.tags(pairs[0].query) == (0, 1)
    assert found.marks(glosses_of(pairs)).tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 1]]
    # The synset itself is no concept above it.
    assert ConceptVocabulary(("a",), ("a",), ("a",)).tags(Gloss("text", ("a", "b"))) == ()
    # Of those that are left, the most frequent ones, and in a tie the first by name.
    one = frequent_concepts(concepts, pairs, count=1, least=1, most=1.0)
    assert one.keys == ("noun.x", "big")
