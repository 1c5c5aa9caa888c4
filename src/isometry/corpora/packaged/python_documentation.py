"""Python's documentation, asked for by the questions of its own FAQ.

Source: `usr/share/doc/python3.13/html/_sources` of Debian's package python3.13-doc 3.13.5.
Licence: PSF-2.0 (Copyright 2001 Python Software Foundation), examples also Zero-Clause BSD.
"""

from __future__ import annotations

from functools import cache

from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.kept import kept_documents
from isometry.corpora.packaged.questions import ask_headings

# The pages of the FAQ, by the folder that their names begin with.
FAQ = "faq/"


@cache
def python_documentation() -> HumanQueries:
    """Sections of Python's documentation, and the questions that head sections of its FAQ.

    The questions themselves are in no document. Reading takes a quarter of a minute, so it is done
    once, see `kept_documents`; and all callers get the same object, which is not to be changed.

    Raises:
        InputError: When the data is not on this machine.
    """
    documents, queries, relevance = ask_headings(
        kept_documents("python3.13-doc", parsers=("docutils",)),
        lambda heading, document: "?" in heading and document.group.startswith(FAQ),
    )
    return HumanQueries(
        name="python-documentation",
        documents=documents,
        queries=queries,
        relevance=relevance,
        language="en",
        about="Sections of Python 3.13's documentation; queries are the questions of its FAQ",
    )
