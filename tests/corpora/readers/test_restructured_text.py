from __future__ import annotations

import email
import re
import sysconfig
from pathlib import Path

import pytest
from docutils.parsers.rst import directives, roles

from isometry.corpora.documents import Document
from isometry.corpora.readers.markup import Links, page_documents
from isometry.corpora.readers.restructured_text import labels, read_restructured_text

PAGES = sorted(
    [
        *Path(sysconfig.get_paths()["purelib"]).rglob("*.rst"),
        *Path(email.__file__).parent.glob("*.rst"),
    ]
)

PAGE = """\
.. _Top Label:

====
Page
====

See :doc:`other`, :ref:`far <far label>` and :py:class:`~pkg.mod.Class`.

.. versionadded:: 2.6
   With :func:`roleword`.

.. not a directive, a comment

API
---

.. py:function:: dump(obj, *args, **kwargs)
   :noindex:

   Serializeword *obj*.

   :param obj: paramword

   .. code-block:: python
      :emphasize-lines: 1

      print("literalword")

   .. unknown-thing:: argumentword
      :unknown-option: 1

      contentword

.. figure:: x.png
   :unheard-of: option

   captionword

.. toctree::
   :maxdepth: 1

   other
   Titled <sub/page>

.. index:: noword

Leaf
~~~~

* itemword
* |subst|

==== =====
colA cellB
==== =====
c1   d1
==== =====

Broken `reference_ and **strongword.

.. raw:: html

   <b>noword</b>

.. include:: noword.rst
"""


def read(text: str, links: Links | None = None) -> list[Document]:
    return page_documents(read_restructured_text(text), "docs/page.rst", links or Links())


def test_sphinx_pages_keep_their_words_and_links() -> None:
    groups = {path: path for path in ("docs/other.rst", "docs/sub/page.md", "far.rst")}
    page, api, leaf = read(PAGE, Links(groups, {"far label": "far.rst"}))
    assert [page.header(), api.header(), leaf.header()] == [
        "Page",
        "Page > API",
        "Page > API > Leaf",
    ]
    assert page.text == (
        "See other, far and pkg.mod.Class.\n\nAdded in version 2.6: With roleword."
    )
    assert page.links == ("docs/other.rst", "far.rst")
    assert api.links == ("docs/other.rst", "docs/sub/page.md")
    assert "dump(obj, *args, **kwargs)" in api.text
    for word in ["Serialize", "param", "literal", "argument", "content", "caption"]:
        word += "word"
        assert word in api.text, word
    for word in ["itemword", "subst", "colA", "cellB", "c1", "d1", "reference", "strongword"]:
        assert word in leaf.text, word
    assert not re.search(
        "noword|comment|emphasize|unknown-option", page.text + api.text + leaf.text
    )


def test_docutils_is_as_before() -> None:
    before = dict(vars(directives)["_directives"]), dict(vars(roles)["_roles"])
    read(PAGE)
    assert before == (vars(directives)["_directives"], vars(roles)["_roles"])


def test_labels() -> None:
    text = PAGE + "\n.. _`quoted: label`:\n\n.. _external: https://example.org\n"
    assert labels(text) == ["top label", "quoted: label"]


def test_nothing_is_included(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secretword")
    text = f"words\n\n.. include:: {secret}\n\n.. csv-table::\n   :file: {secret}\n"
    assert "secretword" not in "".join(document.text for document in read(text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_real_pages_keep_their_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    documents = read(text)
    # Comments, directive names, roles, options and addresses are no words of the page.
    body = re.sub(r"^\.\. .*$|\w+://\S+|<[^<>]*>|:[\w:-]+:(?=`)|^ *:[\w-]+:", " ", text, flags=re.M)
    wanted = words(body)
    missing = wanted - words(" ".join(f"{item.header()} {item.text}" for item in documents))
    assert len(missing) <= len(wanted) // 40, (
        missing
    )  # docutils drops a header whose first cell is blank
    assert len({document.id for document in documents}) == len(documents)


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text))


TABLE = """\
+-----------+------------------+
| Constant  | Meaning          |
+===========+==================+
| a         | ==               |
|           | equal            |
+-----------+------------------+
| .. data:: | .. attribute:: b |
|    X.Y    |                  |
|           |    A constant.   |
+-----------+------------------+
| c         | .. image::       |
+-----------+------------------+
"""


def test_a_cell_has_its_words_and_not_those_of_the_parser() -> None:
    (text,) = ("".join(section.pieces) for section in read_restructured_text(TABLE).sections)
    assert text.splitlines() == [
        "Constant Meaning", "a == equal", "X.Y b A constant.", "c .. image::"
    ]  # fmt: skip
