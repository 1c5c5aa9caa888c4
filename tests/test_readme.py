"""What the guides say can be done as they say it."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import create_autospec
from xml.etree import ElementTree

import pytest
import typer

import isometry
from isometry.cli.main import app, main
from isometry.core.errors import InputError
from isometry.space import Space

ROOT = Path(__file__).resolve().parents[1]
GUIDES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/index.md",
    "docs/fit-your-documents.md",
    "docs/use-the-result.md",
    "docs/operations.md",
    "docs/methods.md",
    "docs/report.md",
    "docs/serving.md",
    "docs/how-it-works.md",
    "docs/why-it-did-not-help.md",
)
# Pages that scripts write: only their commands are looked at here.
WRITTEN = (
    "docs/commands.md",
    *(f"docs/systems/{path.name}" for path in sorted((ROOT / "docs/systems").glob("*.md"))),
)
# What runs in seconds on a finished Space; the others are parsed.
CHEAP = frozenset({"encode", "info", "models", "search", "verify"})


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def spans(text: str) -> Iterator[str]:
    """What stands in single backticks outside of fenced blocks, in one line."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`]+)`", prose):
        yield " ".join(span.split())


def commands(text: str) -> Iterator[list[str]]:
    """The shell commands of a text, without comments and redirections."""
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" > ")[0], comments=True)
            if words:
                yield words


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


ALL = [(name, words) for name in GUIDES for words in commands(read(name))]
OURS = [words[1:] for _, words in ALL if words[0] == "isometry"]
OTHERS = [(name, words) for name in WRITTEN for words in commands(read(name))]
RUN = [words for words in OURS if words[0] in CHEAP]
PYTHON = [
    block
    for name in ("README.md", "docs/use-the-result.md")
    for block in blocks(read(name), "python")
]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def shown(value: object) -> str:
    return value if isinstance(value, str) else " ".join(map(str, value))[:60]  # type: ignore[call-overload]


def parse(words: list[str]) -> dict[str, Any]:
    """What a command would be called with; it is not called."""
    command, (name, *rest) = COMMANDS[words[0]], words
    while hasattr(command, "commands"):
        name, *rest = rest
        command = command.commands[name]
    return command.make_context(name, rest).params


def extras() -> set[str]:
    return set(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


@pytest.fixture
def workplace(
    tmp_path: Path,
    tiny_space: Path,
    tiny_docs: Path,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with the files that the README's examples name; commands run in it."""
    (tmp_path / "docs-space").symlink_to(tiny_space, target_is_directory=True)
    (tmp_path / "docs").symlink_to(tiny_docs, target_is_directory=True)
    with (tmp_path / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(number, "", text) for number, text in enumerate(texts[:4])]
        csv.writer(file).writerows([("number", "subject", "body"), *rows])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def update() -> ModuleType:
    path = ROOT / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def manifest() -> dict[str, Any]:
    return json.loads(read("tests/report/manifest.json"))


@pytest.mark.parametrize(("guide", "words"), [*ALL, *OTHERS], ids=shown)
def test_every_command_is_one_that_exists(guide: str, words: list[str]) -> None:
    program, *rest = words
    if program == "isometry":
        parse(rest)
    elif program == "make":
        assert rest
        assert set(rest) <= make_targets()
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    else:
        assert words[:3] == ["pip", "install", "-e"]
        assert set(words[3].removeprefix(".[").removesuffix("]").split(",")) <= extras()


def test_every_kind_of_command_is_shown() -> None:
    assert {words[0] for words in OURS} == set(COMMANDS)


def test_options_arrive_as_they_are_meant() -> None:
    tuned = next(words for words in OURS if "--query-prompt" in words)
    assert parse(tuned)["query_prompt"] == "query: "
    assert parse(tuned)["document_prompt"] == "passage: "
    assert parse(["fit", "docs/", "--minutes", "30"])["minutes"] == 30


@pytest.mark.parametrize(
    "line", ["fit docs/ --hours 2", "fit", "search docs-space", "search docs-space x --mode vague"]
)
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"No such option|Missing|is not one of"):
        parse(shlex.split(line))


@pytest.mark.parametrize("guide", GUIDES)
def test_commands_and_options_in_the_text_exist(guide: str) -> None:
    options = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in parameter.opts
    }
    for span in spans(read(guide)):
        program, *rest = span.split()
        if program == "isometry" and rest:
            assert rest[0] in COMMANDS, span
        elif program == "make" and rest:
            assert set(rest) <= make_targets(), span
        elif program == "python" and rest:
            assert (ROOT / rest[0]).is_file(), span
        elif program.startswith("--"):
            assert program in options, span


@pytest.mark.parametrize("guide", GUIDES)
def test_names_of_the_source_in_the_text_exist(guide: str) -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [*sorted((ROOT / "src").rglob("*.py")), ROOT / "Dockerfile"]
    )
    for span in spans(read(guide)):
        if re.fullmatch(r"_?[A-Z]+(_[A-Z0-9]+)*", span) and span != "NAME.partial":
            # A constant, a variable of the environment, or an argument of the image.
            assert re.search(rf'^{span}\b.* = |"{span}"|^ARG {span}=', source, re.MULTILINE), span
        elif re.fullmatch(r"[a-z]+(_[a-z]+)+", span):
            assert re.search(rf"\b{span}\b", source), span


@pytest.mark.parametrize("words", RUN, ids=shown)
def test_cheap_commands_run(
    words: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workplace.is_dir()
    assert main(words) == 0
    printed = capsys.readouterr().out
    if "--json" in words:
        assert isinstance(json.loads(printed), dict)
    elif words[0] == "encode":
        out = workplace / words[words.index("--out") + 1]
        assert out.is_file()
    else:
        assert printed.strip()


@pytest.mark.parametrize("block", PYTHON, ids=shown)
def test_python_runs(
    block: str,
    workplace: Path,
    tiny_space: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert workplace.is_dir()
    # A fit is too slow; this one accepts what the real one accepts.
    stand_in = create_autospec(isometry.fit, return_value=Space.open(tiny_space))
    monkeypatch.setattr(isometry, "fit", stand_in)
    exec(compile(block, "a guide", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_exit_codes_are_as_the_readme_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "nothing")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1


@pytest.mark.parametrize("guide", GUIDES)
def test_no_figure_is_typed_by_hand(guide: str) -> None:
    # What scripts write stands between two comments.
    text = re.sub(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", "", read(guide), flags=re.DOTALL)
    units = r"%|points?|seconds?|s|x|times|[MG]i?B|documents|queries"
    found = re.findall(rf"(?<![\w@.])[\d.,]*\d\s*(?:{units})(?![\w-])", text)
    assert [figure for figure in found if figure != "95 %"] == []


def test_the_readme_has_its_markers_and_stays_the_same_around_them(update: ModuleType) -> None:
    readme = read("README.md")
    once = update.replace(readme, "one\ntwo")
    assert "one\ntwo" in once
    assert update.replace(once, "one\ntwo") == once
    between = readme.partition(update.BEGIN)[2].partition(update.END)[0].strip()
    assert update.replace(once, between) == readme


@pytest.mark.parametrize(
    "wrong",
    [
        "nothing",
        "<!-- demo:begin -->",
        "<!-- demo:end --><!-- demo:begin -->",
        2 * "<!-- demo:begin --><!-- demo:end -->",
    ],
)
def test_broken_markers_are_refused(update: ModuleType, wrong: str) -> None:
    with pytest.raises(InputError, match="once"):
        update.replace(wrong, "x")


def changed(value: Any, number: Callable[[float], float]) -> Any:
    """The same JSON with other numbers; sentences lose theirs, names keep them."""
    if isinstance(value, dict):
        return {key: changed(child, number) for key, child in value.items()}
    if isinstance(value, list):
        return [changed(child, number) for child in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return re.sub(r"(?<![@\d.])\d[\d.]*", "", value)
    return type(value)(number(value))


def test_every_figure_comes_from_the_manifest(update: ModuleType, manifest: dict[str, Any]) -> None:
    def numbers(values: dict[str, Any]) -> list[str]:
        text = update.render(values).replace("95 % interval", "")
        return re.findall(r"(?<!\w)[\d.,]*\d", re.sub(r"@\d+", "", text))

    names = {row["system"]: None for row in manifest["figures"]["test"]["rows"]}
    assert len(names) == 5
    before = numbers(changed(manifest, lambda value: value))
    after = numbers(changed(manifest, lambda value: 3 * value + 7))
    assert len(before) == len(after) > 40
    same = [old for old, new in zip(before, after, strict=True) if old == new]
    assert same == []


def test_the_table_shows_the_figures_of_each_system(
    update: ModuleType, manifest: dict[str, Any]
) -> None:
    text = update.render(manifest)
    assert manifest["figures"]["verdict"]["headline"] in text
    rows = {row["system"]: row for row in manifest["figures"]["test"]["rows"]}
    line = next(line for line in text.splitlines() if line.startswith("| Tuned, dense |"))
    cells = [cell.strip(" *") for cell in line.split("|")[2:-1]]
    names = ("ndcg@10", "recall@1", "recall@10", "recall@100", "mrr@10")
    assert cells == [f"{100 * rows['tuned'][name]:.1f}" for name in names]


def test_a_kept_base_is_said_and_not_drawn(update: ModuleType, manifest: dict[str, Any]) -> None:
    tested = manifest["figures"]["test"]
    tested["rows"] = [row for row in tested["rows"] if "tuned" not in row["system"]]
    tested["differences"] = []
    reason = "no tuned model was surely better"
    manifest["figures"]["verdict"] |= {"kept": "base", "headline": "Kept.", "reasons": [reason]}
    text = update.render(manifest)
    assert reason in text
    assert "Tuned" not in text
    assert "demo.svg" not in text
    assert update.draw(manifest) == ""


def test_a_space_without_proof_gives_no_figures(
    update: ModuleType, manifest: dict[str, Any]
) -> None:
    manifest["figures"]["test"] = None
    with pytest.raises(InputError, match="Nothing was tested"):
        update.render(manifest)


def test_the_picture_stands_alone(update: ModuleType, manifest: dict[str, Any]) -> None:
    picture = update.draw(manifest)
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    x, y, width, height = (float(part) for part in root.attrib["viewBox"].split())
    assert (width, height) == (float(root.attrib["width"]), float(root.attrib["height"]))
    for node in root.iter("{http://www.w3.org/2000/svg}line"):
        assert x < float(node.attrib["x1"]) < x + width
        assert y < float(node.attrib["y1"]) < y + height
    assert len(list(root.iter("{http://www.w3.org/2000/svg}title"))) == len(
        manifest["figures"]["test"]["differences"]
    )


def test_the_picture_can_be_read_on_light_and_dark(
    update: ModuleType, manifest: dict[str, Any]
) -> None:
    picture = update.draw(manifest)
    style = picture.partition("<style>")[2].partition("</style>")[0]
    used = set(re.findall(r"var\((--\w+)", picture))
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    for theme in (light, dark):
        colors = dict(re.findall(r"([-\w]+): (#[0-9a-f]{6});", theme))
        assert used <= set(colors)
        for name in ("color", "--muted", "--accent"):
            assert contrast(colors[name], colors["--ground"]) >= 4.5


def contrast(first: str, second: str) -> float:
    """The contrast of two colours (WCAG 2, 1.4.3)."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
