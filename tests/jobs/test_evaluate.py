from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from beir_folders import write_beir

from isometry import InputError
from isometry.cli.main import main
from isometry.core.workspace import Workspace
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import METRICS
from isometry.jobs.evaluate import evaluate
from isometry.jobs.merge_evaluation import scores_of
from isometry.jobs.merge_tasks import open_tasks
from isometry.jobs.preparation import Questions
from isometry.jobs.ranking import asked_documents


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> Path:
    return write_beir(tmp_path_factory.mktemp("beir"), pairs)


def test_the_contract_for_scripts(
    beir: Path,
    small_folder: Path,
    tiny_space: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = [str(small_folder), str(tiny_space)]
    assert main(["evaluate", *models, "--beir", str(beir), "--json", "-q"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = json.loads(captured.out)["rows"]
    assert [(row["model"], row["mode"]) for row in rows] == [
        (model, mode) for model in models for mode in ("dense", "lexical", "hybrid")
    ]
    for row in rows:
        assert set(row) == {
            "model", "mode", *METRICS, "difference", "low", "high", "queries", "groups",
        }  # fmt: skip
        assert 1 < row["groups"] < row["queries"]
        assert row["queries"] == 200
        assert row["low"] <= row["difference"] <= row["high"]
    # Differences are to the first model in the same mode, and words do not depend on the model.
    by = {(row["model"], row["mode"]): row for row in rows}
    for mode in ("dense", "lexical", "hybrid"):
        first, second = by[models[0], mode], by[models[1], mode]
        assert first["difference"] == first["low"] == first["high"] == 0
        expected = second["ndcg@10"] - first["ndcg@10"]
        assert second["difference"] == pytest.approx(expected)
    assert by[models[1], "lexical"]["difference"] == 0
    # What was tuned on other modules of the same library is better on these, too.
    assert by[models[1], "dense"]["difference"] > 0


@pytest.fixture
def german(tmp_path: Path) -> Path:
    """Pages that only a German stemmer finds: the queries have other forms of their words."""
    folder = tmp_path / "german"
    (folder / "qrels").mkdir(parents=True)
    things = {"häuser": "haus", "bücher": "buch", "wälder": "wald", "dörfer": "dorf"}
    documents = [
        {"_id": f"d{n}", "title": "",
         "text": f"Die {many} stehen seit vielen Jahren dort und werden nicht vergessen."}
        for n, many in enumerate(things)
    ]  # fmt: skip
    queries = [{"_id": f"q{n}", "text": one} for n, one in enumerate(things.values())]
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "\n".join(json.dumps(row) for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    lines = [f"q{n}\td{n}\t1" for n in range(len(things))]
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *lines]), encoding="utf-8"
    )
    return folder


def test_words_are_matched_in_the_documents_language_or_as_a_space_does(
    german: Path, small_folder: Path, tiny_space: Path
) -> None:
    def by_words(*models: Path) -> float:
        rows = evaluate(models, beir=german)["rows"]
        (found,) = {row["ndcg@10"] for row in rows if row["mode"] == "lexical"}
        return found

    assert by_words(small_folder) == 1
    # That Space is of English source code.
    english = by_words(tiny_space)
    assert english < 1
    assert by_words(small_folder, tiny_space) == english


@pytest.mark.parametrize("kind", ["small_folder", "table"])
def test_dense_figures_are_those_of_sentence_transformers(
    beir: Path, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Their evaluator, on documents short enough not to be cut."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import (
        InformationRetrievalEvaluator,
    )

    def rows(name: str) -> list[dict[str, str]]:
        lines = (beir / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines]

    folder = request.getfixturevalue(kind)
    model = SentenceTransformer(str(folder), device="cpu")
    documents = {row["_id"]: row["text"] for row in rows("corpus")}
    limit = 128
    assert (model.max_seq_length or limit) >= limit
    short = {name: text for name, text in documents.items() if len(text) < limit}
    judged = [line.split("\t") for line in (beir / "qrels" / "test.tsv").read_text().split("\n")]
    relevant = {query: {document} for query, document, _ in judged[1:] if document in short}
    queries = {row["_id"]: row["text"] for row in rows("queries") if row["_id"] in relevant}
    theirs = InformationRetrievalEvaluator(
        queries, short, relevant, ndcg_at_k=[10], mrr_at_k=[10], accuracy_at_k=[1],
        precision_recall_at_k=[10], map_at_k=[10], batch_size=32, show_progress_bar=False,
    )(model)  # fmt: skip

    layout = tmp_path / "short"
    (layout / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", short), ("queries", queries)):
        lines = "\n".join(json.dumps({"_id": i, "text": t}) for i, t in texts.items())
        (layout / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (layout / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n"
        + "\n".join(f"{query}\t{next(iter(own))}\t1" for query, own in relevant.items())
    )
    ours = evaluate([folder], beir=layout)["rows"][0]
    assert len(queries) > 20
    assert ours["ndcg@10"] == pytest.approx(theirs["cosine_ndcg@10"], abs=1e-6)
    assert ours["mrr@10"] == pytest.approx(theirs["cosine_mrr@10"], abs=1e-6)
    assert ours["recall@10"] == pytest.approx(theirs["cosine_recall@10"], abs=1e-6)


def test_a_query_that_is_a_document_does_not_find_itself(
    tmp_path: Path, small_folder: Path, pairs: list[tuple[str, str]]
) -> None:
    """As BEIR's evaluation has it, where the queries are documents; what is judged counts."""
    folder = tmp_path / "same"
    (folder / "qrels").mkdir(parents=True)
    texts = [query for query, _ in pairs[:120]]
    rows = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(rows), encoding="utf-8")
    asked = range(0, len(texts), 2)
    (folder / "queries.jsonl").write_text("\n".join(rows[::2]), encoding="utf-8")

    def judge(lines: list[str]) -> None:
        whole = "\n".join(["query-id\tcorpus-id\tscore", *lines])
        (folder / "qrels" / "test.tsv").write_text(whole, encoding="utf-8")

    def reached(metric: str) -> dict[str, float]:
        rows = evaluate([small_folder], beir=folder)["rows"]
        return {row["mode"]: row[metric] for row in rows}

    judge([f"d{n}\td{n + 1}\t1" for n in asked])
    found = reached("mrr@10")
    encoder = TextEncoder.load(small_folder)
    vectors = encoder.encode(texts)
    places = (vectors[::2] @ vectors.T).argsort(axis=1)[:, ::-1]
    ranks = []
    for row, n in enumerate(asked):
        others = [place for place in places[row].tolist() if place != n]
        ranks.append(others.index(n + 1) + 1)
    expected = sum(1 / rank for rank in ranks if rank <= 10) / len(ranks)
    assert found["dense"] == pytest.approx(expected, abs=1e-6) and expected > 0
    # So does a merge with its parents.
    (task,) = open_tasks([folder])
    with Workspace(tmp_path / "work", "x") as work:
        data = task.prepared(work, 0)
    questions = Questions(texts[::2], [{n + 1: 1} for n in asked])
    data = replace(data, questions={**data.questions, "test": questions})
    scores = scores_of(str(small_folder), data, tmp_path / "vectors")
    assert scores["mrr@10"].mean() == pytest.approx(expected, abs=1e-6)
    judge([f"d{n}\td{n}\t1" for n in asked])
    assert min(reached("recall@1").values()) > 0.9


def test_an_id_alone_makes_no_query_a_document() -> None:
    views = [("", "One text."), ("Title", "another"), ("", "one  TEXT.")]
    asked = ["one text.", "Another", "Title", "one text."]
    found = asked_documents(asked, [{1: 1}, {1: 2}, {0: 1}, {2: 1}], views)
    assert found.tolist() == [0, -1, -1, 0]


def test_one_model_with_two_prompts_has_two_names(
    tmp_path: Path, small_folder: Path, pairs: list[tuple[str, str]]
) -> None:
    beir = write_beir(tmp_path / "few", pairs[:12])
    result = evaluate([small_folder] * 2, beir=beir, query_prompts=["", "query: "])
    names = [str(small_folder), f"{small_folder} (2)"]
    assert [row["model"] for row in result["rows"]] == [names[0]] * 3 + [names[1]] * 3
    assert [(one["model"], one["query_prompt"]) for one in result["models"]] == [
        (names[0], ""), (names[1], "query: "),
    ]  # fmt: skip
    (alone,) = evaluate(str(small_folder), beir=beir)["models"]
    assert alone["model"] == names[0]
    with pytest.raises(InputError, match="not 'fp16'"):
        evaluate([small_folder], beir=beir, precision=cast(Any, "fp16"))


def test_columns_are_not_named_twice(beir: Path, small_folder: Path) -> None:
    with pytest.raises(InputError, match="what its columns are called"):
        evaluate([small_folder], beir=beir, id="url")


def test_a_space_below_the_home_folder_is_one(
    german: Path, tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "home-space").symlink_to(tiny_space)
    found, expected = (evaluate([model], beir=german) for model in ("~/home-space", tiny_space))
    assert [row["ndcg@10"] for row in found["rows"]] == [row["ndcg@10"] for row in expected["rows"]]
    # Its words are cut as English, which a model alone would not have done here.
    model = evaluate([tiny_space / "model"], beir=german)["rows"]
    assert model[1]["ndcg@10"] != found["rows"][1]["ndcg@10"]


def test_what_is_left_out_is_told(
    german: Path, small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (german / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"_id": "x", "text": "')
    assert main(["evaluate", str(small_folder), "--beir", str(german)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Left out: 1 files or rows that could not be read." in said


def test_prompts_are_put_before_queries_and_documents(
    beir: Path, small_folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    TextEncoder.load(small_folder, query_prompt="asked: ", document_prompt="code: ").save(own)
    result = evaluate(
        [own, small_folder, own, small_folder],
        beir=beir,
        query_prompts=[None, "asked: ", "", None],
        document_prompts=[None, "code: ", "", None],
    )
    both = [(one["query_prompt"], one["document_prompt"]) for one in result["models"]]
    assert both == 2 * [("asked: ", "code: ")] + 2 * [("", "")]
    dense = [row["mrr@10"] for row in result["rows"] if row["mode"] == "dense"]
    assert dense[0] == dense[1] != dense[2] == dense[3]


def test_each_model_is_told_its_own_prompt_and_a_space_keeps_its_own(
    german: Path, small_folder: Path, tiny_space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [str(small_folder), str(tiny_space), str(small_folder)]
    command = ["evaluate", *models, "--beir", str(german), "--query-prompt", "", "-q"]
    assert main([*command, "--query-prompt", "asked: ", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["models"]
    assert [one["query_prompt"] for one in told] == ["", "", "asked: "]
    assert {one["document_prompt"] for one in told} == {""}
    assert main(command) == 2
    assert "1 times, and 2 of the models are no Spaces" in capsys.readouterr().err
    with pytest.raises(InputError, match="0 of the models are no Spaces"):
        evaluate([tiny_space], beir=german, document_prompts=["code: "])


def test_prompts_are_shown(
    german: Path, small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ("--query-prompt", "asked: ", "--document-prompt", "code: ")
    assert main(["evaluate", str(small_folder), "--beir", str(german), *prompts]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{small_folder}: 'asked: ' before queries and 'code: ' before documents." in said
