"""Data sets of the Hugging Face hub -> rows, streamed."""

from __future__ import annotations

import gc
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from isometry.core.errors import InputError, MissingExtraError
from isometry.core.files import hash_value
from isometry.corpora.readers.reading import ReadingReport
from isometry.corpora.readers.rows import Row

_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class HubRows:
    """One split of a data set, at one commit; nothing is kept on the disk.

    Attributes:
        shown: As `hf:` takes it.
        revision: The commit.
        data: The `IterableDataset`.
    """

    shown: str
    revision: str
    data: Any
    key: None = None

    def names(self) -> list[str]:
        """See `Rows.names`."""
        if self.data.column_names:
            return list(self.data.column_names)
        with _clear_errors(self.shown), _rows_of(self.data) as rows:
            return list(next(rows, {}))

    def read(
        self, columns: Sequence[str] | None, report: ReadingReport, shown: str
    ) -> Generator[Row]:
        """See `Rows.read`."""
        features = self.data.features
        if columns is None and features:
            # Pictures and sounds would be fetched and decoded for nothing.
            kinds = {name: getattr(kind, "dtype", "") for name, kind in features.items()}
            columns = [name for name, kind in kinds.items() if str(kind).endswith("string")]
        data = self.data.select_columns(list(columns)) if columns else self.data
        with _clear_errors(shown), _rows_of(data) as rows:
            yield from enumerate(rows, start=1)

    def fingerprint(self, columns: Sequence[str]) -> str:
        """The commit and what is read of it."""
        return hash_value([self.shown, self.revision])


def open_dataset(spec: str) -> HubRows:
    """The split that "OWNER/NAME#CONFIG/SPLIT" names; without "/SPLIT" it is "train".

    The newest commit is looked up once, and then stays the one that is read. Code that a data set
    brings along is never run.

    Raises:
        InputError: When the hub cannot be reached, or there is no such data set or split.
    """
    try:
        from datasets import load_dataset
        from huggingface_hub import HfApi
    except ImportError:
        raise MissingExtraError("datasets", "hub") from None
    name, _, part = spec.partition("#")
    config, _, split = part.partition("/")
    shown = f"hf:{spec}"
    if not name.strip() or name.count("/") > 1:
        raise InputError(f"{shown} is no data set.", "Write hf:OWNER/NAME or hf:OWNER/NAME#CONFIG.")
    with _clear_errors(shown):
        revision = str(HfApi().dataset_info(name, timeout=_CONNECT_SECONDS).sha)
        data = load_dataset(
            name, config or None, split=split or "train", streaming=True, revision=revision
        )
        return HubRows(shown, revision, data)


@contextmanager
def _rows_of(data: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """The rows of a streamed data set; nothing of it is open afterwards."""
    rows = iter(data)
    try:
        yield rows
    finally:
        rows.close()
        # A scanner that is left to the end of the program aborts it (apache/arrow issue 45214).
        del rows
        gc.collect()


@contextmanager
def _clear_errors(shown: str) -> Iterator[None]:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        yield
    except InputError:
        raise
    except RepositoryNotFoundError as error:
        raise InputError(
            f"There is no data set {shown}, or it is not public.",
            "Write hf:OWNER/NAME; log in with `hf auth login` for one that is yours.",
        ) from error
    except Exception as error:  # the libraries below it raise whatever they like
        if _is_network(error):
            raise InputError(
                f"Cannot read {shown}: the Hugging Face hub cannot be reached.",
                "Try again with a network, or give a folder that datasets.save_to_disk wrote.",
            ) from error
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise InputError(
            f"Cannot read {shown}: {reason.rstrip('.')}.",
            "Another configuration or split is named as hf:OWNER/NAME#CONFIG/SPLIT.",
        ) from error


def _is_network(error: BaseException) -> bool:
    # Whatever HTTP library the hub's client stands on: at the bottom is one of Python's own.
    cause = error.__cause__ or error.__context__
    kinds = (ConnectionError, TimeoutError, socket.gaierror)
    return isinstance(error, kinds) or (cause is not None and _is_network(cause))
