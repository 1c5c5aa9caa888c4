"""Documents of a data package that take long to read: kept in this user's cache."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import isometry
from isometry.core.files import hash_folder, hash_value
from isometry.core.source_code import code_hash
from isometry.core.writing import atomic_file
from isometry.corpora import readers
from isometry.corpora.documents import SCHEMA, Document, from_table, to_batches
from isometry.corpora.packaged.locate import data_path, make_once, user_cache


def kept_documents(name: str, *, parsers: Sequence[str]) -> list[Document]:
    """The documents of a data package, read by the first process that asks for them.

    Other files, other code of the readers or another version of a parser have them read anew.

    Args:
        name: Of the package.
        parsers: The distributions whose versions decide about what is read.

    Raises:
        InputError: When the package is not on this machine, or the cache cannot be written.
    """
    import pyarrow as pa

    folder = data_path(name)
    reader, package = Path(readers.__file__), Path(isometry.__file__).parent
    state = [hash_folder(folder), code_hash(reader, package), [version(one) for one in parsers]]
    path = user_cache() / "documents" / f"{name}-{hash_value(state)[:16]}.arrow"

    def make() -> None:
        found = readers.open_source(folder).documents(readers.ReadingReport())
        with (
            atomic_file(path) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, SCHEMA) as writer,
        ):
            for batch in to_batches(found):
                writer.write_batch(batch)

    make_once(path, "20 MB", make)
    with pa.memory_map(str(path)) as file:
        return from_table(pa.ipc.open_file(file).read_all())
