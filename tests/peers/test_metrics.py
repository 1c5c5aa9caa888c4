"""Ranking metrics agree with ir-measures (trec_eval)."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from isometry.evaluation.retrieval import rank_documents, score_rankings

PEERS = {
    "ndcg@10": nDCG @ 10,
    "recall@1": R @ 1,
    "recall@10": R @ 10,
    "recall@100": R @ 100,
    "mrr@10": RR @ 10,
}


def assert_same(rankings: list[list[str]], relevance: list[dict[str, int]]) -> None:
    run = {
        str(query): {document: float(-rank) for rank, document in enumerate(ranking)}
        for query, ranking in enumerate(rankings)
    }
    judged = {str(query): judgements for query, judgements in enumerate(relevance)}
    theirs = {
        (str(each.measure), int(each.query_id)): each.value
        for each in ir_measures.iter_calc(list(PEERS.values()), judged, run)
    }
    ours = score_rankings(rankings, relevance)
    for name, peer in PEERS.items():
        for query, value in enumerate(ours[name]):
            assert value == pytest.approx(theirs[str(peer), query], abs=1e-9), (name, query)


@st.composite
def judged_rankings(draw) -> tuple[list[list[str]], list[dict[str, int]]]:
    rankings, relevance = [], []
    for _ in range(draw(st.integers(1, 3))):
        chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        names = [f"d{number}" for number in range(draw(st.integers(1, 150)))]
        judged = draw(st.integers(1, len(names)))
        grades = {name: int(chance.integers(-1, 4)) for name in chance.permutation(names)[:judged]}
        grades[str(chance.choice(names))] = draw(st.integers(1, 3))
        relevance.append({str(name): grade for name, grade in grades.items()})
        length = draw(st.integers(1, len(names)))
        rankings.append([str(name) for name in chance.permutation(names)[:length]])
    return rankings, relevance


@settings(deadline=None, max_examples=60)
@given(case=judged_rankings())
def test_random_rankings_get_the_same_figures(case):
    assert_same(*case)


def test_real_rankings_get_the_same_figures():
    """Docstrings of the standard library look for their function by the words they share."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    pairs = [
        (ast.get_docstring(node) or "", ast.unparse(ast.Module(node.body[1:], [])), name)
        for name in ("argparse", "difflib", "statistics", "textwrap", "fractions", "shutil")
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) and len(node.body) > 1
    ]
    words = sorted({word for doc, body, _ in pairs for word in (doc + " " + body).split()})
    column = {word: number for number, word in enumerate(words)}

    def count(texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), len(words)), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, column[word]] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)

    queries, bodies = count([doc for doc, _, _ in pairs]), count([body for _, body, _ in pairs])
    ranked, _ = rank_documents(queries, bodies, np.arange(len(pairs)), k=100)
    relevance = [
        {
            str(row): 2 if row == own else 1
            for row, (_, _, other) in enumerate(pairs)
            if other == module
        }
        for own, (_, _, module) in enumerate(pairs)
    ]
    assert len(pairs) > 100
    assert_same([[str(number) for number in row] for row in ranked], relevance)
