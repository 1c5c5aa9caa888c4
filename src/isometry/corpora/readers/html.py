"""HTML -> a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from isometry.corpora.readers.markup import Page
from isometry.corpora.readers.reading import has_words, in_one_piece

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
# With the readings of ruby, which stand above the characters of a word and would cut it.
_NO_CONTENT = frozenset({
    "nav", "script", "style", "footer", "head", "noscript", "template", "svg", "iframe", "select",
    "button", "rt", "rp",
})  # fmt: skip
_TIGHT = frozenset({"li", "tr", "dt", "dd", "option", "caption", "summary"})
_BLOCKS = _TIGHT | frozenset({
    "address", "article", "aside", "blockquote", "body", "center", "details", "div", "dl",
    "fieldset", "figcaption", "figure", "form", "header", "hgroup", "hr", "main", "ol", "p",
    "section", "table", "tbody", "tfoot", "thead", "ul",
})  # fmt: skip
_IN_TABLES = frozenset({
    "caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr",
})  # fmt: skip
BREAKING = _BLOCKS | _HEADINGS | {"br", "td", "th"}
"""The tags that part words, even where no blank does."""
# What belongs to a site rather than to a page, where they stand beside the text and not in it.
_OF_THE_SITE = frozenset({"header", "aside"})
_PARAGRAPH, _LINE = "\n\n", "\n"


def read_html(text: str, *, chapter: bool = False) -> Page:
    """An HTML page: the headings, text and links of its <main> or only <article>, else its body.

    Navigation, scripts, styles, footers, and a body's header and asides go. Those within <main> or
    <article> stay, since they hold the heading, and notes and warnings.

    Args:
        text: The page.
        chapter: Whether it is of a book, and not of a site: then all of its body is the text.
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    page = Page(" ".join(title.text().split()) if title else "")
    if tree.body is None:
        return page
    if chapter:
        _walk(tree.body, page, frozenset())
        return page
    articles = tree.css("article")
    root = tree.css_first("main, [role=main]") or (articles[0] if len(articles) == 1 else None)
    if root is not None and has_words(root.text()):
        _walk(root, page, frozenset())
    else:
        _walk(tree.body, page, _OF_THE_SITE)
    return page


def read_fragment(text: str, page: Page) -> None:
    """Adds the text of a piece of HTML, as Markdown may hold, to a page."""
    from selectolax.lexbor import LexborHTMLParser

    # Cells after a blank line are a piece of their own, and are cells in a table only.
    body = LexborHTMLParser(
        f"<table>{text}" if tag_name(text.lstrip()) in _IN_TABLES else text
    ).body
    if body is not None:
        _walk(body, page, frozenset())


def tag_name(tag: str) -> str:
    """The name in "</P >", in lower case."""
    return re.sub(r"^</?([A-Za-z0-9-]*).*$", r"\1", tag, flags=re.DOTALL).lower()


def _walk(root: LexborNode, page: Page, dropped: frozenset[str]) -> None:
    # A stack of our own: pages nest deeper than Python's recursion may. A string on it says that
    # a block ends there.
    pieces: list[str] = []
    separator = _PARAGRAPH

    def end(following: str) -> None:
        nonlocal separator
        lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
        text = "\n".join(line for line in lines if line)
        pieces.clear()
        if text:
            page.add(text, tight=separator == _LINE)
            separator = following
        elif following == _PARAGRAPH:
            separator = following

    stack: list[LexborNode | str] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            end(node)
            continue
        tag = node.tag or ""
        if tag == "-text":
            pieces.append(re.sub(r"\s+", " ", in_one_piece(node.text(deep=False))))
        elif tag == "br":
            pieces.append("\n")
        elif tag == "pre":
            end(_PARAGRAPH)
            page.add(_lines_of(node))
        elif tag in _HEADINGS:
            end(_PARAGRAPH)
            _heading(node, page)
        elif not (
            tag.startswith(("-", "!"))
            or tag in _NO_CONTENT
            or (tag in dropped and not _in_article(node))
        ):
            if tag == "a":
                page.link(node.attributes.get("href"))
                if _is_anchor(node):
                    continue
            if tag in _BLOCKS:
                end(_LINE if tag in _TIGHT and separator == _LINE else _PARAGRAPH)
                stack.append(_LINE if tag in _TIGHT else _PARAGRAPH)
            elif tag in ("td", "th"):
                pieces.append(" ")
            stack.extend(reversed(list(node.iter(include_text=True))))
    end(_PARAGRAPH)


def _in_article(node: LexborNode) -> bool:
    """Whether this belongs to an article or a section, and not to the page."""
    above = node.parent
    while above is not None and above.tag not in ("article", "section"):
        above = above.parent
    return above is not None


def _lines_of(root: LexborNode) -> str:
    """The text as it stands, in lines where <br> or blocks make them."""
    pieces: list[str] = []

    def line() -> None:
        if pieces and not pieces[-1].endswith("\n"):
            pieces.append("\n")

    stack: list[LexborNode | None] = [root]
    while stack:
        node = stack.pop()
        tag = "" if node is None else node.tag or ""
        if node is None:
            line()
        elif tag == "-text":
            pieces.append(node.text(deep=False))
        elif tag == "br":
            pieces.append("\n")
        elif not (tag.startswith(("-", "!")) or tag in _NO_CONTENT):
            if tag in _BLOCKS and node is not root:
                line()
                stack.append(None)
            stack.extend(reversed(list(node.iter(include_text=True))))
    return "".join(pieces)


def _is_anchor(link: LexborNode) -> bool:
    """Whether this is the pilcrow that generators put beside a heading."""
    return link.text().strip() in ("¶", "#", "🔗", "\uf0c1")


def _heading(node: LexborNode, page: Page) -> None:
    anchors = node.css("a")
    title = " ".join(_lines_of(node).split())
    for anchor in anchors:
        if _is_anchor(anchor):
            title = title.removesuffix(anchor.text().strip()).removeprefix(anchor.text().strip())
    page.heading(int((node.tag or "h1")[1]), title)
    for anchor in anchors:
        if not _is_anchor(anchor):
            page.link(anchor.attributes.get("href"))
