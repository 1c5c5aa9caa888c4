"""Dictionaries, thesauri and ontologies in one shape: what concepts are called, and their edges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isometry.core.errors import InputError
from isometry.corpora.readers.obo import obo_terms, quoted
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import WordNet

Kind = Literal["name", "synonym", "broad", "narrow", "related", "definition", "example"]

_QUOTE = re.compile(r'"([^"]*)"?')
_SCOPES: dict[str, Kind] = {
    "EXACT": "synonym",
    "BROAD": "broad",
    "NARROW": "narrow",
    "RELATED": "related",
}
# wninput(5WN), of all parts of speech together.
_RELATIONS = {
    "!": "antonym",
    "@": "is_a",
    "@i": "instance_of",
    "~": "hyponym",
    "~i": "instance",
    "#m": "member_of",
    "#s": "substance_of",
    "#p": "part_of",
    "%m": "has_member",
    "%s": "has_substance",
    "%p": "has_part",
    "=": "attribute",
    "+": "derivation",
    ";c": "topic",
    "-c": "topic_of",
    ";r": "region",
    "-r": "region_of",
    ";u": "usage",
    "-u": "usage_of",
    "*": "entails",
    ">": "causes",
    "^": "see_also",
    "$": "verb_group",
    "&": "similar",
    "<": "participle_of",
    "\\": "pertains_to",
}
# lexnames(5WN); the number of a file is its place.
# fmt: off
_FILES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event",
    "noun.feeling", "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object",
    "noun.person", "noun.phenomenon", "noun.plant", "noun.possession", "noun.process",
    "noun.quantity", "noun.relation", "noun.shape", "noun.state", "noun.substance",
    "noun.time", "verb.body", "verb.change", "verb.cognition", "verb.communication",
    "verb.competition", "verb.consumption", "verb.contact", "verb.creation", "verb.emotion",
    "verb.motion", "verb.perception", "verb.possession", "verb.social", "verb.stative",
    "verb.weather", "adj.ppl",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class ConceptText:
    """Something that is said of a concept.

    Attributes:
        concept: Its key.
        language: As ISO 639-1 has it.
        kind: One name, further names of the same ("synonym") or of something wider, narrower or
            near, a definition, a sentence with the name in it.
        text: The words.
    """

    concept: str
    language: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation, read "source relation target": "dog is_a canine".

    Attributes:
        source: The key of a concept.
        relation: Its name; `is_a` leads up the hierarchy, whatever the source.
        target: The key of another concept.
    """

    source: str
    relation: str
    target: str


@dataclass(frozen=True)
class Concepts:
    """All that a source says, in its order; every end of an edge has a text.

    Attributes:
        texts: What concepts are called and what they mean.
        edges: How they are related.
    """

    texts: list[ConceptText]
    edges: list[Edge]

    def by_concept(self, *kinds: Kind) -> dict[str, list[str]]:
        """The texts of these kinds for every concept that has one."""
        found: dict[str, list[str]] = {}
        for row in self.texts:
            if row.kind in kinds:
                found.setdefault(row.concept, []).append(row.text)
        return found

    def pairs(self, *relations: str) -> list[tuple[str, str]]:
        """The ends of the edges with one of these relations."""
        return [(edge.source, edge.target) for edge in self.edges if edge.relation in relations]


def wordnet_concepts(source: WordNet) -> Concepts:
    """WordNet: synsets and lexicographer files.

    The first lemma is the name, the others are synonyms. A gloss is cut into definition and
    examples. Pointers are edges under names of ours: `@` is `is_a`, `@i` `instance_of`; those from
    word to word hold between synsets. The edge `category` leads to the lexicographer file, whose
    key and name are "noun.animal" and "animal".

    Args:
        source: What `readers.wordnet.open_wordnet` gives; its limit does not count.

    Raises:
        InputError: When there is no synset, or one is in no file that is known.
    """
    texts: list[ConceptText] = []
    edges: list[Edge] = []
    files: dict[int, None] = {}
    report = ReadingReport()
    for synset in source.synsets(report):
        if synset.file >= len(_FILES):
            raise InputError(f"{synset.place}: there is no lexicographer file {synset.file}.")
        files[synset.file] = None
        name, *synonyms = synset.lemmas
        definition, examples = split_gloss(synset.gloss)
        said: dict[Kind, list[str]] = {
            "name": [name],
            "synonym": synonyms,
            "definition": [definition] if definition else [],
            "example": examples,
        }
        texts += _texts(synset.key, "en", said)
        edges.append(Edge(synset.key, "category", _FILES[synset.file]))
        edges += [
            Edge(synset.key, _RELATIONS[symbol], key)
            for symbol, key in synset.pointers
            if symbol in _RELATIONS
        ]
    texts += [
        ConceptText(_FILES[file], "en", "name", _FILES[file].partition(".")[2])
        for file in sorted(files)
    ]
    return _closed(texts, edges, source.name, report.skipped)


def obo_concepts(path: Path, language: str = "en") -> Concepts:
    """An ontology in the OBO format, without what is obsolete.

    Synonyms are told apart by their scope: EXACT ones are "synonym". `is_a` and the relations of
    `relationship` are edges under their own names; those that cross the files of a larger ontology
    are left out.

    Args:
        path: The file.
        language: Of its texts.

    Raises:
        InputError: When there is no term.
    """
    texts: list[ConceptText] = []
    edges: list[Edge] = []
    for term in obo_terms(path):
        if "true" in term.get("is_obsolete", ()) or "id" not in term:
            continue
        key = term["id"][0]
        said: dict[Kind, list[str]] = {"name": term.get("name", [])[:1]}
        for value in term.get("synonym", ()):
            text, marks = quoted(value)
            # Without a scope it is RELATED, says the format.
            scope = next(iter(marks.split()), "")
            said.setdefault(_SCOPES.get(scope, "related"), []).append(text)
        said["definition"] = [quoted(value)[0] for value in term.get("def", ())[:1]]
        texts += _texts(key, language, said)
        edges += [Edge(key, "is_a", value.split()[0]) for value in term.get("is_a", ()) if value]
        for value in term.get("relationship", ()):
            relation, *rest = value.split()
            edges += [Edge(key, relation, rest[0])] if rest else []
    return _closed(texts, edges, path.name, [])


def split_gloss(gloss: str) -> tuple[str, list[str]]:
    """The definition and the examples of a gloss of WordNet: examples are quoted, at its end."""
    definition, mark, rest = gloss.partition('; "')
    if not mark:
        return gloss.strip(), []
    return definition.strip(), [text for found in _QUOTE.findall(f'"{rest}') if (text := found)]


def _texts(concept: str, language: str, said: Mapping[Kind, list[str]]) -> list[ConceptText]:
    return [
        ConceptText(concept, language, kind, text)
        for kind, own in said.items()
        for text in own
        if text
    ]


def _closed(
    texts: list[ConceptText], edges: Iterable[Edge], name: str, skipped: Sequence[object]
) -> Concepts:
    known = {row.concept for row in texts}
    if not known:
        raise InputError(f"{name} holds no concept.", f"{len(skipped)} rows could not be read.")
    return Concepts(
        texts, [edge for edge in edges if edge.source in known and edge.target in known]
    )
