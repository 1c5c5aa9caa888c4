"""A Space: the folder that `fit` makes, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import Float

from isometry import space_files
from isometry.core.errors import InputError
from isometry.corpora.readers.reading import as_read
from isometry.search.hybrid import HybridSearch, Mode, Result
from isometry.space_files import REPORT, Current, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa

    from isometry.encoders.encoder import Encoder
    from isometry.encoders.text import Role
    from isometry.search.explanation import Contribution
    from isometry.search.filters import Filter
    from isometry.search.lancedb import ChunkIndex, Lexical
    from isometry.search.passages import Elsewhere, Passages

# Lance counts in 32 bits, and is asked for more where few may be shown.
_MOST_RESULTS = 2**30


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
        return cls(path, read_manifest(path))

    def refresh(self) -> Space:
        """This Space when nothing was written since it was opened, else as it is now.

        One that is searched elsewhere (`at`) looks there for a newer export, too.

        What is loaded stays loaded where it did not change. A process that runs for long calls this
        now and then: `compact` removes states that have been superseded for an hour.

        Raises:
            InputError: As `open` does.
        """
        now = Space.open(self.folder)
        if now.manifest == self.manifest:
            return self if self._target is None else self.at(self._target)
        # Another fit may have put another model under the same name.
        made = now.manifest["encoder"]["fingerprint"] == self.manifest["encoder"]["fingerprint"]
        if made and now.current.model == self.current.model and "encoder" in self.__dict__:
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
    def fitted(self) -> dict[str, Any]:
        """What the manifest says of the model that was fitted, also of one that was replaced.

        Always `base` and `fingerprint`; the prompts, unless an older version replaced it.
        """
        return self.manifest.get("migrated", {}).get("from") or self.manifest["encoder"]

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

        with self._still_there():
            return ChunkIndex.open(self.folder / self.current.index, self.current.index_version)

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
            from isometry.search.object_storage import SCHEME, open_exported

            if not target.startswith(SCHEME):
                raise postgres.no_place(target)
            there._elsewhere = open_exported(target, encoder)
        return there

    @cached_property
    def known(self) -> pa.Table:
        """What documents can be filtered by, read on first use: the `COLUMNS` of `Filter`."""
        from isometry.search.filters import COLUMNS

        with self._still_there():
            return space_files.read_documents(self.documents, COLUMNS)

    @contextmanager
    def _still_there(self) -> Iterator[None]:
        """Tells a state that went, or gave way to that of another fit, from one that is damaged."""
        try:
            yield
            made = read_manifest(self.folder).get("created")
        except (InputError, FileNotFoundError):
            if Space.open(self.folder).current == self.current:
                raise
            raise InputError(
                f"{self.folder} was changed and compacted since it was opened.",
                "Use space.refresh().",
            ) from None
        # Files of two fits have the same names: they would open, beside the other's encoder.
        if made != self.manifest.get("created"):
            raise InputError(
                f"{self.folder} was fitted anew since it was opened.", "Use space.refresh()."
            )

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
            InputError: For an empty query, a `k` below 1 or beyond any index, or a filter that
                cannot be applied.
            ValueError: For another mode.
        """
        query = as_read(query)
        vector = self._vector(query, k, mode, vector)
        with self._searched(filter) as passages:
            return self._find(passages, query, vector, k, mode).results()

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
        query = as_read(query)
        vector = self._vector(query, k, mode)
        with self._searched(filter) as passages:
            found = self._find(passages, query, vector, k, mode)
            return found.explained(partial(self.encode, role="document"))

    def _vector(
        self, query: str, k: int, mode: Mode, vector: Float[np.ndarray, " dim"] | None = None
    ) -> Float[np.ndarray, " dim"] | None:
        """The query's vector, where it is needed; refuses what cannot be searched for."""
        if mode not in get_args(Mode):
            raise ValueError(f"the mode must be hybrid, dense or lexical, not {mode!r}")
        if not query.strip():
            raise InputError("The query is empty.")
        if not 1 <= k <= _MOST_RESULTS:
            raise InputError(f"The number of results must be from 1 to {_MOST_RESULTS:,}, not {k}.")
        if mode == "lexical":
            return None
        if vector is None:
            return self.encode([query])[0]
        if not np.isfinite(vector).all():
            raise InputError("The query's vector has values that are not finite.")
        return vector

    def _find(
        self,
        passages: Passages,
        query: str,
        vector: Float[np.ndarray, " dim"] | None,
        k: int,
        mode: Mode,
    ) -> HybridSearch:
        settings = self.manifest["search"]
        depth, weight = int(settings["depth"]), float(settings["dense_weight"])
        return HybridSearch.run(passages, query, vector, k, mode, depth=depth, dense_weight=weight)

    @contextmanager
    def _searched(self, filter: Filter | Mapping[str, Any] | None) -> Iterator[Passages]:
        """What is searched, as it is now; only what a filter lets through."""
        if filter is None:
            with self.passages.snapshot() as passages, self._whole():
                yield passages
            return
        from isometry.search.filters import Filter, FilteredIndex

        chosen = filter if isinstance(filter, Filter) else Filter.parse(filter)
        if self._elsewhere is None:
            with self._whole():
                yield FilteredIndex(self.index, chosen.names(self.known))
            return
        with self._elsewhere.only(chosen).snapshot() as passages:
            yield passages

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Says what of the index cannot be read: its files are read when they are needed."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            # What encodes, or a place elsewhere, fails for other reasons.
            if self._elsewhere is not None or "lance" not in str(error).lower():
                raise
            if Space.open(self.folder).current != self.current:
                raise InputError(
                    f"{self.folder} was changed and compacted since it was opened.",
                    "Use space.refresh().",
                ) from error
            raise InputError(
                f"The index of {self.folder} is damaged: {str(error).splitlines()[0][:200]}",
                f"See what else is: isometry verify {self.folder}",
            ) from error

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
                return space_files.check_files(now.folder, now.manifest["files"])
            except InputError:
                # A writer may have gone on while the files were read.
                if Space.open(self.folder).manifest == now.manifest:
                    raise

    def unlisted(self) -> list[str]:
        """The files in the folder that the manifest does not name, as POSIX paths, sorted."""
        return space_files.unlisted(self.folder, self.manifest["files"])

    def leftovers(self) -> list[str]:
        """What a write under way, or a killed one, has left so far; the next one removes it."""
        return space_files.leftovers(self.folder, self.manifest["files"])
