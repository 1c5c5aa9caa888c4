from __future__ import annotations

import json
from pathlib import Path

from isometry.corpora.documents import Document
from isometry.corpora.packaged.human_queries import HumanQueries
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.judgements import read_beir

ZEN = HumanQueries(
    name="zen",
    documents=[
        Document(
            "a\tb", 'Beautiful is\nbetter\u2028than "ugly".', "Schön", "Zen > Eins", group="z"
        ),
        Document(
            "c", "Explicit is better than implicit.", summary="Said aloud.", group="z", order=1
        ),
        Document("d", "Sparse is better than dense.", group="z", order=2),
    ],
    queries={"q1": "was ist schöner?", "q2": "what should be said"},
    relevance={"q1": {"c": 1}, "q2": {"c": 2, "d": 1}},
    language="en",
    about="Three lines",
)


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    ZEN.write(tmp_path / "zen")
    corpus, judgements = read_beir(tmp_path / "zen")
    assert judgements.queries == ZEN.queries
    assert judgements.relevance == ZEN.relevance
    assert judgements.dropped == 0
    report = ReadingReport()
    found = list(open_source(corpus).documents(report))
    assert [(each.id, each.title, each.text) for each in found] == [
        (each.id, each.title, each.body()) for each in ZEN.documents
    ]
    assert not report.skipped


def test_a_row_says_where_its_document_stood(tmp_path: Path) -> None:
    ZEN.write(tmp_path / "zen")
    lines = (tmp_path / "zen" / "corpus.jsonl").read_text(encoding="utf-8").split("\n")
    first, second = json.loads(lines[0]), json.loads(lines[1])
    assert (first["context"], first["group"], first["order"]) == ("Zen > Eins", "z", 0)
    assert (second["context"], second["group"], second["order"]) == ("", "z", 1)
    assert "Schön" in lines[0]  # readable, not escaped


def test_an_older_folder_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "zen" / "qrels").mkdir(parents=True)
    (tmp_path / "zen" / "qrels" / "dev.tsv").touch()
    ZEN.write(tmp_path / "zen")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert files == {"zen/corpus.jsonl", "zen/queries.jsonl", "zen/qrels/test.tsv"}
