"""Which queries that were made from documents are asked, and what of them is hidden."""

from __future__ import annotations

from isometry.corpora.documents import Document
from isometry.corpora.pairs.tasks import HeadingSection, InverseCloze, Pair
from isometry.jobs.asking import asked_of_several, hide_queries

QUERY = "Open_the red door"


def test_a_heading_is_asked_of_several_whatever_their_sides_and_however_it_is_written() -> None:
    titles = {"train": ["Pump care", "Valve care"], "validation": ["pump  CARE", "Key change"]}
    by_side = {
        side: [
            Document(f"{side}-{n}", f"Text {n} of {side}.", title=title, group=f"{side}-{n}")
            for n, title in enumerate(own)
        ]
        for side, own in titles.items()
    }
    assert asked_of_several(HeadingSection(), by_side, [], 0) == {"pump care"}
    made = [Pair("key change", "another", "", "", "heading")]
    found = asked_of_several(HeadingSection(), by_side, [made], 0)
    assert found == {"pump care", "key change"}


def hidden(body: str, other: str) -> tuple[list[Pair], list[tuple[str, str]]]:
    """What may be asked of a document with a near-duplicate, and how both are ranked."""
    pair = Pair(QUERY, "a", "", body, "heading")
    views = [("", f"{QUERY}. {body}"), ("", other)]
    return hide_queries({"test": [pair]}, views, {"a": 0, "b": 1}, {"a": [0, 1]})["test"], views


def test_a_query_is_taken_out_of_near_duplicates_too() -> None:
    asked, views = hidden("It is heavy.", "Now OPEN_THE  red DOOR. It is heavy.")
    assert len(asked) == 1
    assert views == [("", "It is heavy."), ("", "Now  . It is heavy.")]


def test_a_query_that_its_answer_still_shows_is_not_asked() -> None:
    assert hidden(f"It is heavy. {QUERY}!", "It is heavy.")[0] == []


def test_a_sentence_that_others_say_is_not_asked_and_a_heading_is() -> None:
    views = [("", "First."), ("", "Second."), ("", "Who can open the red door? We shut the box.")]
    pairs = [
        Pair("open the red door", "a", "", "First.", InverseCloze.name),
        Pair("we shut the box", "b", "", "Second.", HeadingSection.name),
    ]
    numbers = {"a": 0, "b": 1}
    asked = hide_queries({"test": pairs}, views, numbers, {"a": [0], "b": [1]})["test"]
    assert asked == pairs[1:]
