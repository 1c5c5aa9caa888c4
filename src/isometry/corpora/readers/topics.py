"""TREC topics -> queries: the tagged ones of the ad hoc tracks and the XML of the later ones."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from isometry.core.errors import InputError

# Read by pattern: the older files are no XML (their tags are never closed), and a pattern expands
# no entities.
_TOPIC = re.compile(r"<(top|topic)\b([^>]*)>(.*?)(?=</\1\s*>|<\1\b|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"""\b(?:number|id|num)\s*=\s*["']([^"']*)["']""", re.IGNORECASE)
_FIELD = re.compile(r"<(\w+)\b[^>]*>([^<]*(?:<!\[CDATA\[.*?\]\]>[^<]*)?)", re.DOTALL)
_LABEL = re.compile(r"^\s*(?:number|topic|description)\s*:", re.IGNORECASE)
_NUMBERS = ("num", "number", "id")
_TEXTS = ("query", "title", "desc", "description")
"""What is asked, the shortest first: the title of a topic is what its track calls the query."""


def read_topics(text: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """The line, number and words of each topic.

    Args:
        text: What the file holds.
        path: The file, for messages.

    Raises:
        InputError: When there is no topic, or one has no number.
    """
    # Blanks in the place of comments, so that the lines keep their numbers.
    text = re.sub(r"<!--.*?-->", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL)
    line, before = 1, 0
    for topic in _TOPIC.finditer(text):
        line += text.count("\n", before, topic.start())
        before = topic.start()
        fields = {"": topic[3]}
        for field in _FIELD.finditer(topic[3]):
            fields.setdefault(field[1].lower(), field[2])
        attribute = _NUMBER.search(topic[2])
        number = attribute[1] if attribute else _first(fields, _NUMBERS)
        if not number.strip():
            raise InputError(f"{path}:{line}: a topic without a number.")
        # Where there is no field at all, as in the tracks on clinical trials, it is all words.
        yield line, number.strip(), _first(fields, _TEXTS if len(fields) > 1 else ("",))
    if before == 0 and not _TOPIC.search(text):
        raise InputError(
            f"{path}:1: no queries are read out of this kind of tags.",
            "TREC's topics are <top> with <num> and <title>, or <topic number=...> with <query>.",
        )


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        words = re.sub(r"<!\[CDATA\[(.*?)\]\]>", r"\1", fields.get(name, ""), flags=re.DOTALL)
        words = " ".join(html.unescape(_LABEL.sub("", words)).split())
        if words:
            return words
    return ""
