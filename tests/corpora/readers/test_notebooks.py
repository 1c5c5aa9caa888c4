from __future__ import annotations

import json
from typing import Any

import pytest

from isometry.core.errors import InputError
from isometry.corpora.readers.markup import Links, page_documents
from isometry.corpora.readers.notebooks import read_notebook

CELLS: list[dict[str, Any]] = [
    {"cell_type": "code", "source": "import os", "outputs": []},
    {"cell_type": "markdown", "source": ["# Loading\n", "\n", "Read [it](a.md):\n", "```\n", "no"]},
    {
        "cell_type": "code",
        "source": ["x = 1\r\n", "y = 2"],
        "outputs": [{"output_type": "stream", "text": ["printed"]}],
    },
    {"cell_type": "raw", "source": "raw"},
    {"cell_type": "markdown", "source": "and go on\n\n## Then\n\n---\n\nmore"},
    {"cell_type": "code", "source": "# Loading\nf(x)"},
]


def read(notebook: object) -> list[tuple[str, str, tuple[str, ...]]]:
    page = read_notebook(json.dumps(notebook))
    documents = page_documents(page, "n.ipynb", Links({"a.md": "a.md"}))
    return [(document.header(), document.text, document.links) for document in documents]


def test_code_is_text_of_the_section_it_stands_in() -> None:
    expected = [
        ("Loading", "import os", ()),
        ("Loading", "Read it:\n\nno\n\nx = 1\ny = 2\n\nand go on", ("a.md",)),
        ("Loading > Then", "more\n\n# Loading\nf(x)", ()),
    ]
    assert read({"nbformat": 4, "metadata": {}, "cells": CELLS}) == expected
    titled = read({"nbformat": 4, "metadata": {"title": "The title"}, "cells": CELLS})
    assert titled[1][0] == "The title > Loading"


def test_format_3() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Plots"]},
        {"cell_type": "code", "input": ["plot(x)"], "outputs": [{"text": "printed"}]},
        {"cell_type": "markdown", "source": "words"},
    ]
    notebook = {"nbformat": 3, "worksheets": [{"cells": cells}, {"cells": [{}, "odd", None]}]}
    assert read(notebook) == [("Plots", "plot(x)\n\nwords", ())]


def test_what_is_odd_does_no_harm() -> None:
    lone = '{"cells": [{"cell_type": "markdown", "source": "half \\ud83d"}, 7, {"source": 3}]}'
    (document,) = page_documents(read_notebook(lone), "n.ipynb", Links())
    assert document.text.encode() == b"half ?"


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"cells": 3}', "[" * 100_000, '{"worksheets": 7}']
)
def test_what_is_no_notebook_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no notebook"):
        read_notebook(text)
