from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isometry.core.errors import InputError
from isometry.core.workspace import Workspace
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.documents import views_of
from isometry.corpora.readers import open_source
from isometry.corpora.readers.judgements import Judgements
from isometry.evaluation.retention import gloss_texts
from isometry.jobs import preparation
from isometry.jobs.preparation import (
    Prepared,
    _bare,  # pyright: ignore[reportPrivateUsage]
    _too_little,  # pyright: ignore[reportPrivateUsage]
    joined,
    judged_together,
    prepare,
    word_language,
)


@pytest.fixture(scope="module")
def prepared(tiny_docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    with Workspace(tmp_path_factory.mktemp("work") / "w", "test") as work:
        return prepare(work, open_source(tiny_docs), seed=0)


def test_what_a_query_was_made_from_is_hidden_from_every_document(prepared: Prepared) -> None:
    views = [normalize(f"{header}\n{body}") for header, body in prepared.views]
    for questions in prepared.questions.values():
        assert len(questions.queries) >= 10
        for query, known in zip(questions.queries, questions.relevance, strict=True):
            assert all(normalize(query) not in views[row] for row in known)
    for pair in prepared.pairs:
        assert normalize(pair.query) not in normalize(f"{pair.header}\n{pair.body}")


def test_sides_share_no_document_group_cluster_or_query(prepared: Prepared) -> None:
    side_of = {d.id: side for d, side in zip(prepared.documents, prepared.sides, strict=True)}
    groups: dict[str, set[str]] = {}
    clusters: dict[int, set[str]] = {}
    rows = zip(prepared.documents, prepared.clusters.tolist(), prepared.sides, strict=True)
    for document, cluster, side in rows:
        groups.setdefault(document.group, set()).add(side)
        clusters.setdefault(cluster, set()).add(side)
    assert {len(sides) for sides in groups.values()} == {1}
    assert {len(sides) for sides in clusters.values()} == {1}
    assert {side_of[pair.document] for pair in prepared.pairs} == {"train"}
    asked = {side: set(part.queries) for side, part in prepared.questions.items()}
    assert not asked["validation"] & asked["test"]
    assert not {pair.query for pair in prepared.pairs} & (asked["validation"] | asked["test"])
    for side, part in prepared.questions.items():
        for known in part.relevance:
            assert {prepared.sides[row] for row in known} == {side}


def test_the_answers_to_a_query_belong_to_one_part(prepared: Prepared) -> None:
    parts = prepared.parts.tolist()
    for part in prepared.questions.values():
        found = prepared.parts_of(part)
        assert len(found) == len(part.queries)
        for number, known in zip(found, part.relevance, strict=True):
            assert {parts[row] for row in known} == {number}
    # The modules of the corpus, none of which is nearly another.
    assert len(set(parts)) == len({document.group for document in prepared.documents})


def test_near_duplicates_of_an_answer_are_answers(prepared: Prepared) -> None:
    for part in prepared.questions.values():
        for known in part.relevance:
            cluster = prepared.clusters[next(iter(known))]
            assert set(known) == set(np.flatnonzero(prepared.clusters == cluster).tolist())


def folder_of(path: Path, texts: dict[str, str]) -> Path:
    path.mkdir()
    for name, text in texts.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def prepared_of(path: Path, work: Path, **options: Any) -> Prepared:
    with Workspace(work, "test") as opened:
        return prepare(opened, open_source(path), seed=0, **options)


def sentences(count: int) -> list[str]:
    return [f"{gloss.capitalize()} is what this line says." for gloss in gloss_texts()[:count]]


def test_a_heading_of_several_documents_asks_for_none_whatever_their_sides(tmp_path: Path) -> None:
    texts = sentences(160)
    pages = {
        f"ticket-{number}.md": f"# {'Password reset now' if number % 4 == 0 else f'Case {text}'}"
        f"\n\n{texts[80 + number]} {text}\n"
        for number, text in enumerate(texts[:80])
    }
    found = prepared_of(folder_of(tmp_path / "tickets", pages), tmp_path / "work")
    assert found.facts["pairs"]["task"] == "heading"
    asked = [query for part in found.questions.values() for query in part.queries]
    assert len(asked) > 10 and not any("password" in query.lower() for query in asked)
    assert not any("password" in pair.query.lower() for pair in found.pairs)


def test_a_sentence_that_stands_in_other_documents_is_not_asked(tmp_path: Path) -> None:
    texts = sentences(240)
    shared = "Contact the service desk before you change anything."
    pages = {
        f"note-{number}.txt": " ".join([shared, *texts[3 * number : 3 * number + 3]])
        for number in range(80)
    }
    found = prepared_of(folder_of(tmp_path / "notes", pages), tmp_path / "work")
    assert found.facts["pairs"]["task"] == "inverse_cloze"
    asked = [query for part in found.questions.values() for query in part.queries]
    assert len(asked) > 10 and shared not in asked
    assert found.facts["leakage"]["queries_inside_other_side"] == 0


def test_copies_of_documents_ask_once_and_none_of_them_shows_the_query(tmp_path: Path) -> None:
    texts = sentences(240)
    pages: dict[str, str] = {}
    for number in range(80):
        body = " ".join(texts[3 * number : 3 * number + 3])
        pages[f"v1-{number}.txt"], pages[f"v2-{number}.txt"] = body, f"{body}\n"
    found = prepared_of(folder_of(tmp_path / "versions", pages), tmp_path / "work")
    views = [normalize(f"{header}\n{body}") for header, body in found.views]
    for part in found.questions.values():
        assert len(part.queries) >= 10
        for query, known in zip(part.queries, part.relevance, strict=True):
            assert len(known) == 2 and not any(normalize(query) in views[row] for row in known)
    assert found.too_little is None or "train" in found.too_little


def test_given_queries_of_one_text_are_one_and_very_many_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(120)
    pages = {f"p{number}.txt": f"{text} {texts[60 + number]}" for number, text in
             enumerate(texts[:60])}  # fmt: skip
    folder = folder_of(tmp_path / "docs", pages)
    rows = [{"query": f"What is {n % 50}?".upper() if n >= 50 else f"what is  {n}?",
             "document": f"p{n % 60}.txt#p{n % 60}"} for n in range(100)]  # fmt: skip
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = prepared_of(folder, tmp_path / "a", pairs=pairs)
    asked = {side: part.queries for side, part in found.questions.items()}
    everything = [normalize(query) for queries in asked.values() for query in queries]
    assert len(set(everything)) == len(everything)
    assert any(len(known) == 2 for part in found.questions.values() for known in part.relevance)
    trained = {normalize(pair.query) for pair in found.pairs}
    assert not trained & set(everything)
    monkeypatch.setattr(preparation, "MOST_QUERIES", 3)
    few = prepared_of(folder, tmp_path / "b", pairs=pairs).questions
    assert {side: len(part.queries) for side, part in few.items()} == dict.fromkeys(asked, 3)
    assert all(set(part.queries) < set(asked[side]) for side, part in few.items())


def test_a_resumed_preparation_is_the_same(
    tiny_docs: Path, tmp_path: Path, prepared: Prepared
) -> None:
    results: list[Prepared] = []
    for _ in range(2):
        with Workspace(tmp_path / "w", "test") as work:
            work.worth_keeping = True
            results.append(prepare(work, open_source(tiny_docs), seed=0))
    for again in results:
        assert again.documents == prepared.documents
        assert again.pairs == prepared.pairs
        assert again.views == prepared.views
        assert again.questions == prepared.questions
        assert again.facts == prepared.facts


def test_links_that_cross_the_sides_give_no_pairs_and_no_error(tmp_path: Path) -> None:
    glosses, pages = gloss_texts(), tmp_path / "pages"
    pages.mkdir()
    for page in range(30):
        sections = [
            f"## Part {name} of chapter {page} explained\n\n{'. '.join(glosses[at : at + 4])}.\n"
            for name, at in zip("abc", range(12 * page, 12 * page + 12, 4), strict=True)
        ]
        link = "[The next chapter](page-1.md)\n" if page == 0 else ""
        text = f"# Chapter {page}\n\n{link}\n" + "\n".join(sections)
        (pages / f"page-{page}.md").write_text(text)
    tasks: list[set[str]] = []
    for seed in range(6):
        with Workspace(tmp_path / f"work-{seed}", "test") as work:
            found = prepare(work, open_source(pages), seed=seed)
        assert found.facts["pairs"]["task"] == "heading"
        tasks.append({pair.task for pair in found.pairs})
    linked = ["link_prediction" in names for names in tasks]
    assert any(linked) and not all(linked)


@pytest.mark.parametrize("mark", ["?", "", " ?!"])
def test_what_is_asked_of_the_test_set_is_no_heading_to_learn(tmp_path: Path, mark: str) -> None:
    texts = sentences(120)
    asked = [f"How is part {number} of the machine cleaned?" for number in range(60)]
    pages = {
        f"p{number}.md": f"# {asked[number].rstrip('?')}{mark}\n\n{text} {texts[60 + number]}\n"
        for number, text in enumerate(texts[:60])
    }
    folder = folder_of(tmp_path / "docs", pages)
    names = [document.id for document in prepared_of(folder, tmp_path / "a").documents]
    pairs = tmp_path / "pairs.jsonl"
    # Each question is answered on the page after the one that it is the heading of.
    rows = [{"query": asked[n], "document": names[n - 59]} for n in range(60)]
    pairs.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = prepared_of(folder, tmp_path / "b", pairs=pairs)
    held = {query for part in found.questions.values() for query in part.queries}
    trained = {pair.query.rstrip(" ?!") + "?" for pair in found.pairs if pair.task != "given"}
    assert held and trained and not trained & held


def test_a_heading_of_two_documents_is_no_question_wherever_they_stand(tmp_path: Path) -> None:
    texts = sentences(480)
    pages = {
        f"p{number}.md": f"# {texts[number // 2 if number < 60 else number]}\n\n"
        f"{texts[160 + number]} {texts[320 + number]}\n"
        for number in range(160)
    }
    found = prepared_of(folder_of(tmp_path / "docs", pages), tmp_path / "work")
    assert found.facts["pairs"]["task"] == "heading"
    shared = {normalize(text) for text in texts[:30]}
    asked = [query for part in found.questions.values() for query in part.queries]
    assert len(asked) >= 20 and not shared & set(map(normalize, asked))
    assert not shared & {normalize(pair.query) for pair in found.pairs}
    assert found.facts["pairs"]["dropped_ambiguous"] == 60


def test_a_document_is_asked_for_once_and_very_many_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(240)
    pages = {f"{n}.txt": " ".join(texts[3 * n : 3 * n + 3]) for n in range(80)}
    folder = folder_of(tmp_path / "docs", pages)
    found = prepared_of(folder, tmp_path / "a")
    assert found.facts["pairs"]["task"] == "inverse_cloze"
    for part in found.questions.values():
        answers = [next(iter(known)) for known in part.relevance]
        assert len(set(answers)) == len(answers) > 3
    monkeypatch.setattr(preparation, "MOST_QUERIES", 3)
    few = prepared_of(folder, tmp_path / "b").questions
    assert {len(part.queries) for part in few.values()} == {3}


def test_peoples_queries_are_asked_of_whole_documents(tmp_path: Path) -> None:
    texts = sentences(120)
    pages = {f"p{n}.md": f"# {text}\n\n{texts[60 + n]}\n" for n, text in enumerate(texts[:60])}
    folder = folder_of(tmp_path / "docs", pages)
    documents = prepared_of(folder, tmp_path / "a").documents
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"query": f"What is {n}?", "document": one.id} for n, one in enumerate(documents)]
    pairs.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = prepared_of(folder, tmp_path / "b", pairs=pairs)
    assert found.views == views_of(found.documents)
    assert all(header for header, _ in found.views)


def test_documents_that_are_trained_on_are_counted_and_not_their_queries(tmp_path: Path) -> None:
    texts = sentences(60)
    pages = {f"p{n}.txt": f"{text} {texts[30 + n]}" for n, text in enumerate(texts[:30])}
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {"query": f"What is {n} of {m}?", "document": f"p{n}.txt#p{n}"}
        for n in range(30)
        for m in range(8)
    ]
    pairs.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = prepared_of(folder_of(tmp_path / "docs", pages), tmp_path / "work", pairs=pairs)
    assert len(found.pairs) > 100 and found.too_little is not None
    count = len({pair.document for pair in found.pairs})
    assert f"{count} documents to train on" in found.too_little


def test_either_side_may_have_too_few_queries() -> None:
    assert _too_little(40, {"validation": 10, "test": 10}) is None
    for few in ((39, 10, 10), (40, 9, 10), (40, 10, 9)):
        train, validation, test = few
        assert _too_little(train, {"validation": validation, "test": test}) is not None


def test_twenty_documents_are_enough_to_begin_with(tmp_path: Path) -> None:
    pages = {f"{n}.txt": text for n, text in enumerate(sentences(20))}
    folder = folder_of(tmp_path / "docs", pages)
    assert len(prepared_of(folder, tmp_path / "a").documents) == 20
    (folder / "0.txt").unlink()
    with pytest.raises(InputError, match="19 documents, and a held-out proof needs at least 20"):
        prepared_of(folder, tmp_path / "b")


def test_skipped_files_are_counted_beyond_those_that_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "docs", {f"{n}.txt": t for n, t in enumerate(sentences(20))})
    for number in range(3):
        (folder / f"{number}.pdf").write_text("no page")
    monkeypatch.setattr(preparation, "_MOST_LISTED", 2)
    facts = prepared_of(folder, tmp_path / "work").facts
    assert (len(facts["skipped"]), facts["skipped_count"]) == (2, 3)


def test_a_document_keeps_its_best_grade_where_queries_of_one_text_are_joined() -> None:
    for grades in ((1, 2), (2, 1)):
        given = {name: {"d": grade} for name, grade in zip("ab", grades, strict=True)}
        found = joined(Judgements({"a": "What is it?", "b": "what  is IT?"}, given))
        assert found.queries == {"a": "What is it?"} and found.relevance == {"a": {"d": 2}}


def test_all_that_answer_one_query_are_joined() -> None:
    assert judged_together([[3, 1], [5], [4, 2, 6]]) == [(1, 3), (2, 4), (2, 6)]


def test_code_is_matched_by_english_words_only_where_no_prose_has_a_language() -> None:
    code = {"code": 9, "prose": 1}
    assert word_language({"de": 5, "en": 1}, code) == "de"
    assert word_language({"unknown": 10}, code) == "en"
    assert word_language({"unknown": 10}, {"code": 1, "prose": 1}) == "unknown"


def test_marks_around_words_ask_nothing_else_and_those_of_names_do() -> None:
    same = ["How is it done?", "how is  it done", "“How is it done”?!", "How, is it: done"]
    assert {_bare(query) for query in same} == {"how is it done"}
    for one, other in (("C", "C#"), ("init", "__init__"), ("NET", ".NET"), ("50", "50%"),
                       ("= operator", "!= operator"), ("-5 degrees", "5 degrees")):  # fmt: skip
        assert _bare(one) != _bare(other)
    assert _bare("???") == _bare("??? ") == "???"
