"""The main job in miniature, from real source files to a Space."""

from __future__ import annotations

import html
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import isometry
from isometry import InputError, Space
from isometry.cli.main import main
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retrieval import METRICS, rank_documents
from isometry.jobs import fit as job
from isometry.jobs.fit import FitSettings, default_out, plan_only
from isometry.jobs.selection import choose_point


@pytest.fixture(scope="session")
def opened(tiny_space: Path) -> Space:
    return Space.open(tiny_space)


def figures(space: Space) -> dict[str, Any]:
    return space.manifest["figures"]


def test_it_gets_better_and_says_so(opened: Space) -> None:
    proof = figures(opened)["test"]
    rows = {row["system"]: row for row in proof["rows"]}
    assert list(rows) == ["lexical", "base", "tuned", "base fused", "tuned fused"]
    assert rows["tuned"]["ndcg@10"] > rows["base"]["ndcg@10"]
    changes = {(row["mode"], row["metric"]): row for row in proof["differences"]}
    assert {metric for _, metric in changes} == set(METRICS)
    dense = changes["dense", "ndcg@10"]
    assert dense["low"] > 0
    expected = rows["tuned"]["ndcg@10"] - rows["base"]["ndcg@10"]
    assert dense["difference"] == pytest.approx(expected)
    verdict = figures(opened)["verdict"]
    assert verdict["kept"] == "tuned"
    assert f"{100 * dense['difference']:+.1f}" in verdict["headline"]


def test_the_choice_was_made_on_validation_and_keeps_what_the_base_knew(opened: Space) -> None:
    candidates = figures(opened)["validation"]["candidates"]
    chosen = [row for row in candidates if row["chosen"]]
    assert len(chosen) == 1
    qualified = [row for row in candidates[1:] if row["allowed"] and row["low"] > 0]
    best = max(qualified, key=lambda row: row["ndcg@10"])
    assert chosen[0] in qualified
    assert chosen[0]["alpha"] <= best["alpha"]
    assert chosen[0]["retention"] >= candidates[0]["retention"] - 1


def test_the_point_nearest_to_the_base_that_is_not_clearly_worse_is_kept() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 200)
    noise -= noise.mean()
    error = float(noise.std(ddof=1)) / 200**0.5
    best = np.full(200, 0.8)

    def kept(behind: float, **changed: object) -> float | None:
        """The alpha that is kept when the middle point is so many errors behind the last."""
        scores = {1.0: best, 0.67: best - noise - behind * error, 0.33: best - 0.1}
        rows = [
            {"alpha": alpha, "ndcg@10": float(own.mean()), "allowed": True, "low": 0.01}
            | (changed if alpha == 0.67 else {})
            for alpha, own in scores.items()
        ]
        row = choose_point(rows, scores)
        return None if row is None else row["alpha"]

    assert kept(0.9) == 0.67
    assert kept(1.1) == 1.0
    # The last point is clearly the worse of the two, or the middle one does not qualify.
    assert kept(-3.0) == 0.67
    assert kept(0.5, allowed=False) == 1.0
    assert kept(0.5, low=-0.01) == 1.0
    assert choose_point([], {}) is None


def test_nothing_leaks(opened: Space) -> None:
    data = figures(opened)["data"]
    assert set(data["leakage"].values()) == {0}
    documents = pq.read_table(opened.folder / "documents.parquet").to_pylist()
    assert sum(data["splits"].values()) == len(documents) == data["documents"]


def test_all_files_are_as_they_were_made(opened: Space) -> None:
    assert opened.verify() == len(opened.manifest["files"])


def test_plain_sentence_transformers_loads_the_model(opened: Space) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(opened.model), device="cpu")
    texts = ["sort a list in place", "return the day of the week"]
    theirs = model.encode_query(texts, normalize_embeddings=True)
    np.testing.assert_allclose(opened.encode(texts), theirs, atol=1e-5)


def test_dense_search_is_exact(opened: Space) -> None:
    """Brute force over the passages, encoded anew, finds the same documents in the same order."""
    index = opened.index._table.to_arrow()
    vectors = opened.encoder.encode(index["text"].to_pylist(), "document")
    names = sorted(set(index["document"].to_pylist()))
    owner = np.array([names.index(name) for name in index["document"].to_pylist()])
    for query in ("sort a list in place", "copy a file", "the day of the week"):
        order, scores = rank_documents(opened.encode([query]), vectors, owner, 10)
        found = opened.search(query, 10, "dense")
        assert [hit.score for hit in found] == pytest.approx(scores[0].tolist(), abs=1e-4)
        assert {hit.document for hit in found} == {names[row] for row in order[0]}


def test_hybrid_search_fuses_as_it_was_evaluated(opened: Space) -> None:
    query, weight = "copy a file with its permissions", opened.manifest["search"]["dense_weight"]
    depth = opened.manifest["search"]["depth"]
    total: dict[str, float] = {}
    sides = {mode: opened.search(query, depth, mode) for mode in ("dense", "lexical")}
    names = {hit.document for hits in sides.values() for hit in hits}
    for mode, share in (("dense", weight), ("lexical", 1 - weight)):
        scores = {hit.document: hit.score for hit in sides[mode]}
        # Words give 0 to what they did not find.
        values = [*scores.values()] + [0.0] * (depth - len(scores)) * (mode == "lexical")
        for name in names:
            own = scores.get(name, min(values))
            total[name] = total.get(name, 0.0) + share * (own - np.mean(values)) / np.std(values)
    found = opened.search(query, 10)
    assert [hit.document for hit in found] == sorted(total, key=lambda name: -total[name])[:10]
    assert [hit.score for hit in found] == pytest.approx([total[hit.document] for hit in found])


def test_a_search_shows_the_passage_that_matched(opened: Space, tiny_docs: Path) -> None:
    [hit] = opened.search("shutil copymode permission bits", 1, "lexical")
    assert hit.document == "shutil.copymode"
    assert "mode bits" in hit.text


def test_the_report_and_the_card_carry_the_figures(opened: Space) -> None:
    report = opened.report.read_text(encoding="utf-8")
    assert html.escape(figures(opened)["verdict"]["headline"]) in report
    values = re.findall(r'data-figure="([^"]+)" data-value="([^"]+)"', report)
    assert len(values) > 100
    card = (opened.model / "README.md").read_text(encoding="utf-8")
    assert "nDCG@10" in card


def test_the_same_command_again_has_nothing_to_do(
    opened: Space, tiny_docs: Path, small_folder: Path, tiny_plan: Path
) -> None:
    before = (opened.folder / "space.json").stat().st_mtime_ns
    # However folders and minutes are typed.
    spelled = {"source": f"{tiny_docs}/", "base": f"{small_folder}/", "minutes": 10}
    for typed in ({"source": tiny_docs, "base": small_folder}, spelled):
        again = isometry.fit(**typed, plan=tiny_plan, out=opened.folder)
        assert again.manifest == opened.manifest
    assert (opened.folder / "space.json").stat().st_mtime_ns == before


def test_other_settings_do_not_replace_a_space(
    opened: Space, tiny_docs: Path, small_folder: Path, tiny_plan: Path
) -> None:
    with pytest.raises(InputError, match="other settings"):
        isometry.fit(tiny_docs, base=small_folder, plan=tiny_plan, out=opened.folder, seed=1)


def test_a_changed_source_is_another_fit(
    opened: Space, tiny_docs: Path, small_folder: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    docs = Path(shutil.copytree(tiny_docs, tmp_path / "docs"))
    (docs / "calendar.py").write_text("def f():\n    '''Another function altogether.'''\n")
    with pytest.raises(InputError, match="another source"):
        isometry.fit(docs, base=small_folder, plan=tiny_plan, out=opened.folder)


def test_a_changed_base_is_another_fit(tmp_path: Path, small_folder: Path, tiny_plan: Path) -> None:
    """Also where no weights in its top folder changed."""
    base = Path(shutil.copytree(small_folder, tmp_path / "base"))
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(30):
        (docs / f"{number}.md").write_text("# Pumps\n\nClose the valve first.\n")

    def fit() -> Space:
        return isometry.fit(docs, base=base, plan=tiny_plan, out=tmp_path / "out")

    made = fit().manifest
    assert fit().manifest == made
    prompts = base / "config_sentence_transformers.json"
    settings = json.loads(prompts.read_text()) if prompts.is_file() else {}
    prompts.write_text(json.dumps({**settings, "prompts": {"query": "find: ", "document": ""}}))
    with pytest.raises(InputError, match="other settings"):
        fit()


def test_what_is_no_part_of_a_space_is_not_replaced_with_it(
    opened: Space, tiny_docs: Path, small_folder: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(opened.folder, tmp_path / "out"))
    (out / "notes.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds notes\.txt, which is no part of the Space"):
        isometry.fit(tiny_docs, base=small_folder, plan=tiny_plan, out=out, seed=1, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert (out / "notes.txt").read_text() == "years of work"


def test_what_comes_to_the_place_meanwhile_is_not_replaced(
    tmp_path: Path, small_folder: Path, tiny_plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, out, work = tmp_path / "docs", tmp_path / "out", job._fit
    docs.mkdir()
    for number in range(30):
        (docs / f"{number}.md").write_text("# Pumps\n\nClose the valve first.\n")

    def meanwhile(*arguments: Any) -> None:
        work(*arguments)
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")

    def fit() -> Space:
        return isometry.fit(docs, base=small_folder, plan=tiny_plan, out=out)

    with monkeypatch.context() as patch:
        patch.setattr(job, "_fit", meanwhile)
        with pytest.raises(InputError, match="exists and is no Space; it is left alone"):
            fit()
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    out.rename(tmp_path / "moved")
    # Nothing that was done is lost.
    monkeypatch.setattr(TextEncoder, "encode", lambda *_, **__: pytest.fail("it encoded again"))
    fit().verify()


def test_a_seed_below_0_and_endless_minutes_are_refused(tiny_docs: Path) -> None:
    for options, said in (({"seed": -1}, "--seed"), ({"minutes": float("inf")}, "--minutes")):
        with pytest.raises(InputError, match=said):
            plan_only(FitSettings(str(tiny_docs), **options))


def test_files_are_found_however_their_paths_are_typed(
    tiny_docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for typed, place in (("~/asked.jsonl", tmp_path / "asked.jsonl"), ("./a.jsonl", "a.jsonl")):
        with pytest.raises(InputError, match=f"There is no file {re.escape(str(place))}"):
            isometry.fit(tiny_docs, pairs=typed)
        with pytest.raises(InputError, match=f"There is no file {re.escape(str(place))}"):
            plan_only(FitSettings(str(tiny_docs), pairs=typed))
    (tmp_path / "plan.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="no plan of this version"):
        isometry.fit(tiny_docs, plan="~/plan.json")


def test_another_way_of_searching_is_refused(opened: Space) -> None:
    for search in (opened.search, opened.explain):
        with pytest.raises(ValueError, match="semantic"):
            search("words", 3, "semantic")


def test_a_dry_run_plans_and_leaves_nothing(
    tiny_docs: Path, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    plan, data = plan_only(
        FitSettings(str(tiny_docs), base=str(small_folder), minutes=2, threads=before + 1)
    )
    assert plan.threads == before + 1 and torch.get_num_threads() == before
    assert plan.steps > 0
    assert plan.precision in ("float32", "bfloat16")
    assert set(plan.estimate_seconds) >= {"base", "training", "selection", "test", "index"}
    assert data["documents"] > 0
    assert list(tmp_path.iterdir()) == []


def base_kept(source: Path, base: Path, plan: Path, out: Path) -> dict[str, Any]:
    """Fits a source that nothing can be learned from; gives the figures back."""
    code = main(
        ["fit", str(source), "--base", str(base), "--plan", str(plan), "--out", str(out), "-q"]
    )
    assert code == 0
    space = Space.open(out)
    assert figures(space)["verdict"]["kept"] == "base"
    assert figures(space)["verdict"]["reasons"]
    assert "base model was kept" in space.report.read_text(encoding="utf-8")
    space.verify()
    # What serves is the base itself.
    assert space.encoder.fingerprint() == space.manifest["encoder"]["base_fingerprint"]
    return figures(space)


def test_word_salad_keeps_the_base(
    tmp_path: Path, texts: list[str], small_folder: Path, tiny_plan: Path
) -> None:
    generator = random.Random(0)
    words = sorted({word for text in texts for word in re.findall(r"[a-z]{3,}", text)})
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(150):
        sentences = [" ".join(generator.sample(words, 9)).capitalize() + "." for _ in range(5)]
        (docs / f"salad{number}.txt").write_text(" ".join(sentences))
    found = base_kept(docs, small_folder, tiny_plan, tmp_path / "out")
    assert "surely better" in found["verdict"]["reasons"][0]


def test_shuffled_documents_keep_the_base(
    tmp_path: Path, texts: list[str], small_folder: Path, tiny_plan: Path
) -> None:
    sentences = [text.split("\n")[0] for text in texts]
    sentences = [text for text in sentences if len(text.split()) > 5]
    random.Random(0).shuffle(sentences)
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(150):
        own = sentences[5 * number : 5 * number + 5]
        (docs / f"page{number}.txt").write_text(" ".join(own))
    base_kept(docs, small_folder, tiny_plan, tmp_path / "out")


def test_one_repeated_page_keeps_the_base(
    tmp_path: Path, small_folder: Path, tiny_plan: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(60):
        (docs / f"page{number}.md").write_text(
            "# Installing the pump\n\nClose the valve first. Then loosen the four screws.\n"
        )
    found = base_kept(docs, small_folder, tiny_plan, tmp_path / "out")
    assert "too few independent" in found["verdict"]["reasons"][0]
    assert found["test"] is None


@pytest.mark.parametrize("in_one_file", [False, True])
def test_peoples_queries_are_used_where_there_are_some(
    tmp_path: Path, few_docs: Path, small_folder: Path, brief_plan: Path, in_one_file: bool
) -> None:
    """Docstrings stand in for people's queries: first lines, judged for their functions."""
    from isometry.corpora.readers import ReadingReport, open_source

    documents = list(open_source(few_docs).documents(ReadingReport()))
    first = {d.summary.split("\n")[0]: d.id for d in documents if len(d.summary.split()) > 6}
    asked = [(name, query) for query, name in first.items()]
    queries, judged = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "\n".join(json.dumps({"_id": f"q{n}", "text": q}) for n, (_, q) in enumerate(asked))
    )
    judged.write_text(
        "query-id\tcorpus-id\tscore\n"
        + "\n".join(f"q{n}\t{name}\t1" for n, (name, _) in enumerate(asked))
    )
    both = tmp_path / "pairs.jsonl"
    both.write_text("\n".join(json.dumps({"query": q, "document": name}) for name, q in asked))
    labels = {"pairs": both} if in_one_file else {"queries": queries, "judgements": judged}
    space = isometry.fit(
        few_docs,
        base=small_folder,
        plan=brief_plan,
        out=tmp_path / "out",
        **labels,
    )
    proof = figures(space)["test"]
    assert proof["kind"] == "given"
    pairs = figures(space)["data"]["pairs"]
    assert pairs["by_task"]["given"] > 0
    assert pairs["validation"] + pairs["test"] + pairs["by_task"]["given"] == len(asked)


def test_a_plan_without_time_for_all_ranks_a_sample_with_every_answer(
    tmp_path: Path,
    tiny_docs: Path,
    small_folder: Path,
    tiny_plan: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = json.loads(tiny_plan.read_text()) | {"pool": 80, "queries": 20, "pairs": 100}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan | {"steps": 4}))
    encoded: dict[str, int] = {}
    encode = TextEncoder.encode

    def counted(encoder: TextEncoder, texts: list[str], *args: Any, **options: Any) -> np.ndarray:
        title = options.get("title", "")
        encoded[title] = encoded.get(title, 0) + len(texts)
        return encode(encoder, texts, *args, **options)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    space = isometry.fit(tiny_docs, base=small_folder, plan=path, out=tmp_path / "out")
    found = figures(space)
    documents = found["data"]["documents"]
    for side in (found["validation"], found["test"]):
        assert side["queries"] == 20
        assert side["documents"] == 80 < documents
    # Nobody's answer is missing: words, which need no training, find most of them.
    rows = {row["system"]: row for row in found["test"]["rows"]}
    assert rows["lexical"]["recall@100"] > 0.8
    assert found["batches"]["pairs"] <= 100
    # Only the index has everything.
    assert encoded["Encoding what is trained on"] <= 100
    passages = encoded["Encoding passages"]
    assert passages <= 3 * 80 * found["data"]["chunks"] / documents * 2
    assert {row["document"] for row in space.index._table.to_arrow().to_pylist()} == {
        document["id"] for document in pq.read_table(space.folder / "documents.parquet").to_pylist()
    }
    assert f"a sample of all {documents}" in re.sub(
        "<[^>]*>", "", space.report.read_text(encoding="utf-8")
    )


def test_a_space_is_called_after_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("guide-1.0", "guide-1.1", "my.docs"):
        (tmp_path / folder).mkdir()
    for source, name in (
        ("guide-1.0/", "guide-1.0-space"),
        ("guide-1.1", "guide-1.1-space"),
        ("my.docs", "my.docs-space"),
        ("tickets.csv", "tickets-space"),
        ("python:networkx", "networkx-space"),
        ("sqlite:app.db#mails", "app-mails-space"),
    ):
        assert default_out(source) == Path(name)


def test_a_disk_cannot_be_replaced_by_a_space(tiny_docs: Path) -> None:
    # A mount point on any system.
    with pytest.raises(InputError, match="a disk is mounted"):
        isometry.fit(tiny_docs, out="/proc" if Path("/proc").is_mount() else "/Volumes")


def test_a_training_that_diverged_keeps_the_base(
    tmp_path: Path, few_docs: Path, small_folder: Path, brief_plan: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(json.loads(brief_plan.read_text()) | {"learning_rate": 1e30}))
    space = isometry.fit(few_docs, base=small_folder, plan=plan, out=tmp_path / "space")
    assert "diverged" in " ".join(space.manifest["figures"]["verdict"]["reasons"])
    assert space.manifest["encoder"]["fingerprint"] == TextEncoder.load(small_folder).fingerprint()
    assert space.search("a label", 1)


def test_no_prompt_of_another_name_comes_back_with_the_tuned_weights(
    tmp_path: Path, tiny_docs: Path, small_folder: Path, tiny_plan: Path
) -> None:
    base = Path(shutil.copytree(small_folder, tmp_path / "base"))
    path = base / "config_sentence_transformers.json"
    prompts = {"query": "query: ", "passage": "passage: "}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": prompts}))
    assert TextEncoder.load(base).prompts["document"] == "passage: "
    space = isometry.fit(
        tiny_docs, base=base, plan=tiny_plan, document_prompt="", out=tmp_path / "space"
    )
    assert space.manifest["figures"]["verdict"]["kept"] == "tuned"
    assert space.manifest["encoder"]["document_prompt"] == ""
    assert space.encoder.prompts == {"query": "query: ", "document": ""}
