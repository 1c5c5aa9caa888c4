"""A Space: the folder that `fit` makes, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.core.files import hash_file, read_json, write_json

if TYPE_CHECKING:
    from isometry.encoders.text import Role, TextEncoder
    from isometry.search.lancedb import ChunkIndex, Hit, Lexical

FORMAT = 1
MANIFEST = "space.json"
MODEL = "model"
INDEX = "index"
REPORT = "report.html"

Mode = Literal["hybrid", "dense", "lexical"]


@dataclass(frozen=True, slots=True)
class Result:
    """One document that a search found.

    Attributes:
        document: Its id.
        score: Higher is better; comparable within one search only.
        title: Its heading path.
        text: The passage that matched best.
        start: Where the passage begins in the document's body, in characters.
        end: Where it ends.
        dense_rank: Its rank by vectors, from 1; None when it was not among the candidates.
        lexical_rank: Its rank by words.
    """

    document: str
    score: float
    title: str
    text: str
    start: int
    end: int
    dense_rank: int | None
    lexical_rank: int | None


class Space:
    """An encoder with the proof that it fits its documents, and their index.

    Args:
        folder: The folder.
        manifest: What its `space.json` says.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: str | Path) -> Space:
        """Opens a Space; cheap, since nothing but the manifest is read.

        Raises:
            InputError: When the folder is no Space, is unfinished, or a newer version made it.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise InputError(
                f"There is no Space at {path}.", "Make one with: isometry fit SOURCE --out FOLDER"
            )
        if not (path / MANIFEST).is_file():
            raise InputError(
                f"{path} is no Space: it has no {MANIFEST}.",
                "An unfinished one ends in .partial: repeat its fit command to finish it.",
            )
        manifest = read_json(path / MANIFEST)
        version = manifest.get("format") if isinstance(manifest, dict) else None
        if not isinstance(version, int):
            raise InputError(f"{path / MANIFEST} is no manifest of a Space.")
        if version > FORMAT:
            raise InputError(
                f"{path} is a Space of format {version}; this Isometry reads up to {FORMAT}.",
                "Upgrade isometry-embeddings.",
            )
        return cls(path, manifest)

    @property
    def model(self) -> Path:
        """The folder that plain sentence-transformers loads."""
        return self.folder / MODEL

    @property
    def report(self) -> Path:
        """The page with the proof."""
        return self.folder / REPORT

    @cached_property
    def encoder(self) -> TextEncoder:
        """The encoder that made the vectors, loaded on first use.

        Raises:
            InputError: When the model in the folder is not the one of the manifest.
        """
        from isometry.encoders.text import TextEncoder

        encoder = TextEncoder.load(self.model)
        if encoder.fingerprint() != self.manifest["encoder"]["fingerprint"]:
            raise InputError(
                f"The model in {self.model} is not the one that made the index.",
                f"Run: isometry verify {self.folder}",
            )
        return encoder

    @cached_property
    def index(self) -> ChunkIndex:
        """The table of passages, opened on first use."""
        from isometry.search.lancedb import ChunkIndex

        return ChunkIndex.open(self.folder / INDEX)

    @cached_property
    def lexical(self) -> Lexical:
        """How words are matched in this Space."""
        from isometry.search.lancedb import Lexical

        settings = dict(self.manifest["search"]["lexical"])
        settings.pop("engine", None)
        return Lexical(**settings)

    def encode(self, texts: Sequence[str], role: Role = "query") -> Float[np.ndarray, "texts dim"]:
        """Unit vectors in this Space, computed as those of its index were."""
        return self.encoder.encode(
            texts, role, precision=self.manifest["encoder"]["precision"], title="Encoding"
        )

    def search(self, query: str, k: int = 10, mode: Mode = "hybrid") -> list[Result]:
        """The best documents for a query, each with its best passage.

        Args:
            query: What is looked for; any text.
            k: How many documents at most.
            mode: By vectors, by words, or by both, fused as they were evaluated.

        Raises:
            InputError: For an empty query or a `k` below 1.
        """
        from isometry.search.fusion import reciprocal_rank_fusion

        if not query.strip():
            raise InputError("The query is empty.")
        if k < 1:
            raise InputError(f"The number of results must be at least 1, not {k}.")
        settings = self.manifest["search"]
        depth = max(k, int(settings["depth"])) if mode == "hybrid" else k
        dense = (
            self.index.dense(self.encode([query])[0], depth) if mode in ("dense", "hybrid") else []
        )
        lexical = self.index.lexical(query, depth) if mode in ("lexical", "hybrid") else []
        if mode == "hybrid":
            weight = float(settings["dense_weight"])
            fused = reciprocal_rank_fusion(
                [[hit.document for hit in dense], [hit.document for hit in lexical]],
                [weight, 1 - weight],
                int(settings["fusion_k"]),
            )
            scores = dict(fused)
        else:
            scores = {hit.document: hit.score for hit in dense or lexical}
        # Where both found a document, the passage that the vectors chose is shown.
        hits = {hit.document: hit for hit in [*lexical, *dense]}
        dense_rank = {hit.document: rank for rank, hit in enumerate(dense, 1)}
        lexical_rank = {hit.document: rank for rank, hit in enumerate(lexical, 1)}
        return [
            _result(hits[document], score, dense_rank.get(document), lexical_rank.get(document))
            for document, score in list(scores.items())[:k]
        ]

    def verify(self) -> int:
        """Compares every file with the manifest.

        Returns:
            How many files there are.

        Raises:
            InputError: Naming the first file that is missing, damaged or unknown.
        """
        listed: dict[str, str] = self.manifest["files"]
        for name, expected in listed.items():
            path = self.folder / name
            if not path.is_file():
                raise InputError(f"Missing from {self.folder}: {name}.", _RESTORE)
            if hash_file(path) != expected:
                raise InputError(f"Damaged in {self.folder}: {name}.", _RESTORE)
        present = {
            file.relative_to(self.folder).as_posix()
            for file in self.folder.rglob("*")
            if file.is_file()
        }
        if unknown := sorted(present - set(listed) - {MANIFEST}):
            raise InputError(f"Not part of the Space {self.folder}: {unknown[0]}.")
        return len(listed)

    @staticmethod
    def seal(folder: Path, manifest: dict[str, Any]) -> None:
        """Writes the manifest over finished files: only now the folder is a Space."""
        from isometry.core.files import hash_folder

        (folder / MANIFEST).unlink(missing_ok=True)
        write_json(folder / MANIFEST, {**manifest, "files": hash_folder(folder)})


_RESTORE = "Restore it from a copy, or run the same fit command again with --force."


def _result(hit: Hit, score: float, dense_rank: int | None, lexical_rank: int | None) -> Result:
    return Result(
        hit.document,
        score,
        hit.title,
        hit.text,
        hit.start,
        hit.end,
        dense_rank,
        lexical_rank,
    )
