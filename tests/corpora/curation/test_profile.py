from __future__ import annotations

import inspect
import json
import textwrap

import numpy as np
import pytest

from isometry.corpora.curation.dedup import near_duplicates
from isometry.corpora.curation.profile import profile
from isometry.corpora.documents import Document

FRENCH = "Tous les êtres humains naissent libres et égaux en dignité et en droits."
GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren, sagt die Erklärung."
ENGLISH = inspect.getdoc(textwrap.wrap) or ""


def corpus() -> list[Document]:
    return [
        Document("1", FRENCH, title="Article", group="a", links=("b",)),
        Document("2", FRENCH.upper(), group="a"),
        Document("3", FRENCH + " Fin.", group="b"),
        Document("4", GERMAN, group="c"),
        Document("5", "three words only", group="c"),
        Document("6", inspect.getsource(textwrap.wrap), summary=ENGLISH, group="d", kind="code"),
    ]


def test_counts_shares_languages_and_duplicates() -> None:
    documents = corpus()
    made = profile(documents, near_duplicates([document.body() for document in documents]))
    assert made["documents"] == 6
    assert made["groups"] == 4
    assert made["kinds"] == {"code": 1, "prose": 5}
    assert made["with_title"] == made["with_summary"] == made["with_links"] == pytest.approx(1 / 6)
    assert made["languages"] == {"fr": 3, "de": 1, "unknown": 1}
    assert made["main_language"] == "fr"
    assert (made["exact_duplicates"], made["near_duplicates"]) == (1, 1)
    assert made["words"]["shortest"] == 3
    assert made["words"]["total"] > made["words"]["longest"] > made["words"]["median"]
    json.dumps(made, allow_nan=False)


def test_source_code_has_no_language_and_nothing_is_no_error() -> None:
    code = corpus()[-1:]
    assert profile(code, np.array([0]))["main_language"] == "unknown"
    assert profile([], np.array([], dtype=np.int64))["documents"] == 0
    with pytest.raises(ValueError, match="duplicate groups"):
        profile(code, np.array([0, 1]))


def test_the_sample_is_bounded_and_the_same_each_time() -> None:
    documents = [Document(str(i), (FRENCH, GERMAN)[i % 3 == 0]) for i in range(700)]
    first = profile(documents, np.arange(700))
    assert sum(first["languages"].values()) == 500
    assert first == profile(documents, np.arange(700))
