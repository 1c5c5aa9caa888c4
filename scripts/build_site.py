"""Builds the documentation in `site/` with Zensical, and refuses what is broken in it.

    python scripts/build_site.py

Beside what Zensical's strict mode refuses (links to pages and headings that do not exist), each of
these is an error: a page outside of the navigation; any other link or picture that leads nowhere;
something that a page would load from another host. Files of the repository that a page links to,
such as source and records, become pages below `site/source`.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser

ROOT = Path(__file__).resolve().parent.parent

# The theme's script would fetch further ones, for diagrams and the like; a browser refuses that.
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="'
    "default-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'\">"
)
_SOURCE = (
    '<!doctype html>\n<meta charset="utf-8">\n<meta name="color-scheme" content="light dark">\n'
)
_ELSEWHERE = re.compile(r"""(?:^|[\s,('"])(?:https?:)?//""")
_LOADED = re.compile(r"""(?:url\(|@import)\s*['"]?(?:https?:)?//""")
# The site stands where its sources do, so that links out of `docs` lead into the repository.
_HERE, _PLACE = "here", "/repository/docs"


def main() -> int:
    """Builds the site, or says what is broken."""
    problems = build(ROOT, ROOT / "site")
    print(*problems or ["Wrote site/."], sep="\n", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


def build(root: Path, out: Path) -> list[str]:
    """Builds a repository's documentation, and replaces what was built before if all is well.

    Args:
        root: The repository, with `zensical.toml` and `docs`.
        out: The folder of the site.

    Returns:
        What is broken.
    """
    with tempfile.TemporaryDirectory() as name:
        # Zensical caches in `.cache` beside its configuration, where others keep what is theirs.
        work = Path(name)
        shutil.copy(root / "zensical.toml", work)
        shutil.copytree(root / "docs", work / "docs")
        run = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict"],
            cwd=work,
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            return [run.stdout + run.stderr]
        if not (problems := finish(work / "site", root)):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(work / "site", out)
        return problems


def finish(site: Path, root: Path) -> list[str]:
    """Checks what Zensical built, and adds the pages of source that it links to."""
    pages = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    trees = {page: LexborHTMLParser(path.read_bytes()) for page, path in pages.items()}
    problems = list(_loads(site, trees))
    for page, tree in trees.items():
        text = pages[page].read_text(encoding="utf-8").replace("<head>", f"<head>{_POLICY}", 1)
        # The links of the page for what is not there are those of all others, from the host's root.
        for node in tree.css("[href], [src]") if page != "404.html" else ():
            link = node.attributes.get("href", node.attributes.get("src")) or ""
            target, heading = _target(page, link)
            if target is None:
                continue
            if target.startswith("../"):
                source = target.removeprefix("../")
                if not source.startswith("../") and (root / source).is_file():
                    shown = f"source/{source}.html"
                    _show(root / source, source, site / shown)
                    new = posixpath.relpath(shown, posixpath.dirname(page) or ".")
                    text = text.replace(f'"{link}"', f'"{new}"')
                    continue
            elif heading and target in trees:
                if trees[target].css_first(f'[id="{heading}"]'):
                    continue
            elif (site / target).is_file():
                continue
            problems.append(f"{page}: {link} leads nowhere")
        pages[page].write_text(text, encoding="utf-8")
    links = trees["index.html"].css(".md-nav--primary a[href]")
    listed = {_target("index.html", link.attributes["href"] or "")[0] for link in links}
    lost = sorted(set(pages) - listed - {"404.html"})
    return sorted({*problems, *(f"{page} is not in the navigation" for page in lost)})


def _target(page: str, link: str) -> tuple[str | None, str]:
    """The file that a page's link is to, from the site's root, and the heading in it."""
    parts = urlsplit(urljoin(f"http://{_HERE}{_PLACE}/{page}", link))
    if parts.netloc != _HERE:
        return None, ""
    path = unquote(parts.path) + ("index.html" if parts.path.endswith("/") else "")
    return posixpath.relpath(path, _PLACE), parts.fragment


def _loads(site: Path, trees: dict[str, LexborHTMLParser]) -> Iterator[str]:
    """What pages and styles would load from another host; a link to it is no load."""
    for page, tree in trees.items():
        for node in tree.css("*:not(a)"):
            for name, value in node.attributes.items():
                if not name.startswith("xmlns") and _ELSEWHERE.search(value or ""):
                    yield f"{page}: <{node.tag}> has {name}={value}"
    for style in sorted(site.rglob("*.css")):
        if found := _LOADED.search(style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site).as_posix()}: {found[0]}"


def _show(file: Path, name: str, page: Path) -> None:
    """A file of the repository as a page."""
    text = escape(file.read_text(encoding="utf-8"))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{_SOURCE}<title>{escape(name)}</title>\n<pre>\n{text}</pre>\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
