"""Debian's manuals in German, asked for by the questions of its FAQ.

Sources, all HTML of Debian's packages: debian-faq-de 12.2 (the FAQ's own licence: copies and
changed versions under the same terms; Copyright 1996-2024 Software in the Public Interest),
debian-reference-de 2.127 (GPL-2.0-or-later; Copyright 2007-2013 Osamu Aoki and translators) and
debian-handbook 11.20220922 (GPL-2.0-or-later or CC-BY-SA-3.0; Copyright Raphaël Hertzog, Roland
Mas, Freexian SARL).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from isometry.corpora.curation.dedup import words
from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.packaged.locate import data_path
from isometry.corpora.packaged.questions import ask_headings
from isometry.corpora.readers.html import read_html
from isometry.corpora.readers.markup import Links, page_documents

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_MANUALS = {
    "faq": "debian-faq-de",
    "reference": "debian-reference-de",
    "handbook": "debian-handbook",
}
_NAVIGATION = ".toc, .navheader, .navfooter, .docnav, #banner, #title"
_BLOCKS = "p, td, th, dt, div.para"
_NUMBER = re.compile(r"^(?:Kapitel |Anhang )?(?:\d+|[A-Z])(?:\.\d+)*\. ")
# Shorter texts are names and commands as often as sentences.
_LANGUAGE_WORDS = 6
_LANGUAGE_PROBABILITY = 0.95
_LEAST_WORDS = 4


def debian_in_german() -> HumanQueries:
    """Sections of the FAQ, the reference and the handbook; the questions are headings of the FAQ.

    What the translators left in English is left out, paragraph by paragraph, and so are the tables
    of contents, which list the questions. Code stays. A reference to a question keeps its number
    alone.

    Raises:
        InputError: When a part of the data is not on this machine.
    """
    folders = {name: data_path(package) for name, package in _MANUALS.items()}
    is_english = _english_detector()
    documents = [
        _without_numbers(document, is_english)
        for name, folder in folders.items()
        for document in _sections(name, folder, is_english)
        if len(words(document.text)) >= _LEAST_WORDS
        and not is_english(document.title)
        # What is left of a section without its English paragraphs may be code alone.
        and not is_english(document.text)
    ]
    documents, queries, relevance = ask_headings(
        documents,
        lambda heading, document: "?" in heading and document.group.startswith("faq/"),
    )
    return HumanQueries(
        name="debian-in-german",
        documents=documents,
        queries=queries,
        relevance=relevance,
        language="de",
        about="Sections of Debian's FAQ, reference and handbook in German; queries are the"
        " questions of the FAQ",
    )


def _sections(name: str, folder: Path, is_english: Callable[[str], bool]) -> Iterator[Document]:
    from selectolax.lexbor import LexborHTMLParser

    paths = {f"{name}/{path.name}": path for path in sorted(folder.glob("*.html"))}
    links = Links({path: path for path in paths})
    for shown, path in paths.items():
        tree = LexborHTMLParser(path.read_text(encoding="utf-8"))
        for navigation in tree.css(_NAVIGATION):
            navigation.decompose()
        for reference in tree.css("a.xref"):
            if "?" in reference.text():
                reference.replace_with(reference.text().partition(",")[0])
        if tree.body is not None:
            _drop_english(tree.body, is_english)
        yield from page_documents(read_html(tree.html or ""), shown, links)


def _drop_english(body: LexborNode, is_english: Callable[[str], bool]) -> None:
    for block in body.css(_BLOCKS):
        # Innermost blocks only: one that holds others may be of both languages.
        if not [inner for inner in block.css(_BLOCKS) if inner != block] and is_english(
            block.text()
        ):
            block.decompose()


def _without_numbers(document: Document, is_english: Callable[[str], bool]) -> Document:
    """The document with its headings' words alone, and without English ones above it."""
    above = [part for part in document.context.split(" > ") if not is_english(part)]
    return replace(
        document,
        title=_NUMBER.sub("", document.title),
        context=" > ".join(_NUMBER.sub("", part) for part in above),
    )


def _english_detector() -> Callable[[str], bool]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # One of our own: the module's functions share a state.
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(["de", "en"])

    def is_english(text: str) -> bool:
        if len(words(text)) < _LANGUAGE_WORDS:
            return False
        language, probability = identifier.classify(" ".join(text.split()))
        return language == "en" and probability > _LANGUAGE_PROBABILITY

    return is_english
