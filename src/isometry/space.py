"""A Space: the folder that `fit` makes, and everything that can be asked of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from isometry.core.errors import InputError
from isometry.core.files import hash_file, read_json, write_json
from isometry.search.versions import HINT, VIEWS, version_of

if TYPE_CHECKING:
    import pyarrow as pa

    from isometry.encoders.encoder import Encoder
    from isometry.encoders.text import Role
    from isometry.search.explanation import Contribution
    from isometry.search.filters import Filter
    from isometry.search.lancedb import ChunkIndex, Hit, Lexical
    from isometry.search.passages import Elsewhere, Passages
    from isometry.search.view import Found

FORMAT = 2
MANIFEST = "space.json"
MODEL = "model"
INDEX = "index"
DOCUMENTS = "documents.parquet"
REPORT = "report.html"
# What a writer has beside the Space's own files: what waits to be written, the lock, who holds it,
# and unfinished work.
JOURNAL = "journal"
LOCK = "lock"
OWNER = "writer.json"
WRITING = ".writing"

# Where a writer makes files, under their names or, until they are whole, under hidden ones.
_WRITTEN = re.compile(
    r"(?:model|index)(?:-\d+)?/|documents(?:-\d+)?\.parquet$"
    r"|\.(?:space\.json|writer\.json|(?:model|index)(?:-\d+)?|documents(?:-\d+)?\.parquet)\."
)

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


@dataclass(frozen=True, slots=True)
class Current:
    """The files that make up one state of a Space: names in its folder.

    Attributes:
        model: The folder of the model.
        index: The folder of the table of passages.
        index_version: The table's version.
        documents: The file with the documents.
    """

    model: str
    index: str
    index_version: int
    documents: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Current:
        """What a manifest says is current; one of format 1 says nothing, for nothing changed.

        Raises:
            InputError: When it names something outside the Space.
        """
        named = manifest.get("current")
        if named is None:
            # The files are listed as they were made, whatever a writer has added since.
            versions = [
                version_of(name)
                for name in manifest["files"]
                if name.startswith(f"{INDEX}/") and name.endswith(".manifest")
            ]
            return cls(MODEL, INDEX, max(versions, default=1), DOCUMENTS)
        current = cls(named["model"], named["index"], named["index_version"], named["documents"])
        for name in (current.model, current.index, current.documents):
            if name in ("", "..") or Path(name).name != name:
                raise InputError(f"A manifest that names '{name}' is none of a Space.")
        return current


class Space:
    """An encoder with the proof that it fits its documents, and their index.

    A Space stays at the state that it was opened at, whatever is added meanwhile; `refresh` gives
    the new one.

    Args:
        folder: The folder.
        manifest: What its `space.json` says.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.current = Current.of(manifest)
        self._target: str | None = None
        self._elsewhere: Elsewhere | None = None

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
                "Upgrade Isometry.",
            )
        return cls(path, manifest)

    def refresh(self) -> Space:
        """This Space when nothing was written since it was opened, else as it is now.

        What is loaded stays loaded where it did not change. A process that runs for long calls this
        now and then: `compact` removes states that have been superseded for an hour.

        Raises:
            InputError: As `open` does.
        """
        now = Space.open(self.folder)
        if now.manifest == self.manifest:
            return self
        if now.current.model == self.current.model and "encoder" in self.__dict__:
            now.__dict__["encoder"] = self.encoder
        return now if self._target is None else now.at(self._target)

    @property
    def model(self) -> Path:
        """The folder that plain sentence-transformers loads."""
        return self.folder / self.current.model

    @property
    def documents(self) -> Path:
        """The Parquet file with the documents."""
        return self.folder / self.current.documents

    @property
    def report(self) -> Path:
        """The page with the proof."""
        return self.folder / REPORT

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that made the vectors, loaded on first use.

        Raises:
            InputError: When the model in the folder is not the one of the manifest.
        """
        from isometry.encoders.encoder import load_encoder

        encoder = load_encoder(self.model)
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

        try:
            return ChunkIndex.open(self.folder / self.current.index, self.current.index_version)
        except InputError:
            if Space.open(self.folder).current == self.current:
                raise
            raise InputError(
                f"{self.folder} was changed and compacted since it was opened.",
                "Use space.refresh().",
            ) from None

    @property
    def passages(self) -> Passages:
        """What is searched: the index, or what was exported to another place."""
        return self.index if self._elsewhere is None else self._elsewhere

    def at(self, target: str) -> Space:
        """This Space, searched where `isometry export` has put its passages.

        The model and what was evaluated stay those of the folder. On a server each search sees what
        was exported last, in object storage what was there when it was opened.

        Args:
            target: What `isometry export` was given.

        Raises:
            InputError: When nothing was exported there, it cannot be read, or another encoder than
                this Space's made its vectors.
        """
        from isometry.core import postgres

        encoder = self.manifest["encoder"]["fingerprint"]
        there = Space(self.folder, self.manifest)
        there.__dict__.update(self.__dict__)
        there._target = target
        if target.startswith(postgres.SCHEMES):
            from isometry.search.postgres import PostgresPassages

            there._elsewhere = PostgresPassages.open(target, encoder)
        else:
            from isometry.search.object_storage import open_exported

            there._elsewhere = open_exported(target, encoder)
        return there

    @cached_property
    def known(self) -> pa.Table:
        """What documents can be filtered by, read on first use: the `COLUMNS` of `Filter`."""
        import pyarrow.parquet as pq

        from isometry.search.filters import COLUMNS

        return pq.read_table(self.documents, columns=list(COLUMNS))

    @cached_property
    def lexical(self) -> Lexical:
        """How words are matched in this Space."""
        from isometry.search.lancedb import Lexical

        settings = dict(self.manifest["search"]["lexical"])
        settings.pop("engine", None)
        return Lexical(**settings)

    def encode(self, texts: Sequence[str], role: Role = "query") -> Float[np.ndarray, "texts dim"]:
        """Unit vectors in this Space, computed as those of its index were.

        Args:
            texts: Texts, without a prompt.
            role: Whose prompt is put before them: that of queries unless documents are said.
        """
        return self.encoder.encode(
            texts, role, precision=self.manifest["encoder"]["precision"], title="Encoding"
        )

    def search(
        self,
        query: str,
        k: int = 10,
        mode: Mode = "hybrid",
        *,
        vector: Float[np.ndarray, " dim"] | None = None,
        filter: Filter | Mapping[str, Any] | None = None,
    ) -> list[Result]:
        """The best documents for a query, each with its best passage.

        Args:
            query: What is looked for; any text.
            k: How many documents at most.
            mode: By vectors, by words, or by both, fused as they were evaluated.
            vector: The query's, where it is known; no model is loaded then.
            filter: Which documents may be found, as `Filter.parse` takes it:
                `{"kind": "code", "source": {"prefix": "docs/"}}`.

        Raises:
            InputError: For an empty query, a `k` below 1, or a filter that cannot be applied.
            ValueError: For another mode.
        """
        vector = self._vector(query, k, mode, vector)
        with self._searched(filter) as passages:
            found = self._find(passages, query, k, mode, vector)
            return [_result(hit, found) for hit in _fetch(passages, found)]

    def explain(
        self,
        query: str,
        k: int = 10,
        mode: Mode = "hybrid",
        *,
        filter: Filter | Mapping[str, Any] | None = None,
    ) -> list[tuple[Result, list[Contribution]]]:
        """What `search` finds, each with named contributions that sum to its score.

        A word of the query contributes its part of BM25. The query's vector is taken apart into few
        concepts, out of the headings of what was found and its own words: a concept contributes its
        weight in the query times its inner product with the passage, and what no concept accounts
        for is the "rest of the query". In a hybrid search, whose scores are standard scores, all
        are differences to the average candidate of their side.

        Args:
            query: What is looked for; any text.
            k: How many documents at most.
            mode: As in `search`.
            filter: As in `search`.

        Raises:
            InputError: As `search` does.
            ValueError: As `search` does.
        """
        vector = self._vector(query, k, mode)
        with self._searched(filter) as passages:
            found = self._find(passages, query, k, mode, vector)
            return self._explained(passages, query, mode, found)

    def _explained(
        self, passages: Passages, query: str, mode: Mode, found: _Found
    ) -> list[tuple[Result, list[Contribution]]]:
        from isometry.search.explanation import Parts, concept_names, query_words

        sides: list[tuple[Parts, float, int]] = []
        if found.vector is not None and len(found.dense):
            hits = passages.fetch(found.by_vectors)
            names = concept_names(query, [hit.title for hit in hits], [hit.text for hit in hits])
            parts = Parts.of_vectors(
                [document for document, _ in found.dense],
                found.by_vectors[1],
                passages.vectors(found.by_vectors[0]),
                found.vector,
                names,
                self.encode(names, "document"),
            )
            sides.append((parts, found.dense_weight, 0))
        if mode != "dense":
            words = query_words(query)
            alone = passages.word_scores(list(words), found.by_words[0])
            parts = Parts.of_words(
                [document for document, _ in found.lexical],
                found.by_words[1],
                list(words),
                alone * np.array(list(words.values())),
            )
            missing = max(0, found.depth - len(found.lexical))
            sides.append((parts, 1 - found.dense_weight, missing))
        return [
            (
                _result(hit, found),
                [
                    part
                    for parts, weight, missing in sides
                    for part in (
                        parts.explain_fused(hit.document, weight, missing)
                        if mode == "hybrid"
                        else parts.explain(hit.document)
                    )
                ],
            )
            for hit in _fetch(passages, found)
        ]

    def _vector(
        self, query: str, k: int, mode: Mode, vector: Float[np.ndarray, " dim"] | None = None
    ) -> Float[np.ndarray, " dim"] | None:
        """The query's vector, where it is needed; refuses what cannot be searched for."""
        if mode not in get_args(Mode):
            raise ValueError(f"the mode must be hybrid, dense or lexical, not {mode!r}")
        if not query.strip():
            raise InputError("The query is empty.")
        if k < 1:
            raise InputError(f"The number of results must be at least 1, not {k}.")
        if mode == "lexical":
            return None
        return self.encode([query])[0] if vector is None else vector

    def _find(
        self,
        passages: Passages,
        query: str,
        k: int,
        mode: Mode,
        vector: Float[np.ndarray, " dim"] | None,
    ) -> _Found:
        from isometry.search.fusion import standard_score_fusion

        settings = self.manifest["search"]
        depth = max(k, int(settings["depth"])) if mode == "hybrid" else k
        weight = float(settings["dense_weight"])
        nothing = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        by_vectors = nothing if vector is None else passages.rank_dense(vector, depth)
        by_words = nothing if mode == "dense" else passages.rank_lexical(query, depth)
        dense, lexical = (
            list(zip(passages.names(numbers), scores.tolist(), strict=True))
            for numbers, scores in (by_vectors, by_words)
        )
        if mode == "hybrid":
            best = standard_score_fusion(dense, lexical, weight, depth)[:k]
        else:
            best = (dense or lexical)[:k]
        return _Found(vector, by_vectors, by_words, dense, lexical, best, depth, weight)

    @contextmanager
    def _searched(self, filter: Filter | Mapping[str, Any] | None) -> Iterator[Passages]:
        """What is searched, as it is now; only what a filter lets through."""
        if filter is None:
            with self.passages.snapshot() as passages:
                yield passages
            return
        from isometry.search.filters import Filter, FilteredIndex

        chosen = filter if isinstance(filter, Filter) else Filter.parse(filter)
        if self._elsewhere is None:
            yield FilteredIndex(self.index, chosen.names(self.known))
            return
        with self._elsewhere.only(chosen).snapshot() as passages:
            yield passages

    def verify(self) -> int:
        """Compares every file with the manifest; what an unfinished write left is no damage.

        Returns:
            How many files there are.

        Raises:
            InputError: Naming the first file that is missing, damaged or unknown.
        """
        while True:
            # As it is now, not as it was when this Space was opened.
            now = Space.open(self.folder)
            try:
                return now._verify()
            except InputError:
                # A writer may have gone on while the files were read.
                if Space.open(self.folder).manifest == now.manifest:
                    raise

    def _verify(self) -> int:
        listed = {name: value for name, value in self.manifest["files"].items() if counts(name)}
        for name, expected in listed.items():
            path = self.folder / name
            if not path.is_file():
                raise InputError(f"Missing from {self.folder}: {name}.", _RESTORE)
            if hash_file(path) != expected:
                raise InputError(f"Damaged in {self.folder}: {name}.", _RESTORE)
        if unknown := sorted(set(self.unlisted()) - set(self.leftovers())):
            raise InputError(
                f"Not part of the Space {self.folder}: {unknown[0]}.", "Move it out of the folder."
            )
        return len(listed)

    def unlisted(self) -> list[str]:
        """The files in the folder that the manifest does not name, as POSIX paths, sorted."""
        found = (path.relative_to(self.folder).as_posix() for path in files_below(self.folder))
        return sorted(set(filter(counts, found)) - set(self.manifest["files"]))

    def leftovers(self) -> list[str]:
        """What a write that is under way, or was killed, has left so far; the next one removes it.

        A writer adds nothing to a model that is there; a file more in one comes from elsewhere.
        """
        if not (self.folder / WRITING).is_dir():
            return []
        there = {name.split("/")[0] for name in self.manifest["files"]}
        return [
            name
            for name in self.unlisted()
            if _WRITTEN.match(name) and (name.startswith(INDEX) or name.split("/")[0] not in there)
        ]

    @staticmethod
    def seal(folder: Path, manifest: dict[str, Any]) -> None:
        """Writes the manifest over finished files: only now the folder is a Space."""
        (folder / MANIFEST).unlink(missing_ok=True)
        found = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
        files = {name: hash_file(folder / name) for name in found if counts(name)}
        write_json(folder / MANIFEST, {**manifest, "files": files})


def counts(name: str) -> bool:
    """Whether a file in a Space's folder is a part of the Space that its manifest must name.

    Args:
        name: Its POSIX path below the folder.
    """
    return (
        name not in (MANIFEST, LOCK, OWNER)
        and not name.startswith((f"{WRITING}/", f"{JOURNAL}/"))
        and not name.endswith(f"/{HINT}")
        and f"/{VIEWS}/" not in name
    )


def files_below(folder: Path) -> list[Path]:
    """The files below a folder; those that vanish meanwhile do not matter."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


_RESTORE = "Restore it from a copy, or run the same fit command again with --force."


@dataclass(frozen=True)
class _Found:
    """What both sides found for a query, and how they were fused."""

    vector: Float[np.ndarray, " dim"] | None
    by_vectors: Found
    by_words: Found
    dense: list[tuple[str, float]]
    lexical: list[tuple[str, float]]
    best: list[tuple[str, float]]
    depth: int
    dense_weight: float

    @cached_property
    def ranks(self) -> tuple[dict[str, int], dict[str, int]]:
        """The rank of every document by vectors and by words, from 1."""
        dense, lexical = (
            {document: rank for rank, (document, _) in enumerate(side, 1)}
            for side in (self.dense, self.lexical)
        )
        return dense, lexical


def _fetch(passages: Passages, found: _Found) -> list[Hit]:
    # Where both found a document, the passage that the vectors chose is shown.
    row = {
        document: number
        for side, (numbers, _) in (
            (found.lexical, found.by_words),
            (found.dense, found.by_vectors),
        )
        for (document, _), number in zip(side, numbers.tolist(), strict=True)
    }
    chosen = np.array([row[document] for document, _ in found.best], dtype=np.int64)
    return passages.fetch((chosen, np.array([score for _, score in found.best])))


def _result(hit: Hit, found: _Found) -> Result:
    dense, lexical = found.ranks
    return Result(
        hit.document,
        hit.score,
        hit.title,
        hit.text,
        hit.start,
        hit.end,
        dense.get(hit.document),
        lexical.get(hit.document),
    )
