"""Every page leads somewhere, is current, and shows on the site what a code host shows."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

ROOT = Path(__file__).resolve().parents[1]
SITE_PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *SITE_PAGES]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")

Import = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def script() -> Iterator[Import]:
    """Imports a script, as Python does that runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module


@pytest.fixture(scope="module")
def builder(script: Import) -> ModuleType:
    return script("build_site")


@pytest.fixture(scope="module")
def site(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole documentation, built."""
    out = tmp_path_factory.mktemp("site") / "site"
    assert builder.build(ROOT, out) == []
    return out


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def headings(text: str) -> frozenset[str]:
    """The anchors that a code host gives the headings of a page."""
    return frozenset(_headings(text))


def _headings(text: str) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for token, inline in pairwise(MARKDOWN.parse(text)):
        if token.type == "heading_open":
            parts = (child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", "".join(parts).lower()).replace(" ", "-")
            yield f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1


def links(text: str) -> Iterator[str]:
    """What a page links to and shows, in Markdown and in HTML."""
    page = LexborHTMLParser(MARKDOWN.render(text))
    for node in page.css("[href], [src]"):
        yield node.attributes.get("href") or node.attributes["src"] or ""


def dead(page: Path) -> list[str]:
    """The links of a page to no file, or to no heading of it."""
    found = []
    for link in links(page.read_text(encoding="utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = page.parent / unquote(parts.path) if parts.path else page
        if not target.exists() or (
            parts.fragment and parts.fragment not in headings(target.read_text(encoding="utf-8"))
        ):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_and_headings_exist(page: str) -> None:
    assert dead(ROOT / page) == []


def test_dead_links_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A `b_c`: d\n\n## E\n\n## E\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n\n[a](other.md#a-b_c-d) [b](other.md#e-1) [c](#here) [d](https://example.org/x)\n\n"
        "[e](other.md#e-2) [f](none.md) ![g](none.svg) [h](#there) <a href='no.md'>i</a>\n\n"
        "`[j](k)`\n",
        encoding="utf-8",
    )
    assert dead(page) == ["other.md#e-2", "none.md", "none.svg", "#there", "no.md"]


@pytest.mark.parametrize(
    "name",
    [
        "write_commands",
        "write_constants",
        "write_http_api",
        "write_limits",
        "write_measured",
        "write_python",
    ],
)
def test_written_pages_are_current(name: str, script: Import) -> None:
    module = script(name)
    assert read(module.PAGE) == module.render(), f"run: {module.COMMAND}"


def test_a_stale_page_is_told_and_left_as_it_is(
    script: Import,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = script("generated_page")
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def run(text: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["script", *arguments])
        return module.write_or_check("page.md", lambda: text, "make it")

    assert run("old", "--check") == 1
    assert run("old") == 0
    assert run("old", "--check") == 0
    assert run("new", "--check") == 1
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == "old"
    assert "page.md is stale; run: make it" in capsys.readouterr().err


def test_a_part_that_is_not_there_is_not_written(
    script: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("generated_page")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("A\n<!-- b:begin -->\nold\n<!-- b:end -->\nC\n", encoding="utf-8")
    written = module.with_part("page.md", "b", r"\1 new")
    assert written == "A\n<!-- b:begin -->\n\\1 new<!-- b:end -->\nC\n"
    with pytest.raises(ValueError, match="0 parts called c"):
        module.with_part("page.md", "c", "new")


def test_every_option_of_every_command_is_listed() -> None:
    """As the program's own parser has them, whatever wrote the page."""
    command = [sys.executable, "-m", "isometry", "fit", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^\W*(--[a-z-]+)\b", shown, re.MULTILINE))
    page = read("docs/commands.md").partition("## isometry fit")[2].partition("\n## ")[0]
    listed = set(re.findall(r"(?<=[`, ])(--[a-z-]+)(?=[`, ])", page))
    assert len(options) > 15
    assert options <= listed


def test_every_route_and_shape_is_listed(script: Import) -> None:
    about = script("write_http_api").describe()
    anchors = headings(read("docs/http-api.md"))
    for path, operations in about["paths"].items():
        for method in operations:
            assert re.sub(r"[^\w\- ]", "", f"{method} {path}").replace(" ", "-") in anchors
    page = read("docs/http-api.md")
    for name, schema in about["components"]["schemas"].items():
        own = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        fields = schema.get("properties", ())  # what may be anything has none, and is not listed
        assert [field for field in fields if f"| `{field}` |" not in own] == []


def test_every_public_name_is_in_the_reference() -> None:
    import isometry

    anchors = headings(read("docs/python.md"))
    assert {name.lower() for name in isometry.__all__} <= anchors
    methods = [name for name in vars(isometry.Space) if not name.startswith("_")]
    assert {f"space{name}" for name in methods} <= anchors


def code(page: str, language: str) -> list[str]:
    tokens = MARKDOWN.parse(read(page))
    return [token.content for token in tokens if token.type == "fence" and token.info == language]


@pytest.mark.parametrize("page", [page for page in PAGES if code(page, "python")])
def test_python_compiles_and_what_it_imports_exists(page: str) -> None:
    for block in code(page, "python"):
        tree = ast.parse(block)
        compile(tree, page, "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), alias.name
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "isometry":
                assert hasattr(importlib.import_module("isometry"), node.attr), node.attr


@pytest.mark.parametrize("page", [page for page in PAGES if code(page, "json")])
def test_json_is_json(page: str) -> None:
    for block in code(page, "json"):
        json.loads(block)


@pytest.mark.parametrize("page", SITE_PAGES)
def test_the_site_shows_what_a_code_host_shows(page: str, site: Path) -> None:
    """Two dialects of Markdown: a list without a blank line before it is none in one of them."""
    name = Path(page).relative_to("docs").with_suffix("")
    folder = name.parent if name.name in ("README", "index") else name
    built = LexborHTMLParser((site / folder / "index.html").read_bytes()).css_first("article")
    hosted = LexborHTMLParser(MARKDOWN.render(read(page)))
    for extra in built.css(".headerlink"):
        extra.decompose()
    for tag in ("h1", "h2", "h3", "h4", "p", "li", "td", "th", "code", "strong", "em", "img"):
        assert texts(built, tag) == texts(hosted, tag), tag


def texts(tree: LexborHTMLParser, tag: str) -> list[str]:
    return [" ".join(node.text().split()) for node in tree.css(tag)]


def test_source_that_is_linked_stands_on_the_site(site: Path) -> None:
    page = LexborHTMLParser((site / "how-it-works/index.html").read_bytes())
    (link,) = [
        node.attributes["href"] or ""
        for node in page.css("article a")
        if node.text() == "jobs/fit.py"
    ]
    shown = LexborHTMLParser((site / "how-it-works" / link).read_bytes())
    assert shown.css_first("pre").text().strip() == read("src/isometry/jobs/fit.py").strip()
    assert not (site.parent / "src").exists()


def small(folder: Path, body: str) -> Path:
    """A site of two pages, as Zensical leaves it; the second is in the navigation."""
    pages = {
        "index.html": '<nav class="md-nav--primary"><a href="./">a</a><a href="b/">b</a></nav>'
    }
    pages["b/index.html"] = f'<h2 id="there">There</h2>{body}'
    for name, text in pages.items():
        (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        page = f"<!doctype html><html><head></head><body>{text}</body></html>"
        (folder / "site" / name).write_text(page, encoding="utf-8")
    (folder / "src").mkdir()
    (folder / "src" / "a.py").write_text("a < 1\n", encoding="utf-8")
    return folder / "site"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="../../src/a.py">', ""),
        ('<a href="https://example.org/">', ""),
        ('<a href="../b/#there"><a href="#there"><a href="..">', ""),
        ('<svg xmlns="http://www.w3.org/2000/svg"></svg><p>http://example.org</p>', ""),
        ('<a href="../../src/b.py">', "../../src/b.py leads nowhere"),
        ('<a href="../../../src/a.py">', "../../../src/a.py leads nowhere"),
        ('<a href="#here">', "#here leads nowhere"),
        ('<a href="../c/">', "../c/ leads nowhere"),
        ('<img src="a.png">', "a.png leads nowhere"),
        ('<script src="https://example.org/a.js"></script>', "<script> has src="),
        ('<link rel="stylesheet" href="//example.org/a.css">', "<link> has href="),
        ('<img srcset="https://example.org/a.png 2x">', "<img> has srcset="),
        ("<p style=\"background: url('http://example.org/a.png')\">", "<p> has style="),
    ],
)
def test_what_is_broken_on_the_site_is_named(
    builder: ModuleType, tmp_path: Path, body: str, problem: str
) -> None:
    problems = builder.finish(small(tmp_path, body), tmp_path)
    assert [problem in found for found in problems] == ([True] if problem else [])
    if "src/a.py" in body and not problem:
        page = (tmp_path / "site/b/index.html").read_text(encoding="utf-8")
        assert 'href="../source/src/a.py.html"' in page
        shown = (tmp_path / "site/source/src/a.py.html").read_text(encoding="utf-8")
        assert "a &lt; 1" in shown


def test_a_page_outside_of_the_navigation_and_styles_from_elsewhere_are_named(
    builder: ModuleType, tmp_path: Path
) -> None:
    site = small(tmp_path, "")
    (site / "c").mkdir()
    shutil.copy(site / "b/index.html", site / "c/index.html")
    (site / "a.css").write_text("@import 'https://example.org/a.css'; b {}", encoding="utf-8")
    named = builder.finish(site, tmp_path)
    assert [problem.partition(" ")[0].removesuffix(":") for problem in named] == [
        "a.css",
        "c/index.html",
    ]


def test_a_broken_build_leaves_the_former_site(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# One\n\n[x](none.md)\n", encoding="utf-8")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "x"\n', encoding="utf-8")
    (tmp_path / "site").mkdir()
    (problem,) = builder.build(tmp_path, tmp_path / "site")
    assert "page does not exist" in problem
    assert list((tmp_path / "site").iterdir()) == []
