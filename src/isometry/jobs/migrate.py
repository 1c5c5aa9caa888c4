"""`isometry migrate`: a Space under another model, beside the old one until it is whole."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.progress import say
from isometry.encoders.locate import locate
from isometry.jobs.history import generation, with_generation
from isometry.jobs.upkeep import Writer, differences, held_documents, update_index
from isometry.space import Space
from isometry.space_files import INDEX, MANIFEST, MODEL, Current

if TYPE_CHECKING:
    from isometry.encoders.cached import CachedEncoder


def migrate(
    space: str | Path,
    model: str | Path | None = None,
    *,
    back: bool = False,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
) -> dict[str, Any]:
    """Encodes a Space anew with another model, of any number of dimensions.

    Whoever searches goes on with the old model until all is done. A killed migration goes on where
    it was. The fitted figures and the weight of the fusion stay, and the manifest says that they
    are of the former model. The old generation stays, for going back, until
    `compact(drop_old=True)`.

    Args:
        space: The folder of the Space.
        model: A folder, `packaged:NAME`, a hub id, or another Space.
        back: Return to the generation before the last migration, brought up to date with what was
            added since; once more returns to this one.
        query_prompt: Replaces the query prompt of the new model's own configuration. The former
            one keeps what its vectors were made with.
        document_prompt: Replaces its document prompt.

    Returns:
        Figures: `migrated` (False when the Space has this model already), `model`, `dim`,
        `query_prompt`, `document_prompt`, `documents`, `passages` (written), `seconds`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    started = time.monotonic()
    if back == (model is not None):
        raise InputError("Give either --model MODEL, or --back.")
    if back and (query_prompt is not None or document_prompt is not None):
        raise InputError(
            "--back returns to a model with its own prompts.",
            "Leave out --query-prompt and --document-prompt.",
        )
    opened = Space.open(space)
    if model is None:
        if "former" not in opened.manifest:
            raise InputError(
                f"{opened.folder} has no earlier generation to go back to.",
                "Nothing was migrated yet, or compact --drop-old removed it.",
            )
        with Writer(space, "migrate --back") as writer:
            figures = _return(writer)
    else:
        place, precision = _found(model, opened)
        from isometry.jobs.loading import check_prompts, load_sound

        encoder = load_sound(place, query_prompt=query_prompt, document_prompt=document_prompt)
        check_prompts(encoder)
        with Writer(space, f"migrate --model {model}") as writer:
            from isometry.encoders.cached import CachedEncoder

            cached = CachedEncoder(encoder, writer.work / "vectors", precision)
            figures = _switch(writer, cached, str(model))
    return {**figures, "seconds": round(time.monotonic() - started, 1)}


def _found(model: str | Path, space: Space) -> tuple[str | Path, Any]:
    """Where a model is, and in which precision it encodes: a Space's own, else as until now."""
    if (Path(model).expanduser() / MANIFEST).is_file():
        other = Space.open(model)
        return other.model, other.manifest["encoder"]["precision"]
    locate(model)
    return model, space.manifest["encoder"]["precision"]


def _switch(writer: Writer, encoder: CachedEncoder, name: str) -> dict[str, Any]:
    """Builds the new generation beside the old one and makes it the current one."""
    from isometry.corpora.documents import from_table, views_of
    from isometry.jobs.manifest import describe_encoder
    from isometry.jobs.ranking import build_index, passages_of

    space = writer.space
    old = space.manifest["encoder"]
    if encoder.fingerprint == old["fingerprint"]:
        say(f"Nothing to do: {writer.folder} has this model already.")
        return _figures(space, migrated=False, passages=0)
    table = held_documents(space)
    documents = from_table(table)
    views = views_of(documents)
    chunks = passages_of(encoder.encoder, [document.id for document in documents], views)
    vectors = encoder.encode(chunks.column("text").to_pylist(), title="Encoding passages")
    folders = writer.free(MODEL), writer.free(INDEX)
    encoder.encoder.save(writer.folder / folders[0])
    index = build_index(writer.folder / folders[1], chunks, vectors, space.lexical)
    current = Current(*folders, index.version, space.current.documents)
    described = describe_encoder(encoder, name, encoder.fingerprint)
    manifest = {
        **space.manifest,
        "current": asdict(current),
        "former": generation(space.manifest),
        "encoder": described,
    }
    # The figures, and the weight, are of the model that was fitted, however often it is replaced.
    fitted = _identity(space.fitted)
    search = {**space.manifest["search"], "dense_weight_tuned_for": fitted["base"]}
    migrated = {"from": fitted, "to": _identity(described), "time": utc()}
    manifest |= {"search": search, "migrated": migrated}
    if encoder.fingerprint == fitted["fingerprint"]:
        del search["dense_weight_tuned_for"], manifest["migrated"]
    writer.commit(manifest)
    return _figures(writer.space, migrated=True, passages=chunks.num_rows)


def _return(writer: Writer) -> dict[str, Any]:
    """Makes the generation before the last migration the current one again."""
    space = writer.space
    former = space.manifest["former"]
    was = Current.of({"current": former})
    before = held_documents(space, writer.folder / was.documents)
    after = held_documents(space)
    version, passages = was.index_version, 0
    if any(differences(before, after)):
        from isometry.encoders.cached import CachedEncoder
        from isometry.jobs.loading import load_sound

        encoder = load_sound(writer.folder / was.model)
        cached = CachedEncoder(encoder, writer.work / "vectors", former["encoder"]["precision"])
        version, passages = update_index(writer, was.index, version, cached, before, after)
    manifest = with_generation(space.manifest, former)
    current = Current(was.model, was.index, version, space.current.documents)
    writer.commit({**manifest, "current": asdict(current), "former": generation(space.manifest)})
    return _figures(writer.space, migrated=True, passages=passages)


def _identity(encoder: dict[str, Any]) -> dict[str, Any]:
    names = ("base", "fingerprint", "query_prompt", "document_prompt")
    return {name: encoder[name] for name in names if name in encoder}


def _figures(space: Space, *, migrated: bool, passages: int) -> dict[str, Any]:
    import pyarrow.parquet as pq

    encoder = space.manifest["encoder"]
    return {
        "migrated": migrated,
        "model": encoder["base"],
        **{name: encoder[name] for name in ("dim", "query_prompt", "document_prompt")},
        "documents": pq.read_metadata(space.documents).num_rows,
        "passages": passages,
    }
