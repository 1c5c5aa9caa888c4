"""reStructuredText -> a page, Sphinx's roles and directives included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from isometry.corpora.readers.markup import Page
from isometry.corpora.readers.sphinx_markup import directive_class, interpreted_text

if TYPE_CHECKING:
    from docutils import nodes

# At the start of a line, or of a table's cell.
_DIRECTIVE = re.compile(
    r"(?:^|\|)[ \t]*\.\. (?:\|[^|\n]+\|\s+)?([\w:.+-]{0,80}[\w]) ?::(?:\s|$)", re.MULTILINE
)
_ROLE = re.compile(r":([A-Za-z][\w:.+-]{0,80}):`|`:([A-Za-z][\w:.+-]{0,80}):")
_LABEL = re.compile(r"^[ \t]*\.\. _(?:`([^`\n]+)`|([^:\n]+)):[ \t]*$", re.MULTILINE)
_DIRECTIVES_OF_DOCUTILS = frozenset({
    "image", "figure", "table", "csv-table", "list-table", "replace", "unicode", "date", "role",
    "default-role", "raw", "include", "contents", "sectnum", "class", "parsed-literal",
    "line-block", "title", "meta", "target-notes",
})  # fmt: skip
_ROLES_OF_DOCUTILS = frozenset({"raw"})


def labels(text: str) -> list[str]:
    """The labels (`.. _name:`) that stand on a page, normalised as references to them are."""
    found = (quoted or plain for quoted, plain in _LABEL.findall(text))
    return [" ".join(label.replace("\\", "").lower().split()) for label in found]


def read_restructured_text(text: str) -> Page:
    """A reStructuredText page: its headings, text and links; nothing is included or executed."""
    from docutils.frontend import get_default_settings
    from docutils.parsers.rst import Parser
    from docutils.utils import new_document

    settings = get_default_settings(Parser())
    settings.halt_level = 5
    settings.report_level = 5
    settings.file_insertion_enabled = False
    settings.raw_enabled = False
    settings._disable_config = True
    settings.syntax_highlight = "none"
    # A page with a longer line would not be parsed at all; a tab counts as eight.
    settings.line_length_limit = max(10_000, 8 * len(text) + 1)
    document = new_document("<page>", settings)
    with _every_name_known(text):
        # Only parsed, not transformed: the transforms would take out what the parser could not
        # understand, and that text is the user's.
        Parser().parse(text, document)
    page = Page()
    _walk(document, page, level=0)
    return page


@contextmanager
def _every_name_known(text: str) -> Iterator[None]:
    """Inside, each role and directive that the text uses exists; docutils is as before after it."""
    from docutils.parsers.rst import directives, roles

    # No public name gives these two; their entries are put back below.
    registries: list[dict[str, Any]] = [vars(directives)["_directives"], vars(roles)["_roles"]]
    saved = [dict(registry) for registry in registries]
    try:
        for name in set(_DIRECTIVE.findall(text)):
            if name.lower() not in _DIRECTIVES_OF_DOCUTILS:
                directives.register_directive(name.lower(), directive_class(name.lower()))
        for name in {before or after for before, after in _ROLE.findall(text)}:
            if name.lower() not in _ROLES_OF_DOCUTILS:
                roles.register_local_role(name, interpreted_text)
        yield
    finally:
        for registry, names in zip(registries, saved, strict=True):
            registry.clear()
            registry.update(names)


def _walk(node: nodes.Node, page: Page, level: int, *, tight: bool = False) -> None:
    from docutils import nodes

    for child in node.children:
        if isinstance(child, nodes.section):
            title = child.next_node(nodes.title)
            page.heading(level + 1, "" if title is None else _text(title))
            if title is not None:
                _add_links(title, page)
                child.remove(title)
            _walk(child, page, level + 1)
        elif isinstance(
            child, nodes.image | nodes.comment | nodes.substitution_definition | nodes.label
        ):
            continue
        elif isinstance(child, nodes.system_message):
            for quoted in _quoted(child):
                page.add(quoted.astext())
        elif isinstance(child, nodes.field):
            name, body = child.children[0].astext(), child.children[-1]
            if len(body.children) == 1 and isinstance(body.children[0], nodes.paragraph):
                page.add(f"{name}: {' '.join(_text(body).split())}", tight=True)
                _add_links(body, page)
            elif name not in ("orphan", "nocomments", "nosearch"):
                page.add(f"{name}:", tight=True)
                _walk(body, page, level, tight=True)
        elif isinstance(child, nodes.row):
            cells = (" ".join(_text(cell).split()) for cell in child.children)
            page.add(" ".join(cell for cell in cells if cell), tight=True)
            _add_links(child, page)
        elif isinstance(child, nodes.FixedTextElement):
            page.add(_text(child), tight=tight)
        elif isinstance(child, nodes.TextElement):
            page.add(" ".join(_text(child).split()), tight=tight)
            _add_links(child, page)
        else:
            in_list = isinstance(
                child, nodes.list_item | nodes.definition_list_item | nodes.line_block
            )
            _walk(child, page, level, tight=in_list)


def _text(node: nodes.Node) -> str:
    from docutils import nodes

    # Not every invisible node: a target within a sentence has words.
    unseen = nodes.image | nodes.comment | nodes.substitution_definition | nodes.label
    for message in list(node.findall(nodes.system_message)):
        message.replace_self(_quoted(message))
    for hidden in list(node.findall(lambda inner: isinstance(inner, unseen))):
        if hidden.parent is not None:
            hidden.parent.remove(hidden)
    return node.astext()


def _quoted(message: nodes.system_message) -> list[nodes.literal_block]:
    """What could not be parsed: from "error" on, a message quotes it."""
    from docutils import nodes

    return list(message.findall(nodes.literal_block)) if message["level"] >= 3 else []


def _add_links(node: nodes.Node, page: Page) -> None:
    from docutils import nodes

    for reference in node.findall(nodes.reference):
        page.link(reference.get("refuri"))
