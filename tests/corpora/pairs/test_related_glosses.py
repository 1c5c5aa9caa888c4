from __future__ import annotations

from isometry.corpora.pairs.related_glosses import glosses_of, related_glosses
from isometry.corpora.readers.concepts import Concepts, ConceptText, Edge


def small_concepts() -> Concepts:
    """A tree: thing over a, b, c; a over a1 to a4; two synsets with one gloss, one alone."""
    up = {"a": "thing", "b": "thing", "c": "thing", "a1": "a", "a2": "a", "a3": "a", "a4": "a"}
    texts = [ConceptText(f"{key}-n", "en", "name", key) for key in ("thing", *up)]
    texts += [
        ConceptText(f"{key}-n", "en", "definition", "the same" if key in "bc" else f"gloss {key}")
        for key in ("thing", *up)
    ]
    texts += [ConceptText("run-v", "en", "definition", "to run")]
    edges = [Edge(f"{key}-n", "is_a", f"{parent}-n") for key, parent in up.items()]
    edges += [Edge(f"{parent}-n", "hyponym", f"{key}-n") for key, parent in up.items()]
    edges += [Edge(f"{key}-n", "category", "noun.a") for key in ("thing", *up)]
    edges += [Edge("a1-n", "part_of", "thing-n"), Edge("a1-n", "derivation", "run-v")]
    return Concepts([*texts, ConceptText("noun.a", "en", "name", "a")], edges)


def test_a_pair_is_linked_by_a_pointer_that_leads_neither_up_nor_down_else_siblings() -> None:
    pairs = related_glosses(small_concepts(), 9)
    found = {frozenset((pair.query.above[0], pair.document.above[0])) for pair in pairs}
    # Of the other three siblings, one has no partner left; b and c have one gloss, so a has none.
    assert frozenset(("a1-n", "thing-n")) in found
    (other,) = found - {frozenset(("a1-n", "thing-n"))}
    assert other < {"a2-n", "a3-n", "a4-n"}
    above = {gloss.above[0]: gloss.above for gloss in glosses_of(pairs)}
    assert above["a1-n"] == ("a1-n", "a-n", "thing-n", "noun.a")
    assert above["thing-n"] == ("thing-n", "noun.a")


def test_pairs_do_not_depend_on_the_order_of_the_source() -> None:
    concepts = small_concepts()
    turned = Concepts(concepts.texts[::-1], concepts.edges[::-1])
    assert related_glosses(turned, 9) == related_glosses(concepts, 9)
    assert related_glosses(concepts, 1) == related_glosses(concepts, 9)[:1]
