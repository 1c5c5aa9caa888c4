"""Text -> the terms that Lance's lexical index holds, and the numbers of its BM25."""

from __future__ import annotations

from typing import Any

from isometry.search.lancedb import Lexical

K1, B = 1.2, 0.75


def placed_terms(text: str, lexical: Lexical) -> list[tuple[str, int]]:
    """The terms of a text, each with the place of its word in it, from 0."""
    from lancedb import tokenize

    settings: dict[str, Any] = vars(lexical)
    return [(token.text, token.position) for token in tokenize(_valid(text), **settings)]


def terms(text: str, lexical: Lexical) -> list[str]:
    """The terms of a text."""
    return [term for term, _ in placed_terms(text, lexical)]


def terms_and_words(text: str, lexical: Lexical) -> list[tuple[str, str]]:
    """Every term with the word that it comes from."""
    from lancedb import tokenize

    settings: dict[str, Any] = vars(lexical)
    plain: dict[str, Any] = settings | {"stem": False, "ascii_folding": False}
    words = {token.position: token.text for token in tokenize(_valid(text), **plain)}
    return [(term, words.get(place, term)) for term, place in placed_terms(text, lexical)]


def _valid(text: str) -> str:
    """Half a surrogate pair cannot be a term."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
