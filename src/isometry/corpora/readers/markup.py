"""A page of prose -> one document a section, whatever markup it was written in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import UniqueNames, has_words

PAGE_SUFFIXES = (".md", ".markdown", ".rst", ".rst.txt", ".txt", ".html", ".htm")
LABEL = "label:"
"""A link to a label, wherever it stands, is this followed by the label's name."""


@dataclass
class Section:
    """A heading (level 0: none) and what stands below it, up to the next heading."""

    level: int
    title: str
    text: str = ""
    links: list[str] = field(default_factory=list)


@dataclass
class Page:
    """The sections of a page as they come; parsers fill it from top to bottom.

    Attributes:
        title: What the page calls itself outside its text; empty where it does not.
        sections: The first one holds what stands before the first heading.
    """

    title: str = ""
    sections: list[Section] = field(default_factory=lambda: [Section(0, "")])

    def heading(self, level: int, title: str) -> None:
        """Begins a section; a heading without words (a logo) begins none."""
        title = " ".join(title.split())
        if has_words(title):
            self.sections.append(Section(level, title))

    def add(self, text: str, *, tight: bool = False) -> None:
        """Adds a block of text; a tight one follows on the next line, as in a list."""
        text = text.strip("\n").rstrip()
        if text.strip():
            section = self.sections[-1]
            separator = "" if not section.text else "\n" if tight else "\n\n"
            section.text += separator + text

    def link(self, target: str | None) -> None:
        """Notes where the section links to, as written."""
        if target:
            self.sections[-1].links.append(target)


@dataclass(frozen=True)
class Links:
    """Finds the page that a link means.

    Attributes:
        groups: The group of every page of the source, by path.
        labels: The path on which a label (rst's `.. _name:`) stands.
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, target: str, path: str) -> str | None:
        """The group that `target`, written on the page at `path`, leads to.

        `None` for the page itself, for other sites and for whatever is not in the source.
        """
        if target.startswith(LABEL):
            found = self.labels.get(" ".join(target.removeprefix(LABEL).lower().split()))
        else:
            found = self._find(target, path)
        return None if found is None or found == path else self.groups.get(found)

    def _find(self, target: str, path: str) -> str | None:
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        if parts.scheme or parts.netloc or not parts.path:
            return None
        place = unquote(parts.path)
        folders = [str(PurePosixPath(path).parent)]
        if place.startswith("/"):
            # The root of a site is some folder above the page, not always the source's own.
            folders = [str(folder) for folder in reversed(PurePosixPath(path).parents)]
        for folder in folders:
            base = posixpath.normpath(posixpath.join(folder, place.lstrip("/")))
            stem = re.sub(r"\.(html?|md|rst)$", "", base)
            for candidate in (
                base,
                *(stem + suffix for suffix in PAGE_SUFFIXES),
                *(posixpath.join(base, "index" + suffix) for suffix in PAGE_SUFFIXES),
                posixpath.join(base, "README.md"),
            ):
                candidate = posixpath.normpath(candidate)
                if candidate in self.groups:
                    return candidate
        return None


def slug(title: str) -> str:
    """A title as the end of an id: lower case, words joined by hyphens, any script."""
    return "-".join(re.findall(r"\w+", title.lower())) or "section"


def page_documents(page: Page, path: str, links: Links) -> list[Document]:
    """The documents of a page: one for each section that has words of its own.

    Args:
        page: The page as parsed.
        path: Its POSIX path within the source: the group, and the beginning of every id.
        links: Finds the pages that it links to.
    """
    titles = [section.title for section in page.sections if section.title]
    page_title = " ".join(page.title.split()) or (titles[0] if titles else PurePosixPath(path).stem)
    names, documents, above = UniqueNames(), list[Document](), list[Section]()
    for section in page.sections:
        title = section.title or page_title
        while above and above[-1].level >= section.level:
            above.pop()
        context = [parent.title for parent in above]
        if [*context, title][0] != page_title:
            context.insert(0, page_title)
        if section.level:
            above.append(section)
        if not has_words(section.text):
            continue
        targets = dict.fromkeys(links.resolve(link, path) for link in section.links)
        documents.append(
            Document(
                id=f"{path}#{names.take(slug(title))}",
                text=section.text,
                title=title,
                context=" > ".join(context),
                group=path,
                order=len(documents),
                links=tuple(target for target in targets if target is not None),
                source=path,
            )
        )
    return documents


def read_plain(text: str) -> Page:
    """A page without markup: its paragraphs, with one blank line between them."""
    page = Page()
    for paragraph in re.split(r"\n\s*\n", text.expandtabs()):
        page.add("\n".join(line.rstrip() for line in paragraph.split("\n")))
    return page
