from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.pairs.word_events import HeldEvents, Log, _maps, word_events
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.wordnet import open_wordnet

Events = tuple[Log, HeldEvents, HeldEvents]


@pytest.fixture(scope="module")
def nouns() -> list[Document]:
    return list(open_wordnet("", name="wordnet:", limit=3000).documents(ReadingReport()))


@pytest.fixture(scope="module")
def events(nouns: list[Document]) -> Events:
    return word_events(nouns, definitions=None, least=3, trained=5_000, held=300)


def columns(log: Log, ids: np.ndarray) -> np.ndarray:
    """Ids as they are counted within their fields."""
    return ids - np.cumsum((0, *log.fields[:-1]))


def test_ids_stand_in_their_fields_and_words_are_exchanged_alone(events: Events) -> None:
    log, validation, test = events
    assert len(log.fields) == 6 and log.n == sum(log.fields) == len(log.counts)
    assert int(log.counts.sum()) == log.ids.size
    stand, exchanged = log.ids[log.happened], log.ids[~log.happened]
    assert len(stand) == 5_000 and len(validation.stand) == len(test.stand) == 300
    sides = [(one.stand, one.exchanged) for one in (validation, test)]
    for kept, other in ((stand, exchanged), *sides):
        for ids in (kept, other):
            found = columns(log, ids)
            assert (found >= 0).all() and (found < log.fields).all()
        assert (kept[:, 0] != other[:, 0]).all()
        assert (kept[:, 1:] == other[:, 1:]).all()


def test_what_is_exchanged_is_as_frequent(events: Events) -> None:
    log, _, test = events
    often = np.log1p(log.counts.numpy())
    stand, exchanged = often[test.stand[:, 0]], often[test.exchanged[:, 0]]
    assert abs(np.mean(stand[:, None] > exchanged) + np.mean(stand[:, None] == exchanged) / 2
               - 0.5) < 0.1  # fmt: skip


def test_the_numbers_of_words_do_not_follow_the_alphabet() -> None:
    words = list(_maps([(word, "", "", word, "n", 0) for word in ("edge", *map(chr, range(97, 123)))
                        for _ in range(2)], least=2)[0])[2:]  # fmt: skip
    assert sorted(words) == sorted({"edge", *map(chr, range(97, 123))})
    neighbours = sum(one < other for one, other in pairwise(words))
    assert 5 < neighbours < 21


def documents(*texts: str) -> list[Document]:
    """Nouns, of which each but the first is a kind of that."""
    return [
        Document(f"{row:08}-n", text, "thing, object" if not row else f"name {row}",
                 links=("00000000-n",) if row else ())
        for row, text in enumerate(texts)
    ]  # fmt: skip


# Of ten, eight are trained on; as many words in each as in the others.
TEN = documents(*(f'Alpha beta {letter} alpha; "an example"' for letter in "abcdefghij"))


def test_events_of_a_definition_by_hand() -> None:
    log, validation, test = word_events(TEN, definitions=None, least=4, trained=99, held=99)
    # Rare words have no events: what is left are alpha, beta and alpha, of eight definitions.
    stand = columns(log, log.ids[log.happened])
    assert len(stand) == 3 * 8 and len(validation.stand) == len(test.stand) == 3
    # Words: none that is rare, the edge, alpha, beta. Origins: unknown, thing.
    assert log.fields == (4, 4, 4, 2, 1, 16)
    rare, edge, alpha, beta = range(4)
    assert {tuple(row[:3]) for row in stand.tolist()} == {
        (alpha, edge, beta), (beta, alpha, rare), (alpha, rare, edge),
    }  # fmt: skip
    assert {(row[0], row[1], row[5]) for row in stand.tolist()} == {
        (alpha, edge, 0), (beta, alpha, 1), (alpha, rare, 3),
    }  # fmt: skip
    roots = int((stand[:, 3] == 0).sum())
    assert roots in (0, 3) and (stand[:, 4] == 0).all()


def test_a_definition_counts_once_and_an_example_not_at_all() -> None:
    again = [*TEN, *documents(*("alpha BETA a alpha" for _ in range(3)))]
    one, two = (
        word_events(some, definitions=None, least=1, trained=999, held=999) for some in (TEN, again)
    )
    assert sum(map(len, (one[0].ids, one[1].stand, one[1].exchanged))) == sum(
        map(len, (two[0].ids, two[1].stand, two[1].exchanged))
    )


def test_what_begins_from_nothing_known_has_the_first_origin() -> None:
    """A root is no origin of its own, however many roots there are."""
    roots = [Document(f"{row:08}-n", f"alpha beta {row}", "name") for row in range(20)]
    log, *_ = word_events(roots, definitions=None, least=2, trained=99, held=99)
    assert log.fields[3] == 1 and not columns(log, log.ids)[:, 3].any()


def test_too_few_definitions_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        word_events(TEN, definitions=4, least=1, trained=9, held=9)
    with pytest.raises(InputError, match="too few"):
        word_events(TEN, definitions=None, least=99, trained=9, held=9)
