"""`isometry encode`: texts -> a Parquet file of vectors, resumable."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from isometry import __version__
from isometry.core.errors import InputError
from isometry.core.files import hash_value
from isometry.core.workspace import Workspace, discard_finished_work, discard_other_work
from isometry.core.writing import atomic_file, out_folder
from isometry.corpora.documents import Document, passage
from isometry.corpora.readers import ReadingReport, open_source
from isometry.corpora.readers.reading import skipped_first
from isometry.encoders.locate import locate, model_files
from isometry.jobs.places import check_new_file, check_outside, check_place, file_of

if TYPE_CHECKING:
    from isometry.encoders.text import Precision, Role

SHARD = 2048
# What people expect to hold something else.
_OTHERS = (".csv", ".tsv", ".json", ".jsonl", ".npy", ".npz", ".txt", ".safetensors", ".arrow")
# What a Parquet file begins with.
_MAGIC = b"PAR1"
# Of a text, for each token that the model reads.
_MOST_CHARACTERS = 16


def encode(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    role: Role = "document",
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    limit: int | None = None,
    precision: Precision = "float32",
    force: bool = False,
) -> dict[str, Any]:
    """Encodes every document of a source, shard by shard; a killed run goes on with its shards.

    A document is encoded as header and body in one text, cut where the model's limit is.

    Args:
        model: A Space, a model folder, `packaged:NAME`, or a hub id.
        source: What `fit` takes.
        out: The Parquet file: columns `id`, `text` and `vector` (a fixed-size list of float32).
        role: Whose prompt to use.
        query_prompt: Replaces the query prompt of the model's own configuration.
        document_prompt: Replaces its document prompt. Only that of the role may be given.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        limit: Encode only this many documents, the first.
        precision: Of the matrix products.
        force: Replace an existing Parquet file, and discard unfinished work with another model,
            source or settings. Work with the same ones goes on: to begin it anew, remove
            `NAME.partial`.

    Returns:
        Figures: `texts`, `truncated` (texts that were longer than the model reads), `blank` (texts
        of which a table knows no token, and whose vectors are zero), `dim`, `prompt` (what was put
        before each), `skipped` (files and rows), `skipped_first` (where and why), `out`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    given = {"query": query_prompt, "document": document_prompt}
    if role not in given:
        raise InputError(f"The role is 'query' or 'document', not '{role}'.")
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"The precision is 'float32' or 'bfloat16', not '{precision}'.")
    prompt = given.pop(role)
    for other, idle in given.items():
        if idle is not None:
            raise InputError(
                f"--{other}-prompt is put before no {role}.",
                f"Leave it out, or choose --role {other}.",
            )
    path = out_folder(out)
    if path.is_dir() or str(out).endswith(os.sep):
        raise InputError(f"{out} is a folder.", "--out is the file that is written.")
    place, is_local = locate(model)
    check_place(path, {str(model): Path(place)} if is_local else {})
    whole = file_of(str(source))
    if path.exists() and path.resolve() == whole.resolve():
        raise InputError(f"{path} is the source.", "Choose another --out.")
    check_outside(path, whole)
    if path.suffix.lower() in _OTHERS:
        raise InputError(
            f"{path} would hold Parquet, whatever its name says.",
            f"Call it {path.with_suffix('.parquet').name}.",
        )
    check_new_file(path, force, begins=_MAGIC)
    reader = open_source(source, text=text, title=title, id=id, limit=limit)
    fingerprint = hash_value(
        [
            __version__,
            str(place),
            model_files(model),
            reader.fingerprint(),
            role,
            precision,
            limit,
            prompt,
        ]
    )
    partial = path.with_name(f"{path.name}.partial")
    if force:
        discard_other_work(partial, fingerprint)
    with Workspace(partial, fingerprint, of_command=True) as work:
        from isometry.jobs.loading import check_prompts, check_same_model, load_sound

        encoder = load_sound(model, query_prompt=query_prompt, document_prompt=document_prompt)
        check_prompts(encoder, role)
        check_same_model(work, encoder)
        limit_of_model = encoder.max_tokens or float("inf")
        # A token holds four characters or so.
        most = _MOST_CHARACTERS * encoder.max_tokens if encoder.max_tokens else None
        report = ReadingReport()
        truncated = blank = 0
        shards: list[Path] = []
        documents = reader.documents(report)
        while block := list(islice(documents, SHARD)):
            name = f"shard-{len(shards):06d}"

            def make(block: list[Document] = block) -> pa.Table:
                texts = [passage(document.header(), document.body()) for document in block]
                # What is far beyond the limit need not be tokenized to know that it is.
                read = [text[:most] for text in texts]
                lengths = encoder.lengths(read, role)
                # A very long word or many blanks are few tokens.
                for row, length in enumerate(lengths):
                    if len(read[row]) < len(texts[row]) and length <= limit_of_model:
                        read[row] = texts[row]
                        lengths[row] = encoder.lengths([texts[row]], role)[0]
                vectors = encoder.encode(read, role, precision=precision)
                flat = pa.array(vectors.ravel(), pa.float32())
                return pa.table(
                    {
                        "id": [document.id for document in block],
                        "text": texts,
                        "vector": pa.FixedSizeListArray.from_arrays(flat, encoder.dim),
                        "truncated": [length > limit_of_model for length in lengths],
                    }
                )

            table = work.table(name, make)
            work.worth_keeping = True
            truncated += sum(table.column("truncated").to_pylist())
            blank += _blank(table)
            shards.append(work.path / f"{name}.parquet")
        _join(shards, work.path / "joined.parquet")
        # Something may have come there since the work began.
        check_new_file(path, force, begins=_MAGIC)
        (work.path / "joined.parquet").replace(path)
    discard_finished_work(work.path, work.fingerprint)
    return {
        "texts": report.documents,
        "truncated": truncated,
        "blank": blank,
        "dim": encoder.dim,
        "prompt": encoder.prompts[role],
        "skipped": len(report.skipped),
        "skipped_first": skipped_first(report),
        "out": str(path),
    }


def _blank(table: pa.Table) -> int:
    """How many vectors of a shard are zero."""
    vectors = table.column("vector").combine_chunks().flatten().to_numpy()
    return int((~vectors.reshape(table.num_rows, -1).any(axis=1)).sum())


def _join(shards: list[Path], path: Path) -> None:
    """Streams the shards into one file."""
    with atomic_file(path) as temporary:
        schema = pq.read_schema(shards[0])
        schema = schema.remove(schema.get_field_index("truncated"))
        with pq.ParquetWriter(temporary, schema) as writer:
            for shard in shards:
                writer.write_table(pq.read_table(shard).drop_columns("truncated"))
