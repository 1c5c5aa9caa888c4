from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers.judgements import read_beir, read_judgements

FUNCTIONS = [textwrap.dedent, textwrap.fill, textwrap.indent, textwrap.shorten, textwrap.wrap]
QUERIES = {f"q{n}": (inspect.getdoc(item) or "").split(".")[0] for n, item in enumerate(FUNCTIONS)}


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    corpus = [
        {"_id": f"d{n}", "title": item.__name__, "text": inspect.getsource(item)}
        for n, item in enumerate(FUNCTIONS)
    ]
    queries = [{"_id": key, "text": text} for key, text in QUERIES.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq4\td4\t1\n")
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq0\td0\t2\nq0\td1\t0\nq1\td1\t1\nq1\td4\t1\nq2\td2\t0\n"
    )
    return tmp_path


def test_beir(beir: Path) -> None:
    corpus, judgements = read_beir(beir)
    assert corpus == beir / "corpus.jsonl"
    assert judgements.relevance == {"q0": {"d0": 2}, "q1": {"d1": 1, "d4": 1}}
    assert judgements.queries == {key: QUERIES[key].strip() for key in ("q0", "q1")}
    assert judgements.dropped == 3


def test_trec_and_tab_separated_queries_say_the_same(beir: Path) -> None:
    queries, judged = beir / "queries.tsv", beir / "qrels.txt"
    queries.write_text("id\ttext\n" + "".join(f"{key}\t{' '.join(text.split())}\n"
                                              for key, text in QUERIES.items()))  # fmt: skip
    judged.write_text("q0 0 d0 2\nq0 0 d1 0\nq1\t0\td1\t1\n\nq1 0 d4 1\nq2 0 d2 0\n")
    ours = read_judgements(queries, judged, ["d0", "d1", "d2", "d4"])
    _, theirs = read_beir(beir)
    assert ours.relevance == theirs.relevance
    assert ours.dropped == theirs.dropped


def test_without_judgements_every_query_is_kept(beir: Path) -> None:
    judgements = read_judgements(beir / "queries.jsonl", None, [])
    assert len(judgements.queries) == 5
    assert (judgements.relevance, judgements.dropped) == ({}, 0)


def test_unknown_documents_are_named(beir: Path) -> None:
    judged = beir / "qrels.txt"
    judged.write_text("q0 0 d0 1\n" + "".join(f"q1 0 x{n} 1\n" for n in range(5)) + "q2 0 y 0\n")
    with pytest.raises(InputError, match=r"5 documents .*: x0, x1, x2, \.\.\.") as caught:
        read_judgements(beir / "queries.jsonl", judged, {"d0"})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("queries", "judged", "message"),
    [
        ("q0\tone\nq1\n", "q0 0 d 1\n", r"queries.tsv:2: no tab"),
        ("q0\tone\n\nq1\t--\n", "q0 0 d 1\n", r"queries.tsv:3: .*no words"),
        ("q0\tone\nq0\ttwo\n", "q0 0 d 1\n", r"queries.tsv:2: .*came before"),
        ("\tone\n", "q0 0 d 1\n", r"queries.tsv:1: .*without an id"),
        ("q0\tone\n", "q0 0 d 1\nq0 0 d\tmuch\n", r"qrels:2: no judgement"),
        ("q0\tone\n", "q0 d\n", r"qrels:1: no judgement"),
        ("q0\tone\n", "q9 0 d 1\nq0 0 d 0\n", r"None of the 1 queries"),
        ("\n", "q0 0 d 1\n", r"no queries"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, queries: str, judged: str, message: str
) -> None:
    (tmp_path / "queries.tsv").write_text(queries)
    (tmp_path / "qrels").write_text(judged)
    with pytest.raises(InputError, match=message):
        read_judgements(tmp_path / "queries.tsv", tmp_path / "qrels", {"d"})


def test_broken_json_queries(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "a", "text": "words"}\n{"_id": \n')
    with pytest.raises(InputError, match=r"queries.jsonl:2: no JSON"):
        read_judgements(path, None, [])


def test_a_missing_part_is_named(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").unlink()
    assert list(read_beir(beir)[1].queries) == ["q4"]  # the only split that is left
    (beir / "qrels" / "train.tsv").unlink()
    with pytest.raises(InputError, match=r"no file .*qrels/test.tsv"):
        read_beir(beir)
