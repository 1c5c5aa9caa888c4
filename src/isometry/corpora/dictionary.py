"""A dictionary as entries with their definitions, and definitions held out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.corpora.curation.dedup import normalize, says
from isometry.corpora.readers.concepts import Concepts


@dataclass(frozen=True)
class HeldOut:
    """What is left to learn from, and what is asked.

    Attributes:
        kept: Entries with the definitions that are left of each.
        answers: Definitions that no entry has among those, in random order, with the entries that
            each of them defines.
    """

    kept: dict[str, list[str]]
    answers: dict[str, tuple[str, ...]]


def gather(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Entries with all their definitions, in the order in which they come.

    Entries that differ in case or spaces only are one, under its folded form; a definition that an
    entry has already is not added.

    Args:
        rows: Entry and definition.

    Raises:
        InputError: When an entry or its definition is blank, or there are fewer than two entries.
    """
    found: dict[str, dict[str, str]] = {}
    for entry, definition in rows:
        if not (entry.strip() and definition.strip()):
            blank = f"The entry '{entry}' has no definition." if entry.strip() else "No entry."
            raise InputError(blank, "Leave its row out.")
        found.setdefault(normalize(entry), {}).setdefault(normalize(definition), definition)
    if len(found) < 2:
        raise InputError(f"There is nothing to tell apart: {len(found)} entry.")
    return {entry: list(own.values()) for entry, own in found.items()}


def hold_out(senses: Mapping[str, Sequence[str]]) -> HeldOut:
    """Holds one definition of every entry out, at random.

    A definition that is held out is left to no entry, however many synonyms it defines; they all
    answer it. One that has an entry's own words in it is not asked, and an entry without another
    definition is left out.

    Args:
        senses: What `gather` gives.
    """
    held = {
        normalize(definition): definition
        for definition in (min(own, key=hash_value) for own in senses.values())
    }
    kept = {
        entry: left
        for entry, own in senses.items()
        if (left := [text for text in own if normalize(text) not in held])
    }
    answers: dict[str, list[str]] = {}
    for entry in kept:
        for definition in senses[entry]:
            if (text := held.get(normalize(definition))) is not None:
                answers.setdefault(text, []).append(entry)
    fair = [
        definition
        for definition, own in answers.items()
        if not any(says(definition, entry) for entry in own)
    ]
    return HeldOut(kept, {text: tuple(answers[text]) for text in sorted(fair, key=hash_value)})


def definition_files(concepts: Concepts, part: str) -> dict[str, str]:
    """The lexicographer file of each definition, such as "noun.animal".

    Args:
        concepts: WordNet.
        part: The part of speech, as keys end in it: "n". Other parts have definitions in common
            with it, in files of their own.
    """
    texts = concepts.by_concept("definition")
    return {
        texts[key][0]: file
        for key, file in concepts.pairs("category")
        if key in texts and key.endswith(f"-{part}")
    }
