from __future__ import annotations

import time

import pytest

from isometry.corpora.documents import Document
from isometry.corpora.pairs.written import CHARACTERS, parse_queries, query_prompt

DOCUMENT = Document(
    "d",
    "Die Bibliothek sucht die\nnächsten Nachbarn eines Vektors.\n\nThe heap invariant holds.",
    "Nearest neighbours",
    "Guide",
)


def parsed(answer: str, most: int = 5) -> list[str]:
    return parse_queries(answer, DOCUMENT, most)


@pytest.mark.parametrize(
    "line",
    [
        "1. find similar vectors",
        "1) find similar vectors",
        "(1) find similar vectors",
        "**1.** find similar vectors",
        "1、find similar vectors",
        "- find similar vectors",
        "* 1. find similar vectors",
        "• “find similar vectors”",
        '"find similar vectors",',
        "**find similar vectors**",
        '**"find similar vectors"**',
        "Query 1: find similar vectors",
        "**Question:** find similar vectors",
        "1. Query: find similar vectors",
        "**1. find similar vectors**",
        "<think>\nThe user wants\nqueries\n</think>\nfind similar vectors",
        "<THINK>a</THINK>\n\nfind   similar\tvectors\r\n",
        "they want\nthree queries</think>\nfind similar vectors",
        "find similar vectors\n<think>and another one\nthat never ends",
        "Here are the queries you asked for:\n\nfind similar vectors\n",
        "```\nfind similar vectors\n```",
        "find similar vectors\nFind  Similar vectors",
        "find similar \ud800vectors",
    ],
)
def test_what_models_put_around_a_query_is_taken_off(line: str) -> None:
    assert parsed(line) == ["find similar vectors"]


@pytest.mark.parametrize(
    "query",
    [
        "2. Weltkrieg Ursachen",
        "3.11 features of python",
        "C. elegans genome",
        "*args in a function call",
        '"heap" or "tree"',
        "__init__",
        "-O2 slower than -O3",
        "#include not found",
        "如何找到相似的向量",
        "read - write locks",
        "slow SQL query: index not used",
        "2**10 and 2** in python",
    ],
)
def test_what_belongs_to_a_query_stays(query: str) -> None:
    assert parsed(query) == [query]


def test_numbers_are_taken_off_where_they_count() -> None:
    assert parsed("1. a b\n2. c d\n3. 2. Weltkrieg\n1.如何找到") == [
        "a b",
        "c d",
        "2. Weltkrieg",
        "1.如何找到",
    ]
    assert parsed("1.如何找到\n2.相似的向量") == ["如何找到", "相似的向量"]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "...\n\n---\n?!",
        "word " * 65,
        "nearest  NEIGHBOURS",
        "1. sucht die nächsten Nachbarn eines",
        "The heap invariant holds.",
        "<think>find similar vectors",
    ],
)
def test_what_is_no_query_is_dropped(answer: str) -> None:
    assert parsed(answer) == []


def test_an_answer_without_end_costs_no_time() -> None:
    started = time.process_time()
    assert parsed("first query\n" + "x" * 2_000_000, 1) == ["first query"]
    assert parsed("</think>" * 10_000 + "\na b") == ["a b"]
    assert parsed("<think>" * 300_000) == []
    assert time.process_time() - started < 3


def test_no_more_than_asked_for() -> None:
    assert parsed("a b\nc d\ne f", 2) == ["a b", "c d"]
    assert parsed("word " * 64) == [("word " * 64).strip()]


def test_the_prompt_shows_the_document_up_to_the_limit() -> None:
    long = Document("d", "x" * 3 * CHARACTERS, "A title", "Above", "What it is about.")
    prompt = query_prompt(long, 7)
    assert "Above > A title\n\nWhat it is about.\nxxx" in prompt
    assert " 7 different search queries" in prompt
    assert CHARACTERS / 2 < prompt.count("x") < CHARACTERS
