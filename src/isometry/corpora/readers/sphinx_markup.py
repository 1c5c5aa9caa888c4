"""Roles and directives that docutils does not know, read for their words and links alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from isometry.corpora.readers.markup import LABEL

if TYPE_CHECKING:
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from docutils.parsers.rst.states import Inliner

_SILENT = frozenset({
    "index", "highlight", "currentmodule", "py:currentmodule", "sectionauthor", "moduleauthor",
    "codeauthor", "tabularcolumns", "default-domain", "contents", "toctree", "literalinclude",
    "include", "cssclass", "rst-class", "highlightlang",
})  # fmt: skip
_LITERAL = frozenset({
    "code", "code-block", "sourcecode", "productionlist", "testcode", "testsetup", "testoutput",
    "testcleanup", "doctest", "prompt", "console", "math", "ipython", "graphviz", "digraph",
    "graph", "mermaid", "uml",
})  # fmt: skip
_ARGUMENT_IS_LANGUAGE = frozenset(
    {"code", "code-block", "sourcecode", "prompt", "only", "container", "graphviz"}
)
_VERSION = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
}
_TITLED_TARGET = re.compile(r"^(.*?)\s*<([^<>]+)>$", re.DOTALL)


def interpreted_text(
    role: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Inliner,
    options: Mapping[str, Any] = MappingProxyType({}),
    content: Sequence[str] = (),
) -> tuple[list[Any], list[Any]]:
    """A docutils role that keeps the words: "title <target>" and "~a.b" as they are shown.

    `:doc:`, `:ref:` and their kin become references, for the page that they name.
    """
    from docutils import nodes, utils

    text = utils.unescape(text)
    match = _TITLED_TARGET.match(text)
    title, target = (match[1], match[2]) if match and match[1] else (text, text)
    title = title.lstrip("!~") or title
    role = role.lower().rpartition(":")[2]
    if role in ("doc", "download"):
        return [nodes.reference(title, title, refuri=target)], []
    if role in ("ref", "numref"):
        return [nodes.reference(title, title, refuri=LABEL + target)], []
    return [nodes.inline(title, title)], []


class _AnyOption(dict[str, Any]):
    """Accepts every option of a directive; a `dict` by inheritance since docutils asks for one."""

    def __bool__(self) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        from docutils.parsers.rst import directives

        return directives.unchanged


def directive_class(name: str) -> type[Directive]:
    """A docutils directive that keeps the words of its argument and content, whatever it is."""
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList

    class AnyDirective(Directive):
        optional_arguments = 1
        final_argument_whitespace = True
        has_content = True
        option_spec = _AnyOption()

        def run(self) -> list[nodes.Node]:
            argument = self.arguments[0] if self.arguments else ""
            if name == "toctree":
                return [_table_of_contents([*argument.split("\n"), *self.content])]
            if name in _SILENT:
                return []
            result: list[nodes.Node] = []
            if argument and name not in _ARGUMENT_IS_LANGUAGE:
                if name in _VERSION:
                    argument = f"{_VERSION[name]} {': '.join(argument.split(None, 1))}"
                result.append(self._argument(argument))
            caption = str(self.options.get("caption", ""))
            if caption:
                result.append(nodes.paragraph(caption, caption))
            if self.content and name in _LITERAL:
                text = "\n".join(self.content)
                result.append(nodes.literal_block(text, text))
            elif self.content:
                body = nodes.container()
                self.state.nested_parse(self.content, self.content_offset, body)
                result.append(body)
            return result

        def _argument(self, text: str) -> nodes.Node:
            # A signature's asterisks are no emphasis, so that only roles and literals count.
            if "`" not in text:
                return nodes.paragraph(text, text)
            body = nodes.container()
            lines = StringList([line.strip() for line in text.split("\n")], "<page>")
            self.state.nested_parse(lines, self.lineno, body)
            return body

    return AnyDirective


def _table_of_contents(entries: list[str]) -> nodes.Node:
    from docutils import nodes

    paragraph = nodes.paragraph()
    for entry in filter(None, (entry.strip() for entry in entries)):
        match = _TITLED_TARGET.match(entry)
        paragraph += nodes.reference("", "", refuri=match[2] if match else entry)
    return paragraph
