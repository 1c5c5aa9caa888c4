from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isometry.core.workspace import Workspace
from isometry.corpora.curation.dedup import normalize
from isometry.corpora.readers import open_source
from isometry.evaluation.retention import gloss_texts
from isometry.jobs.preparation import Prepared, prepare


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


def test_near_duplicates_of_an_answer_are_answers(prepared: Prepared) -> None:
    for part in prepared.questions.values():
        for known in part.relevance:
            cluster = prepared.clusters[next(iter(known))]
            assert set(known) == set(np.flatnonzero(prepared.clusters == cluster).tolist())


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
