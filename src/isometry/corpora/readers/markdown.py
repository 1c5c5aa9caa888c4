"""Markdown -> a page."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from isometry.corpora.readers.html import BREAKING, read_fragment, tag_name
from isometry.corpora.readers.markup import Page
from isometry.corpora.readers.reading import has_words, in_one_piece

if TYPE_CHECKING:
    from markdown_it.token import Token

_YAML = re.compile(r"\A---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?\n)??\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL)
_KEY = re.compile(r"""["']?\w[\w .-]*["']?:(?!\S)""")
_TITLE = re.compile(r"""^title:[ \t]*(["']?)(.*?)\1[ \t]*$""", re.MULTILINE)
_HEADING_ATTRIBUTES = re.compile(r"\s*\{[#.:][^{}]*\}\s*$")


def read_markdown(text: str) -> Page:
    """A Markdown page (CommonMark with tables): its headings, text and links.

    Code keeps its text. Images and HTML tags go; the words between HTML tags stay, and HTML
    headings are headings. A title in front matter, of YAML or TOML, names the page.
    """
    from markdown_it import MarkdownIt

    title, text = _front_matter(text)
    page = Page(title if has_words(title) else "")
    # A list takes two levels, and people who write outlines nest deeper than ten lists.
    reader = MarkdownIt("commonmark", {"maxNesting": 100})
    tokens = reader.enable(["table", "strikethrough"]).parse(text)
    row: list[str] | None = None
    begun, fresh = False, False
    for position, token in enumerate(tokens):
        if token.type in ("fence", "code_block"):
            page.add(token.content)
        elif token.type == "html_block":
            read_fragment(token.content, page)
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            page.add(" ".join(cell for cell in row if cell), tight=begun)
            row, begun = None, True
        elif token.type == "table_open":
            begun = False
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            fresh = token.level == 0
        elif token.type == "inline":
            content, links = _inline(token.children or [])
            opener = tokens[position - 1]
            if opener.type == "heading_open" and opener.level == 0:
                page.heading(int(opener.tag[1]), _HEADING_ATTRIBUTES.sub("", content))
            elif row is not None:
                row.append(content)
            else:
                page.add(content, tight=opener.hidden and not fresh)
                fresh = False
            for link in links:
                page.link(link)
    return page


def _front_matter(text: str) -> tuple[str, str]:
    """The title that a page says before its text, and the page without what stands there."""
    if (match := _YAML.match(text)) and _is_mapping(match[1] or ""):
        title = _TITLE.search(match[1] or "")
        return title[2] if title else "", text[match.end() :]
    if match := _TOML.match(text):
        try:
            said = tomllib.loads(match[1] or "").get("title")
        except (ValueError, RecursionError):
            return "", text
        return said if isinstance(said, str) else "", text[match.end() :]
    return "", text


def _is_mapping(yaml: str) -> bool:
    """Whether this is YAML with keys, and no prose between two thematic breaks."""
    if not yaml or re.match(r"[\w-]+:", yaml):
        return True
    # Comments look like headings, and keys of several words like sentences: then every line must
    # fit, and no blank line part the last one from the mark, as prose needs it before a break.
    lines = [line for line in yaml.splitlines() if line.strip() and line[0] not in " \t#-]}"]
    return (
        bool(lines)
        and all(_KEY.match(line) for line in lines)
        and bool(yaml.splitlines()[-1].strip())
    )


def _inline(tokens: list[Token]) -> tuple[str, list[str]]:
    text, links = "", list[str]()
    for token in tokens:
        if token.type in ("text", "text_special"):
            text += in_one_piece(token.content)
        elif token.type == "code_inline":
            text += token.content
        elif token.type == "softbreak":
            text += " "
        elif token.type == "hardbreak" or (
            token.type == "html_inline" and tag_name(token.content) in BREAKING
        ):
            text += "\n"
        elif token.type == "link_open":
            links.append(str(token.attrGet("href") or ""))
    return re.sub(" {2,}", " ", text), links  # where a tag or an image stood
