"""A page of prose -> one document a section, whatever markup it was written in."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from isometry.core.errors import InputError
from isometry.corpora.documents import Document
from isometry.corpora.readers.reading import UniqueNames, as_read, has_words, in_one_piece

PAGE_SUFFIXES = (".md", ".markdown", ".rst", ".rst.txt", ".txt", ".html", ".htm", ".xhtml")
MOST_CHARACTERS = 20 << 20
"""So much text a page has at most, whatever the size of its file."""
LABEL = "label:"
"""A link to a label, wherever it stands, is this followed by the label's name."""


@dataclass
class Section:
    """A heading (level 0: none) and what stands below it, up to the next heading.

    Attributes:
        level: 1 for the highest heading.
        title: The heading; empty where there is none.
        anchor: What the id of its document ends with, if not the title.
        links: Where it links to, as written.
        pieces: Its text, in pieces that follow on each other.
    """

    level: int
    title: str
    anchor: str = ""
    links: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What stands below the heading."""
        return "".join(self.pieces)


@dataclass
class Page:
    """The sections of a page as they come; parsers fill it from top to bottom.

    Attributes:
        title: What the page calls itself outside its text; empty where it does not.
        sections: The first one holds what stands before the first heading.
        notes: What of the page could not be read, for people.
        chapters: Whether it is a book: what stands below a heading of level 1 is as long as other
            people's pages, and a group of its own.
    """

    title: str = ""
    sections: list[Section] = field(default_factory=lambda: [Section(0, "")])
    notes: list[str] = field(default_factory=list)
    chapters: bool = False
    _characters: int = field(default=0, init=False, repr=False)

    def heading(self, level: int, title: str) -> None:
        """Begins a section; a heading without words (a logo) begins none."""
        title = _in_a_line(title)
        if has_words(title):
            self.sections.append(Section(level, title))

    def add(self, text: str, *, tight: bool = False) -> None:
        """Adds a block of text; a tight one follows on the next line, as in a list.

        Raises:
            InputError: When the page becomes too long.
        """
        text = text.strip("\n").rstrip()
        if text.strip():
            pieces = self.sections[-1].pieces
            pieces.append(("" if not pieces else "\n" if tight else "\n\n") + text)
            self._characters += len(text)
            if self._characters > MOST_CHARACTERS:
                raise InputError(
                    f"its text is more than {MOST_CHARACTERS >> 20} million characters"
                )

    def link(self, target: str | None) -> None:
        """Notes where the section links to, as written."""
        if target:
            self.sections[-1].links.append(target)

    def extend(self, other: Page) -> None:
        """Adds another page: what stands before its first heading goes on in this section."""
        for position, section in enumerate(other.sections):
            if position:
                self.heading(section.level, section.title)
            self.add(section.text)
            self.sections[-1].links += section.links


@dataclass(frozen=True)
class Links:
    """Finds the page that a link means.

    Attributes:
        groups: The group of every page of the source, by path.
        labels: The path on which a label (rst's `.. _name:`) stands.
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # File names of macOS have letters and accents apart; links to them mostly have not.
        composed = {unicodedata.normalize("NFC", path): self.groups[path] for path in self.groups}
        object.__setattr__(self, "groups", {**composed, **self.groups})

    def resolve(self, target: str, path: str) -> str | None:
        """The group that `target`, written on the page at `path`, leads to.

        `None` for the page itself, for other sites and for whatever is not in the source.
        """
        if target.startswith(LABEL):
            found = self.labels.get(" ".join(target.removeprefix(LABEL).lower().split()))
        else:
            found = self._find(target, path)
        group = None if found is None or found == path else self.groups.get(found)
        # A page is found by other names too: a compressed one by its plain name.
        return None if group == path else group

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
            stem = re.sub(r"\.(x?html?|md|rst)$", "", base)
            for candidate in (
                base,
                *(stem + suffix for suffix in PAGE_SUFFIXES),
                *(posixpath.join(base, "index" + suffix) for suffix in PAGE_SUFFIXES),
                posixpath.join(base, "README.md"),
            ):
                candidate = posixpath.normpath(candidate)
                for name in (candidate, unicodedata.normalize("NFC", candidate)):
                    if name in self.groups:
                        return name
        return None


def slug(title: str) -> str:
    """A title as the end of an id: lower case, words joined by hyphens, any script."""
    characters = as_read(title).lower()
    words = "".join(each if _in_word(each) else " " for each in characters).split()
    return "-".join(words) or "section"


def _in_word(character: str) -> bool:
    """Whether a word goes on over it: a letter, a digit, or a vowel sign, as Hindi has them."""
    if character.isalnum() or character == "_":
        return True
    # Not over marks of no one script: accents apart from letters, and what makes emoji coloured.
    name = unicodedata.name(character, "")
    is_mark = unicodedata.category(character) in ("Mn", "Mc")
    return is_mark and not name.startswith(("COMBINING", "VARIATION"))


def page_documents(page: Page, path: str, links: Links) -> list[Document]:
    """The documents of a page: one for each section that has words of its own.

    Args:
        page: The page as parsed.
        path: Its POSIX path within the source: the group, and the beginning of every id.
        links: Finds the pages that it links to.
    """
    titles = [section.title for section in page.sections if section.title]
    page_title = _in_a_line(page.title) or (titles[0] if titles else PurePosixPath(path).stem)
    names, documents, above = UniqueNames(), list[Document](), list[Section]()
    groups, group = UniqueNames(), path
    for section in page.sections:
        if page.chapters and section.level == 1:
            group = f"{path}#{groups.take(slug(section.title))}"
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
                id=f"{path}#{names.take(section.anchor or slug(title))}",
                text=section.text,
                title=title,
                context=" > ".join(context),
                group=group,
                order=len(documents),
                links=tuple(target for target in targets if target is not None),
                source=path,
            )
        )
    return documents


def _in_a_line(title: str) -> str:
    """A title without what divides its words or lines on a page."""
    return " ".join(in_one_piece(title).split())


def read_plain(text: str) -> Page:
    """A page without markup: its paragraphs, with one blank line between them."""
    page = Page()
    for paragraph in re.split(r"\n\s*\n", text.expandtabs()):
        page.add("\n".join(line.rstrip() for line in paragraph.split("\n")))
    return page
