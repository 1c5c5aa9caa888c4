"""What a language model is asked for a document's queries, and which lines of its answer are some.

Dai et al. (2022), "Promptagator: Few-shot Dense Retrieval From 8 Examples", section 3.1; here with
no example, since nobody has written any for these documents.
"""

from __future__ import annotations

import re

from isometry.corpora.curation.dedup import normalize, words
from isometry.corpora.documents import Document
from isometry.corpora.pairs.queries import one_line, shown

TASK = "written"
MOST_WORDS = 64
CHARACTERS = 2000
# Of an answer; a model that does not stop says nothing new.
_MOST_CHARACTERS = 100_000

_THINKING = re.compile(r"<(think(?:ing)?)>.*?(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)
# Where the template of the chat opened the block, only its end stands in the answer.
_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_BULLET = re.compile(r"^(?:[-*+•–—·▪>#]\s+)+")
_LABEL = re.compile(r"^\**(?:search\s+)?(?:query|question)\s*\d*\s*:\**\s*", re.IGNORECASE)
# No space follows a number in scripts that have none.
_NUMBER = re.compile(r"\**\(?(\d{1,3})(?:[.):]\**\s+|[.)](?=[^\x00-\x7f])|[、．]\s*)")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_QUOTES = ('""', "''", "``", "“”", "„“", "„”", "‘’", "«»", "»«", "‹›", "「」", "『』", "《》")


def query_prompt(document: Document, queries: int, characters: int = CHARACTERS) -> str:
    """Asks for search queries that a document answers.

    Args:
        document: What the queries shall find.
        queries: How many of them.
        characters: Where the text of the document is cut off.
    """
    passage = "\n\n".join(part for part in (document.header(), document.body()) if part)
    return (
        "Below is a passage from a collection of documents. Write"
        f" {queries} different search queries that users of this collection might type, and that"
        " this passage answers.\n"
        "- Write in the language of the passage.\n"
        "- Use other words than the passage where you can; do not copy its phrases.\n"
        "- Vary them: a few keywords, a question, the description of a problem.\n"
        "- One query on each line, without numbers, quotation marks or anything else.\n\n"
        f"Passage:\n{passage[:characters].strip()}"
    )


def parse_queries(answer: str, document: Document, most: int) -> list[str]:
    """The queries in the answer of a language model, at most so many, in their order.

    Thoughts, bullets, numbers, labels and quotation marks are taken off. A line is dropped when it
    has no word or more than 64 of them, announces others, repeats one before it, or stands word for
    word in the document.

    Args:
        answer: As the model gave it.
        document: What it was asked about.
        most: The number that was asked for.
    """
    # Halves of surrogate pairs, which JSON can carry, are in no encoding of text.
    answer = answer.encode("utf-8", "ignore").decode("utf-8")
    answer = _THOUGHT.split(_THINKING.sub("", answer[:_MOST_CHARACTERS]))[-1]
    found: dict[str, str] = {}
    numbers = 0
    for line in answer.splitlines():
        query = _LABEL.sub("", _BULLET.sub("", one_line(line)))
        number = _NUMBER.match(query)
        # Only where it counts: a query may begin with a number of its own.
        if number and int(number[1]) == numbers + 1:
            numbers += 1
            bold = query.startswith("**") and query.count("**") == 2
            query = _LABEL.sub("", query[number.end() :])
            # Bold print may stand around the number, too.
            query = query.removesuffix("**") if bold and query.count("**") == 1 else query
        query = _unwrapped(query)
        if (
            0 < len(words(query)) <= MOST_WORDS
            and not query.endswith((":", "："))
            and not shown(query, document.header(), document.body())
        ):
            found.setdefault(normalize(query), query)
    return list(found.values())[:most]


def _unwrapped(query: str) -> str:
    """The query without the marks that stand around the whole of it."""
    query = query.removesuffix(",").strip()
    if bold := _BOLD.fullmatch(query):
        query = bold[1].strip()
    for first, last in _QUOTES:
        inner = query[1:-1]
        if query[:1] == first and query[-1:] == last and first not in inner and last not in inner:
            return inner.strip()
    return query
