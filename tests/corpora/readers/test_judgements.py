from __future__ import annotations

import gzip
import inspect
import json
import textwrap
from pathlib import Path

import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers.judgements import read_beir, read_judgements, read_pairs

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


def test_queries_are_composed_as_documents_and_searches_are(beir: Path) -> None:
    """macOS writes letter and accent apart; JSON may bring half of a character."""
    apart, whole = "Schlu\u0308ssel \ud83d", "Schlüssel ?"
    (beir / "queries.jsonl").write_text(json.dumps({"_id": "q0", "text": apart}) + "\n")
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\n")
    assert read_beir(beir)[1].queries == {"q0": whole}
    pairs = beir / "pairs.jsonl"
    rows = [{"query": query, "document": document}
            for query, document in ((apart, "d0"), (whole, "d1"))]  # fmt: skip
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_pairs(pairs, ["d0", "d1"])
    assert list(found.queries.values()) == [whole]
    assert list(found.relevance.values()) == [{"d0": 1, "d1": 1}]


def test_trec_and_tab_separated_queries_say_the_same(beir: Path) -> None:
    queries, judged = beir / "queries.tsv", beir / "qrels.txt"
    queries.write_text("id\ttext\n" + "".join(f"{key}\t{' '.join(text.split())}\n"
                                              for key, text in QUERIES.items()))  # fmt: skip
    judged.write_text("q0 0 d0 2\nq0 0 d1 0\nq1\t0\td1\t1\n\nq1 0 d4 1\nq2 0 d2 0\n")
    ours = read_judgements(queries, judged, ["d0", "d1", "d2", "d4"])
    _, theirs = read_beir(beir)
    assert ours.relevance == theirs.relevance
    assert ours.dropped == theirs.dropped


AD_HOC = """
<top>

<num> Number: 301
<title> International Organized
Crime

<desc> Description:
Identify organizations that participate in international criminal activity.

<narr> Narrative:
A relevant document must as a minimum identify the organization &amp; the activity.
</top>

<top>
<head> Tipster Topic Description
<num> Number:  051
<dom> Domain:  International Economics
<title> Topic:  Airbus Subsidies R&amp;D
</top>
<top>
<num> Number: 202
<desc> Description:
Status of nuclear proliferation treaties.
</top>
"""
WEB = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE webtrack2012 [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<webtrack2012>
  <!-- <topic number="0"><query>not this one</query></topic> -->
  <topic number="151" type="ambiguous">
    <query>403b</query>
    <description>What is a 403b plan?</description>
    <subtopic number="1" type="inf">What is a 403b plan?</subtopic>
  </topic>
  <topic type='faceted' number='152'><query><![CDATA[angular < cheilitis]]></query></topic>
  <topic number="3">A 32 yo male &b; with a
     swollen knee.</topic>
</webtrack2012>
"""


def test_topics_of_both_kinds(tmp_path: Path) -> None:
    (tmp_path / "topics.301-450").write_text(AD_HOC)
    assert read_judgements(tmp_path / "topics.301-450", None, []).queries == {
        "301": "International Organized Crime",
        "051": "Airbus Subsidies R&D",
        "202": "Status of nuclear proliferation treaties.",
    }
    (tmp_path / "wt12.xml").write_text(WEB)
    assert read_judgements(tmp_path / "wt12.xml", None, []).queries == {
        "151": "403b",
        "152": "angular < cheilitis",
        "3": "A 32 yo male &b; with a swollen knee.",  # no entity of a file is expanded
    }


def test_topics_whose_tags_are_never_closed(tmp_path: Path) -> None:
    (tmp_path / "topics").write_text(AD_HOC.replace("</top>", ""))
    assert list(read_judgements(tmp_path / "topics", None, []).queries) == ["301", "051", "202"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>\n<p>words</p></html>", "topics:1: no queries"),
        ("\n<top>\n<title> words\n</top>", "topics:2: a topic without a number"),
        ('<t>\n<topic number="1"><query>a</query></topic>\n<topic number="2"><query> -\n'
         "</query></topic>", "topics:3: the query '2' has no words"),
        ('<topic number="1">a</topic>\n\n<topic number="1">b</topic>', "topics:3: .*came before"),
    ],
)  # fmt: skip
def test_broken_topics(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "topics").write_text(content)
    with pytest.raises(InputError, match=message):
        read_judgements(tmp_path / "topics", None, [])


def test_every_layout_of_judgements_is_what_ir_measures_reads(tmp_path: Path) -> None:
    import ir_measures

    rows = [("1", "d1", 2), ("1", "d2", -2), ("1", "d 3", 0), ("2", "d1", 1), ("2", "0", 3)]
    rows = [(query, document.replace(" ", "_"), score) for query, document, score in rows]
    trec = "".join(f"{query} Q0 {document} {score}\n" for query, document, score in rows)
    expected: dict[str, dict[str, int]] = {}
    for item in ir_measures.read_trec_qrels(trec):
        if item.relevance > 0:
            expected.setdefault(item.query_id, {})[item.doc_id] = item.relevance
    layouts = {
        "trec": trec,
        "marco": "".join(f"{q}\t0\t{d}\t{s}\n" for q, d, s in rows),
        "beir": "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{s}\n" for q, d, s in rows),
        "bare": "".join(f"{q}\t{d}\t{s}\n" for q, d, s in rows),
        "ir_datasets": "".join(f"{q}\t{d}\t{s}\t0\n" for q, d, s in rows),
        "ir_datasets_q0": "".join(f"{q}\t{d}\t{s}\tQ0\n" for q, d, s in rows),
        "named": "doc_id\trelevance\tquery_id\n" + "".join(f"{d}\t{s}\t{q}\n" for q, d, s in rows),
        "floats": "".join(f"{q} 0 {d} {s}.0\r\n" for q, d, s in rows),
        "subtopics": "".join(
            f"{q} {n} {d} {s}\n{q} 9 {d} {min(s, 1)}\n" for n, (q, d, s) in enumerate(rows)
        ),
    }
    queries = tmp_path / "queries.tsv"
    queries.write_text("1\tone\n2\ttwo\n")
    for name, content in layouts.items():
        (tmp_path / name).write_text(content)
        judged = read_judgements(queries, tmp_path / name, {"d1", "0"})
        assert judged.relevance == expected, name


def test_layouts_of_queries(tmp_path: Path) -> None:
    layouts = {
        "a.tsv": "1\tone\n2\ttwo words\n",
        "b.tsv": "query_id\ttext\n1\tone\n2\ttwo words\n",
        "c.tsv": "1\tone\ta description\tand more\n2\ttwo words\t\t\n",
        "d.tsv": "title\tqid\nx\t9\n".replace("x\t9", "one\t1\ntwo words\t2"),
        "e.tsv": "qid\tquery\n1\tone\n2\ttwo words\n",
        "a.jsonl": '{"_id": "1", "text": "one", "metadata": {}}\n{"_id": 2, "text": "two words"}\n',
        "b.jsonl": '{"query_id": "1", "query": "one"}\n{"qid": "2", "title": "two words"}\n',
    }
    for name, content in layouts.items():
        (tmp_path / name).write_text(content)
        expected = {"1": "one", "2": "two words"}
        assert read_judgements(tmp_path / name, None, []).queries == expected, name
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(content.encode()))
        assert read_judgements(packed, None, []).queries == expected, packed


def test_a_folder_of_judgements_is_its_test_split(beir: Path) -> None:
    _, expected = read_beir(beir)
    known = [f"d{n}" for n in range(5)]
    assert read_judgements(beir / "queries.jsonl", beir / "qrels", known) == expected
    assert read_judgements(beir / "queries.jsonl", beir / "qrels" / "train.tsv", known) != expected
    with pytest.raises(InputError, match="Cannot read"):
        read_judgements(beir / "queries.jsonl", beir, known)


def test_without_judgements_every_query_is_kept(beir: Path) -> None:
    judgements = read_judgements(beir / "queries.jsonl", None, [])
    assert len(judgements.queries) == 5
    assert (judgements.relevance, judgements.dropped) == ({}, 0)


def test_unknown_documents_are_named(beir: Path) -> None:
    judged = beir / "qrels.txt"
    judged.write_text("q0 0 d0 1\n" + "".join(f"q1 0 x{n} 1\n" for n in range(5)) + "q2 0 y 0\n")
    with pytest.raises(InputError, match=r"5 documents .*: x0, x1, x2, \.\.\.") as caught:
        read_judgements(beir / "queries.jsonl", judged, {"d0"})
    assert caught.value.hint.startswith("Ids here look like 'd0'. What has no words")
    pairs = beir / "pairs.jsonl"
    for row, said in (
        ('{"query": "words", "document": "x0"}', "look like 'd0'"),
        ('{"query": "words"}', '{"query": "...", "document": "an id"}'),
        ("", '{"query": "...", "document": "an id"}'),
    ):
        pairs.write_text(row)
        with pytest.raises(InputError) as caught:
            read_pairs(pairs, {"d1", "d0"})
        assert said in caught.value.hint


@pytest.mark.parametrize(
    ("queries", "judged", "message"),
    [
        ("q0\tone\nq1\n", "q0 0 d 1\n", r"queries.tsv:2: no tab"),
        ("q0\tone\n\nq1\t--\n", "q0 0 d 1\n", r"queries.tsv:3: .*no words"),
        ("q0\tone\nq0\ttwo\n", "q0 0 d 1\n", r"queries.tsv:2: .*came before"),
        ("\tone\n", "q0 0 d 1\n", r"queries.tsv:1: .*without an id"),
        ("q0\tone\n", "q0 0 d 1\nq0 0 d\tmuch\n", r"qrels:2: no judgement"),
        ("q0\tone\n", "q0 d\n", r"qrels:1: no judgement"),
        ("q0\tone\n", "q0 0 d 1\nq0 0 d 0.5\n", r"qrels:2: no judgement"),
        ("q0\tone\n", "q0 0 d 1\nq0 0 d nan\n", r"qrels:2: no judgement"),
        ("q0\tone\n", "q0 0 d inf\n", r"qrels:1: no judgement"),
        ("q0\tone\n", "q0 0 d 1\n\nq0 1 2 3 4 5\n", r"qrels:3: no judgement"),
        ("q0 one\n", "q0 0 d 1\n", r"queries.tsv:1: no tab"),
        ("q0\tone\n", "q9 0 d 1\nq0 0 d 0\n", r"None of the 1 queries"),
        ("q0\tone\n", "q0 0 3 0\nq0 0 7 0\n", r"None of the 1 queries"),
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
    for row in ('{"text": "words"}', '{"_id": " ", "text": "words"}'):
        path.write_text(row)
        with pytest.raises(InputError, match=r"1: a query without an id. Each line needs _id"):
            read_judgements(path, None, [])
    path.with_suffix(".tsv").write_bytes(b"\0\1\2" * 100)
    for content, said in ((b"\n", "no queries"), (b"\0\1\2" * 100, "no text file")):
        path.with_suffix(".tsv").write_bytes(content)
        with pytest.raises(InputError, match=f"{said}. Queries are JSONL"):
            read_judgements(path.with_suffix(".tsv"), None, [])


def test_a_missing_part_is_named(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").unlink()
    assert list(read_beir(beir)[1].queries) == ["q4"]  # the only split that is left
    (beir / "qrels" / "train.tsv").unlink()
    with pytest.raises(InputError, match=r"no file .*qrels/test.tsv"):
        read_beir(beir)
