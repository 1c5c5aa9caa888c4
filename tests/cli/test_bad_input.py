"""Whatever a user gets wrong: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from isometry.cli.main import main
from isometry.core import writing


@pytest.fixture
def space(tiny_space: Path, tmp_path: Path) -> Path:
    """A copy of the finished Space that a test may damage."""
    return Path(shutil.copytree(tiny_space, tmp_path / "a-space"))


def complain(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Runs the program, and gives its one line of complaint back."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2, captured
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("isometry: ")]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_missing_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no-such" in complain(capsys, "fit", tmp_path / "no-such")
    assert list(tmp_path.iterdir()) == []


def test_empty_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    line = complain(capsys, "fit", tmp_path / "docs", "--out", tmp_path / "out")
    assert "empty" in line
    assert not (tmp_path / "out.partial").exists()


def test_only_unreadable_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_bytes(b"\0\1\2" * 100)
    (tmp_path / "docs" / "b.bin").write_bytes(b"\0\1\2" * 100)
    line = complain(capsys, "fit", tmp_path / "docs", "--out", tmp_path / "out", "-q")
    assert "2 files" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs"]


def test_a_column_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("subject,body\na,b\n", encoding="utf-8")
    line = complain(capsys, "fit", table, "--text", "bodi")
    assert "bodi" in line
    assert "subject" in line


def test_judgements_with_unknown_ids(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    (tmp_path / "q.tsv").write_text("q1\tsort a list\n", encoding="utf-8")
    (tmp_path / "j.txt").write_text("q1 0 nowhere.at_all 1\n", encoding="utf-8")
    line = complain(
        capsys, "fit", tiny_docs, "--queries", tmp_path / "q.tsv", "--judgements",
        tmp_path / "j.txt", "--out", tmp_path / "out", "-q",
    )  # fmt: skip
    assert "nowhere.at_all" in line
    assert not (tmp_path / "out").exists()


def test_queries_without_any_match(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    (tmp_path / "q.tsv").write_text("q1\tsort a list\n", encoding="utf-8")
    (tmp_path / "j.txt").write_text("q2 0 heapq.heapify 1\n", encoding="utf-8")
    line = complain(
        capsys, "evaluate", "packaged:minilm", "--documents", tiny_docs, "--queries",
        tmp_path / "q.tsv", "--judgements", tmp_path / "j.txt", "-q",
    )  # fmt: skip
    assert "quer" in line


def test_queries_without_judgements(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    (tmp_path / "q.tsv").write_text("q1\tsort a list\n", encoding="utf-8")
    assert "together" in complain(capsys, "fit", tiny_docs, "--queries", tmp_path / "q.tsv")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"query": "sort a list", "document": "nowhere.at_all"}', "nowhere.at_all"),
        ('{"query": "😀", "document": "heapq.heapify"}', "with words"),
        ('{"query": "sort a list"}', "a 'document'"),
        ("no json", "pairs.jsonl:1"),
        ("", "no pairs"),
    ],
)
def test_pairs_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path, row: str, complaint: str
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(row, encoding="utf-8")
    out = tmp_path / "out"
    line = complain(capsys, "fit", tiny_docs, "--pairs", pairs, "--out", out, "-q")
    assert complaint in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl"]


def test_labels_among_the_documents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    """Each query would be a document, and the best answer to itself."""
    docs = Path(shutil.copytree(tiny_docs, tmp_path / "docs"))
    pairs, queries, judged = (docs / name for name in ("p.jsonl", "q.tsv", "j.txt"))
    pairs.write_text('{"query": "sort a list", "document": "heapq.heapify"}\n')
    queries.write_text("id\ttext\nq1\tsort a list\n")
    judged.write_text("q1 0 heapq.heapify 1\n")
    out = tmp_path / "out"
    for options in (("--pairs", pairs), ("--queries", queries, "--judgements", judged)):
        line = complain(capsys, "fit", docs, *options, "--out", out, "-q")
        assert f"{options[1]} lies in the source {docs}" in line
    line = complain(capsys, "evaluate", "packaged:minilm", "--documents", docs,
                    "--queries", queries, "--judgements", judged)  # fmt: skip
    assert f"{queries} lies in the source" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs"]


def test_a_page_among_the_documents(
    capsys: pytest.CaptureFixture[str], space: Path, tmp_path: Path
) -> None:
    docs = tmp_path / "somewhere"
    docs.mkdir()
    manifest = json.loads((space / "space.json").read_text())
    manifest["source"]["place"] = str(docs)
    (space / "space.json").write_text(json.dumps(manifest))
    line = complain(capsys, "page", space, "--out", docs / "page.html")
    assert "lies in the source" in line and not list(docs.iterdir())
    # What is hidden is not read.
    assert main(["page", str(space), "--out", str(docs / ".cache" / "page.html"), "-q"]) == 0


def test_a_base_that_is_no_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    line = complain(capsys, "fit", tiny_docs, "--base", tiny_docs, "--out", tmp_path / "out")
    assert "no model" in line
    line = complain(capsys, "fit", tiny_docs, "--base", "packaged:nothing")
    assert "packaged:minilm" in line
    assert list(tmp_path.iterdir()) == []


def test_a_base_with_a_broken_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    line = complain(
        capsys, "encode", tmp_path / "model", tiny_docs, "--out", tmp_path / "v.parquet", "-q"
    )
    assert "has no weights" in line
    assert not (tmp_path / "v.parquet").exists()


def test_an_out_folder_that_is_no_space(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path
) -> None:
    out = write(tmp_path / "precious", thesis="years of work")
    for further in ([], ["--force"]):
        line = complain(capsys, "fit", tiny_docs, "--out", out, *further)
        assert "no Space" in line
    assert (out / "thesis.txt").read_text() == "years of work"


def test_no_room_on_disk(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_docs: Path,
    small_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(writing, "flush", full)
    line = complain(
        capsys, "fit", tiny_docs, "--base", small_folder, "--out", tmp_path / "out", "-q"
    )
    assert "No room" in line
    assert not (tmp_path / "out").exists()


def test_a_space_of_a_newer_version(capsys: pytest.CaptureFixture[str], space: Path) -> None:
    manifest = json.loads((space / "space.json").read_text())
    (space / "space.json").write_text(json.dumps(manifest | {"format": 99}))
    for command in ("info", "verify"):
        assert "99" in complain(capsys, command, space)


def test_a_folder_that_is_no_space(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no Space" in complain(capsys, "info", tmp_path)
    assert "no Space" in complain(capsys, "search", tmp_path / "nothing", "words")


@pytest.mark.parametrize("name", ["model/model.safetensors", "documents.parquet", "report.html"])
def test_a_damaged_file(capsys: pytest.CaptureFixture[str], space: Path, name: str) -> None:
    data = bytearray((space / name).read_bytes())
    data[len(data) // 2] ^= 1
    (space / name).write_bytes(data)
    assert name in complain(capsys, "verify", space)
    (space / name).unlink()
    assert name in complain(capsys, "verify", space)


def test_a_file_too_many(capsys: pytest.CaptureFixture[str], space: Path) -> None:
    (space / "model" / "pytorch_model.bin").write_bytes(b"not ours")
    assert "pytorch_model.bin" in complain(capsys, "verify", space)


def test_another_model_than_the_index_was_made_with(
    capsys: pytest.CaptureFixture[str], space: Path
) -> None:
    weights = load_file(space / "model" / "model.safetensors")
    name = next(name for name in weights if weights[name].is_floating_point())
    weights[name][0] += 1
    save_file(weights, space / "model" / "model.safetensors", {"format": "pt"})
    assert "verify" in complain(capsys, "search", space, "sort a list", "--mode", "dense")


def test_nan_in_vectors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, small_folder: Path, tiny_docs: Path
) -> None:
    model = Path(shutil.copytree(small_folder, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    for tensor in weights.values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    line = complain(capsys, "encode", model, tiny_docs, "--out", tmp_path / "v.parquet", "-q")
    assert "NaN" in line
    assert not (tmp_path / "v.parquet").exists()


def test_threads_that_no_machine_starts(
    capsys: pytest.CaptureFixture[str], tiny_docs: Path, tiny_plan: Path, tmp_path: Path
) -> None:
    for more in ((), ("--dry-run",)):
        for threads in ("0", "100000"):
            line = complain(capsys, "fit", tiny_docs, "--threads", threads, *more)
            assert "--threads must be from 1 to" in line
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({**json.loads(tiny_plan.read_text()), "threads": 100_000}))
    assert "threads" in complain(capsys, "fit", tiny_docs, "--plan", plan)


@pytest.mark.parametrize("value", [[], [1], "x", {"current": "x"}, {"current": {"model": 3}}])
def test_a_model_with_a_file_that_is_called_like_a_manifest(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_docs: Path,
    small_folder: Path,
    value: object,
) -> None:
    model = Path(shutil.copytree(small_folder, tmp_path / "model"))
    (model / "space.json").write_text(json.dumps(value))
    out = tmp_path / "out"
    for command in (
        ("encode", model, tiny_docs, "--out", out),
        ("cut", model, "--size", "1x32", "--out", out),
    ):
        assert "space.json is no manifest of a Space" in complain(capsys, *command)
    assert not out.exists()


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_minutes(capsys: pytest.CaptureFixture[str], tiny_docs: Path, minutes: str) -> None:
    assert "minutes" in complain(capsys, "fit", tiny_docs, "--minutes", minutes)


def test_one_text_of_ten_megabytes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", big="word salad " * 1_000_000)
    line = complain(capsys, "fit", docs, "--out", tmp_path / "out", "-q")
    assert "at least 20" in line


@pytest.mark.parametrize("text", ["   \n\t \n", "😀 🎉 ✨"])
def test_texts_without_words(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    docs = write(tmp_path / "docs", **{f"t{number}": text for number in range(30)})
    line = complain(capsys, "fit", docs, "--out", tmp_path / "out", "-q")
    assert "Nothing to read" in line


def test_too_little_text_says_how_much_is_needed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    docs = write(tmp_path / "docs", one="A sentence about cats.", two="A sentence about dogs.")
    line = complain(capsys, "fit", docs, "--out", tmp_path / "out", "-q")
    assert "2 documents" in line
    assert "20" in line


def test_a_plan_that_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path, small_folder: Path
) -> None:
    (tmp_path / "plan.json").write_text('{"steps": 3}')
    line = complain(
        capsys, "fit", tiny_docs, "--base", small_folder, "--plan", tmp_path / "plan.json",
        "--out", tmp_path / "out", "-q",
    )  # fmt: skip
    assert "no plan" in line


def test_a_space_without_a_plan(
    capsys: pytest.CaptureFixture[str], tiny_docs: Path, space: Path
) -> None:
    """Measuring instead would not be what was asked for."""
    manifest = json.loads((space / "space.json").read_text())
    (space / "space.json").write_text(json.dumps({**manifest, "plan": None}))
    out = space.parent / "out"
    line = complain(capsys, "fit", tiny_docs, "--plan", space, "--out", out, "-q")
    assert "a-space has no plan: nothing was trained there. Leave --plan out." in line


def test_search_refuses_an_empty_query(
    capsys: pytest.CaptureFixture[str], tiny_space: Path
) -> None:
    assert "empty" in complain(capsys, "search", tiny_space, "  ")
    for k in (0, 2**31, 2**63):
        assert "from 1 to" in complain(capsys, "search", tiny_space, "words", "-k", k)
    most = ["--mode", "lexical", "-k", str(2**30), "--filter", "kind=code"]
    assert main(["search", str(tiny_space), "sort a list", *most]) == 0
    assert main(["search", str(tiny_space), "~nobody sorts a list"]) == 0


def test_evaluate_wants_one_kind_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--beir" in complain(capsys, "evaluate", "packaged:minilm")
    command = ("evaluate", "packaged:minilm", "--beir", "folder", "--queries", "none.jsonl")
    assert "of its own" in complain(capsys, *command)


def test_what_would_be_passed_over_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path, small_folder: Path
) -> None:
    command = ("fit", tiny_docs, "--dry-run", "--plan", "none.json")
    assert "Leave --plan out" in complain(capsys, *command)
    merge = ("merge", small_folder, small_folder, "--out", tmp_path / "out", "--text", "body")
    assert "--evaluate" in complain(capsys, *merge)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["fit", "search", "info", "verify", "encode", "compact"])
@pytest.mark.parametrize("name", ["a" * 300, "~no-such-user/docs", "caf\udce9"])
def test_a_path_that_nothing_can_have(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"search": ["words"], "encode": ["docs", "--out", "v.parquet"]}
    line = complain(capsys, command, name, *more.get(command, []))
    line.encode()
    assert len(line) < 300
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_no_browser_opens(
    capsys: pytest.CaptureFixture[str], tiny_space: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from isometry.serving import offline

    monkeypatch.setattr(offline, "_MOST_BYTES", 1000)
    # Neighbours are looked for when it is known that there will be a page.
    monkeypatch.setattr(offline, "nearest", None)
    line = complain(capsys, "page", tiny_space, "--out", tmp_path / "page.html")
    assert "no browser opens" in line
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_that_leaves_no_room(
    capsys: pytest.CaptureFixture[str], tiny_docs: Path, small_folder: Path, tmp_path: Path
) -> None:
    given = ("--base", small_folder, "--document-prompt", "word " * 400, "--out", tmp_path / "out")
    assert "--document-prompt" in complain(capsys, "fit", tiny_docs, *given)
    assert list(tmp_path.iterdir()) == []


def test_names_cannot_speak_to_the_terminal(
    capsys: pytest.CaptureFixture[str], space: Path, tmp_path: Path
) -> None:
    evil = "\x1b]52;c;cm0=\x07\x9b2J\u202e"
    write(tmp_path / "docs", a=f"A zebra crossing of stripes.{evil} And more of it.")
    assert main(["add", str(space), str(tmp_path / "docs"), "--quiet"]) == 0
    assert main(["search", str(space), f"zebra {evil}", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "zebra" in shown
    shown += complain(capsys, "search", tmp_path / evil.replace("\x9b", ""), "words")
    assert not set(evil) & set(shown) - set("52;c;cm0=2J]")


def test_brackets_are_shown(capsys: pytest.CaptureFixture[str], space: Path) -> None:
    odd = space.rename(space.with_name("a [bold] [x] :warning: space"))
    assert main(["verify", str(odd)]) == 0
    assert str(odd) in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["models", "--json"], ["models"]])
def test_a_reader_that_goes_away_is_no_failure(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from isometry.cli.main import run; run()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *((part, value) for part in ("files", "encoder", "search") for value in (5, [], "x", None)),
        *(("current", value) for value in (5, [], "x", {})),
    ],
)
def test_a_damaged_manifest(
    capsys: pytest.CaptureFixture[str], space: Path, part: str, value: object
) -> None:
    manifest = json.loads((space / "space.json").read_text())
    (space / "space.json").write_text(json.dumps(manifest | {part: value}))
    for command in (["info"], ["verify"], ["space", "history"]):
        assert "damaged" in complain(capsys, *command, space)


@pytest.mark.parametrize(
    "place",
    [
        "files", "source", "source.name", "encoder.base", "encoder.fingerprint", "encoder.dim",
        "encoder.precision", "search.lexical", "search.depth", "search.dense_weight", "figures",
    ],
)  # fmt: skip
def test_a_manifest_that_lacks_something_names_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, space: Path, tiny_docs: Path, place: str
) -> None:
    manifest = json.loads((space / "space.json").read_text())
    *above, last = place.split(".")
    part = manifest
    for name in above:
        part = part[name]
    part[last] = {} if last == "files" else None
    (space / "space.json").write_text(json.dumps(manifest))
    for command in (
        ("space", "history", space),
        ("compact", space),
        ("add", space, tiny_docs),
        ("migrate", space, "--model", "packaged:minilm"),
        ("export", space, tmp_path / "export"),
        ("page", space, "--out", tmp_path / "page.html"),
        ("verify", space),
    ):
        assert f"damaged: '{place}" in complain(capsys, *command)


def test_documents_that_are_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, space: Path, tiny_docs: Path
) -> None:
    (space / "documents.parquet").unlink()
    for command in (
        ("page", space, "--out", tmp_path / "page.html"),
        ("add", space, tiny_docs),
        ("search", space, "a heap", "--filter", "kind=code"),
    ):
        assert "Missing from" in complain(capsys, *command)
    assert not (tmp_path / "page.html").exists()
    (space / "documents.parquet").write_bytes(b"half")
    line = complain(capsys, "search", space, "a heap", "--filter", "kind=code")
    assert "Damaged in" in line and "documents.parquet" in line


def test_an_index_that_is_half_there(
    capsys: pytest.CaptureFixture[str], space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [path for path in (space / "index").rglob("*") if path.is_file()]
    data = [path for path in files if path.suffix == ".lance"]
    assert data
    search = ("search", space, "a heap", "--mode", "lexical")
    for path in data:
        path.unlink()
    line = complain(capsys, *search)
    assert f"The index of {space} is damaged" in line and f"isometry verify {space}" in line
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert "is damaged" in complain(capsys, *search)


def test_what_is_no_place_for_a_space(capsys: pytest.CaptureFixture[str], space: Path) -> None:
    for place in ("localhost/shop", "mysql://me:s3cret@host/db", "./there"):
        for command in (("search", space, "a heap", "--at", place), ("export", space, place)):
            line = complain(capsys, *command)
            assert "is no place for a Space" in line and "s3cret" not in line


def test_nothing_is_written_into_a_space(
    capsys: pytest.CaptureFixture[str],
    space: Path,
    small_folder: Path,
    tiny_docs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in space.rglob("*")}
    for name in ("space.json", "documents.parquet", "page.html"):
        out = ("--out", space / name, "--force")
        assert "lies in the Space" in complain(capsys, "page", space, *out)
        assert "lies in the Space" in complain(capsys, "encode", small_folder, tiny_docs, *out)
    # Where nobody names a file, it would lie here.
    monkeypatch.chdir(space)
    assert "lies in the Space" in complain(capsys, "page", ".")
    assert {path: path.stat().st_mtime_ns for path in space.rglob("*")} == before


def test_an_existing_file_is_not_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path, small_folder: Path
) -> None:
    out = tmp_path / "v.parquet"
    out.write_text("precious")
    assert "exists" in complain(capsys, "encode", small_folder, tiny_docs, "--out", out)
    assert out.read_text() == "precious"
    command = ("encode", small_folder, tiny_docs, "--force", "--out", tmp_path)
    assert "is a folder" in complain(capsys, *command)
    assert list(tmp_path.iterdir()) == [out]


def test_a_locked_workspace(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_docs: Path, small_folder: Path
) -> None:
    from filelock import FileLock

    partial = tmp_path / "out.partial"
    partial.mkdir()
    with FileLock(partial / "lock"):
        program = (
            "import sys; from isometry.cli.main import main;"
            f"sys.exit(main(['fit', {str(tiny_docs)!r}, '--base', {str(small_folder)!r},"
            f" '--out', {str(tmp_path / 'out')!r}, '-q']))"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
    assert run.returncode == 2
    assert "Another process" in run.stderr


def test_interrupted_it_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], tiny_docs: Path, tmp_path: Path, monkeypatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isometry.jobs.fit._fit", stop)
    code = main(["fit", str(tiny_docs), "--out", str(tmp_path / "out"), "-q"])
    assert code == 130
    assert "goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "goes_on"),
    [
        (["fit", "docs", "-q"], True),
        (["fit", "docs", "--dry-run"], False),
        (["encode", "a", "b", "--out", "c"], True),
        (["distill", "a", "--source", "b", "--out", "c"], True),
        (["merge", "a", "b", "--out", "fit"], False),
        (["evaluate", "a", "--beir", "b"], False),
        (["search", "a", "b"], False),
    ],
)
def test_interrupted_only_what_resumes_is_said_to_go_on(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    goes_on: bool,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isometry.cli.main._command", lambda: stop)
    assert main(arguments) == 130
    captured = capsys.readouterr()
    hint = " The same command goes on from where it was." * goes_on
    assert captured.err == f"isometry: Stopped.{hint}\n" and captured.out == ""


def test_mixed_encodings_and_broken_rows_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    from isometry.corpora.readers import ReadingReport, open_source

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_bytes("Grüße aus München und anderswo in der Welt.".encode("latin-1"))
    (docs / "b.txt").write_bytes("Grüße aus Köln und anderswo in der Welt.".encode("utf-16"))
    (docs / "c.csv").write_text('id,text\n1,"a fine row"\n2,"broken", more, cells\n')
    report = ReadingReport()
    found = {document.id: document.text for document in open_source(docs).documents(report)}
    assert "Grüße aus München" in " ".join(found.values())
    assert "Grüße aus Köln" in " ".join(found.values())
    assert any("fine row" in text for text in found.values())
    assert len(report.skipped) == 1


CHEAP: list[Callable[[Path], list[str]]] = [
    lambda folder: ["fit", str(folder / "nowhere")],
    lambda folder: ["fit", str(folder), "--minutes", "0"],
    lambda folder: ["fit", str(folder), "--base", "nowhere"],
    lambda folder: ["search", str(folder), "words"],
]


def test_nothing_heavy_is_imported_before_bad_input_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    program = (
        "import sys, json; from isometry.cli.main import main\n"
        "for arguments in json.loads(sys.argv[1]): assert main(arguments) == 2\n"
        "heavy = {'torch', 'transformers', 'lancedb', 'sentence_transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    commands = json.dumps([command(tmp_path) for command in CHEAP])
    subprocess.run([sys.executable, "-c", program, commands], check=True, capture_output=True)


def test_importing_is_cheap() -> None:
    program = "import sys, isometry; print(len({'numpy', 'pyarrow', 'torch'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert run.stdout.strip() == b"0"
    program = (
        "import sys; from isometry.cli.main import main; main(['--help'])\n"
        "assert not {'numpy', 'pyarrow', 'torch', 'lancedb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_every_vector_of_a_space_is_finite(tiny_space: Path) -> None:
    from isometry import Space

    vectors = Space.open(tiny_space).encode(["", "😀", "\u202e", "x" * 10_000])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "docs", "--nope"],
        ["nope"],
        ["fit", "docs", "--seed", "x"],
        [],
        ["fit", "docs", "--seed", "-1"],
        ["merge", "a", "b", "--out", "c", "--seed", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "isometry" in captured.err + captured.out


def test_what_an_old_terminal_cannot_show_is_escaped(tiny_space: Path) -> None:
    """Where standard output is not UTF-8, as of a service in a plain locale."""
    for options in ((), ("--json",)):
        done = subprocess.run(
            [sys.executable, "-m", "isometry", "info", str(tiny_space), *options],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr
        assert done.stdout.isascii() and done.stdout
    assert "encoder" in json.loads(done.stdout)
