"""A Space's page as one file that opens without a server, and searches by words."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

import numpy as np

from isometry.core.errors import InputError
from isometry.core.progress import track
from isometry.corpora.documents import Document, from_table
from isometry.report.proof import proof_figures
from isometry.serving.documents import nearest, shown
from isometry.space import Space
from isometry.space_files import read_documents

# A browser reads the whole file before it shows anything.
_MOST_BYTES = 100 * 2**20
_NEIGHBOURS = 8


def offline_page(space: Space, name: str) -> str:
    """One HTML file with a Space's documents, the nearest ones of each, and the proof.

    It asks nobody for anything: its policy lets nothing run but the page's own script, which it
    names by its hash. Documents are data, which no browser reads as markup.

    Args:
        space: The Space.
        name: How the page calls it.

    Raises:
        InputError: When the page would be too large to open, or the documents are missing.
    """
    documents = read_documents(space.documents)
    # Before the neighbours of so many are looked for.
    _check_size(space, documents["text"].nbytes)
    data = json.dumps(
        _data(space, name, from_table(documents)), ensure_ascii=False, separators=(",", ":")
    )
    _check_size(space, len(data.encode()))
    style, script = _part("page.css"), _part("offline.js") + _part("page.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = _part("page.html")
    for old, new in (
        ('<meta charset="utf-8">', f'<meta charset="utf-8">\n{_policy(policy)}'),
        ('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>"),
        ('<script type="module" src="page.js"></script>', ""),
        # Data first. Nothing within can end its element: a `<` is written as its number.
        ("</body>", f'<script type="application/json" id="data">{_safe(data)}</script>\n'
                    f'<script type="module">{script}</script>\n</body>'),
    ):  # fmt: skip
        assert page.count(old) == 1
        page = page.replace(old, new)
    return page


def _check_size(space: Space, size: int) -> None:
    if size > _MOST_BYTES:
        raise InputError(
            f"The page would have {size / 2**20:,.0f} MiB or more, which no browser opens well.",
            f"Serve it: isometry serve {space.folder}",
        )


def _data(space: Space, name: str, documents: list[Document]) -> dict[str, Any]:
    index = space.index
    rows = index.rows
    numbers = np.arange(len(rows))
    hits = index.fetch((numbers, np.zeros(len(numbers))))
    vectors = index.vectors(numbers)
    place = {document.id: number for number, document in enumerate(documents)}
    near: list[list[tuple[int, float]]] = []
    with track("Finding the nearest documents", len(documents), "documents") as task:
        for document in documents:
            own = index.of_document(document.id)
            found, scores = (
                nearest(index, document.id, vectors[own], _NEIGHBOURS) if len(own) else ([], [])
            )
            near.append(
                [
                    (int(row), round(float(score), 4))
                    for row, score in zip(found, scores, strict=True)
                ]
            )
            task.advance()
    return {
        "name": name,
        "dimensions": index.dim,
        "documents": [shown(document) for document in documents],
        "passages": [[place[hit.document], hit.start, hit.end] for hit in hits],
        "near": near,
        "proof": proof_figures(space.manifest),
    }


def _part(name: str) -> str:
    return files("isometry.serving").joinpath("page", name).read_text(encoding="utf-8")


def _policy(policy: str) -> str:
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">'


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _safe(data: str) -> str:
    return data.replace("<", "\\u003c")
