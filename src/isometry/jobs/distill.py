"""`isometry distill`: a big encoder and somebody's own texts -> a smaller one, or a word table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry import __version__
from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.files import hash_value, read_object
from isometry.core.progress import say
from isometry.core.workspace import Workspace, discard_finished_work, discard_other_work
from isometry.core.writing import atomic_folder, out_folder, write_json
from isometry.corpora.readers import Source, open_source
from isometry.encoders.locate import is_static, locate, model_files, public_name
from isometry.jobs.places import (
    as_typed,
    check_model_alone,
    check_place,
    check_plan_options,
    check_replaceable,
)

if TYPE_CHECKING:
    from isometry.encoders.text import TextEncoder

RECORD = "distillation.json"


@dataclass(frozen=True)
class DistillSettings:
    """Everything that a user may decide; `distill` explains each."""

    teacher: str
    source: str
    layers: int | None = None
    dim: int | None = None
    static: bool = False
    minutes: float = 10.0
    seed: int = 0
    text: str | None = None
    title: str | None = None
    id: str | None = None
    limit: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None


def distill(
    teacher: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    layers: int | None = None,
    dim: int | None = None,
    static: bool = False,
    minutes: float = 10.0,
    seed: int = 0,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    limit: int | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Makes a smaller encoder that finds on somebody's own texts what a bigger one finds.

    The student starts as the teacher's first layers, its vectors projected on the principal
    components of what the teacher makes of the texts; or, `static`, as a table of what it makes of
    every token alone. It is then trained towards the teacher's stored vectors. How far to go is
    chosen on held-out texts, and measured on queries made from others.

    The same command goes on where a killed one stopped.

    Args:
        teacher: The encoder to distil: a Space, a folder, `packaged:NAME`, or a hub id.
        source: What `fit` takes as a source.
        out: The folder of the student, which plain sentence-transformers loads.
        layers: How many of the teacher's layers to keep, from the lowest; all when not given.
        dim: How many dimensions to keep; all when not given, and 256 of a table.
        static: Make a table, which has no layers.
        minutes: What to plan for.
        seed: Of every random choice.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        limit: Read only this many documents, the first.
        query_prompt: Replaces the query prompt of the teacher's own configuration; the student has
            it, too, unless it is a table.
        document_prompt: Replaces its document prompt, likewise.
        force: Replace an existing `out`, and discard unfinished work with another source or other
            settings. Work with the same ones goes on: to begin it anew, remove `NAME.partial`.

    Returns:
        The record that `out` keeps as distillation.json: `student`, `test` (quality, or None where
        too few queries can be made), `speed`, `validation`, `training`, `plan` and more.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    settings = DistillSettings(
        teacher=str(teacher),
        source=str(source),
        layers=layers,
        dim=dim,
        static=static,
        minutes=minutes,
        seed=seed,
        text=text,
        title=title,
        id=id,
        limit=limit,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
    )
    folder = out_folder(out)
    reader = check(settings, folder)
    # As the reader shows it: without a password.
    settings = replace(settings, source=reader.name)
    partial = folder.with_name(f"{folder.name}.partial")
    typed = {
        **asdict(settings),
        "teacher": as_typed(settings.teacher),
        "source": as_typed(settings.source),
        "minutes": float(minutes),
    }
    fingerprint = hash_value(
        [__version__, typed, reader.fingerprint(), model_files(settings.teacher)]
    )
    if not force and (finished := _finished(folder, fingerprint)) is not None:
        # Stopped while it cleaned up, it left its work behind.
        discard_finished_work(partial, fingerprint)
        say(f"Nothing to do: {folder} was made from this source with these settings.")
        return finished
    check_replaceable(folder, (folder / RECORD).is_file(), "distilled model", force)
    if force:
        discard_other_work(partial, fingerprint)
    encoder = load_teacher(settings)
    from isometry.jobs.distill_proof import describe
    from isometry.jobs.distilling import Distilling
    from isometry.jobs.loading import check_same_model

    with Workspace(partial, fingerprint, of_command=True) as work:
        if work.resumed:
            say(f"Going on with {partial}.")
        check_same_model(work, encoder)
        job = Distilling(work, reader, settings, encoder)
        job.announce()
        job.train()
        chosen = job.choose()
        record = {
            "isometry": __version__,
            "created": utc(),
            "fingerprint": fingerprint,
            **describe(job, chosen),
        }
        made = job.student(chosen["alpha"])

        def last_look() -> None:
            check_replaceable(folder, (folder / RECORD).is_file(), "distilled model", force)
            check_model_alone(folder)

        with atomic_folder(folder, last_look=last_look) as temporary:
            made.save(temporary, card=_card(record))
            write_json(temporary / RECORD, record)
    discard_finished_work(partial, fingerprint)
    return record


def _finished(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The record of a student that was made of the same with the same settings."""
    path = folder / RECORD
    record = read_object(path) if path.is_file() else {}
    return record if record.get("fingerprint") == fingerprint else None


def check(settings: DistillSettings, folder: Path) -> Source:
    """Refuses what cannot work, before anything heavy is imported; gives the opened source back.

    Raises:
        InputError: With what is wrong and what to do.
    """
    if settings.static and settings.layers is not None:
        raise InputError("A static student has no layers.", "Give either --static or --layers.")
    if not settings.static and settings.layers is None and settings.dim is None:
        raise InputError(
            "Nothing would get smaller.", "Give --layers, --dim or both, or --static for a table."
        )
    for name, value in (("--layers", settings.layers), ("--dim", settings.dim)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, not {value}.")
    check_plan_options(settings.minutes, settings.seed)
    place, is_local = locate(settings.teacher)
    check_place(folder, {settings.teacher: Path(place)} if is_local else {})
    check_model_alone(folder)
    if is_local and folder.resolve() == Path(place).resolve():
        raise InputError(f"{folder} is the teacher.", "Choose another --out.")
    if is_local and is_static(Path(place)):
        raise InputError(
            f"The teacher '{settings.teacher}' is static already: nothing is faster.",
            "Give the encoder that it was made from.",
        )
    return open_source(
        settings.source,
        text=settings.text,
        title=settings.title,
        id=settings.id,
        limit=settings.limit,
    )


def load_teacher(settings: DistillSettings) -> TextEncoder:
    """The teacher, if it has what shall be kept.

    Raises:
        InputError: When it has fewer layers or dimensions, has no more than what is asked for, is
            no chain that can be cut, has NaN in its weights, or a prompt leaves it no room.
    """
    from isometry.encoders.finite import check_finite
    from isometry.encoders.surgery.layers import truncate
    from isometry.jobs.loading import check_prompts, load_sound_text_encoder

    encoder = load_sound_text_encoder(
        settings.teacher,
        query_prompt=settings.query_prompt,
        document_prompt=settings.document_prompt,
    )
    check_finite(encoder)
    check_prompts(encoder)
    if settings.dim is not None and settings.dim > encoder.dim:
        raise InputError(
            f"The teacher '{settings.teacher}' has {encoder.dim} dimensions, so a student cannot"
            f" have {settings.dim}.",
            f"Choose --dim 1 to {encoder.dim}.",
        )
    if settings.static:
        return encoder
    depth = len(encoder.layers())
    if settings.layers not in (None, depth):
        # It refuses more layers than there are.
        truncate(encoder, settings.layers)
    if (settings.layers or depth) == depth and (settings.dim or encoder.dim) == encoder.dim:
        raise InputError(
            f"The teacher '{settings.teacher}' has {depth} layers and {encoder.dim} dimensions:"
            " nothing would get smaller.",
            "Choose fewer.",
        )
    return encoder


def _card(record: dict[str, Any]) -> str:
    """A few lines for whoever finds the folder."""
    settings, student, speed = record["settings"], record["student"], record["speed"]
    kind = "a table of word vectors" if settings["static"] else f"{student['layers']} layers"
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        "",
        f"# {kind}, {student['dim']} dimensions",
        "",
        f"Distilled from {public_name(settings['teacher'])} by `isometry distill` on"
        f" {record['data']['learnt_from']:,} texts; {speed['times_as_fast']:,.1f} times as fast.",
    ]
    if (test := record["test"]) is not None:
        points = {row["system"]: 100 * row["ndcg@10"] for row in test["rows"]}
        lines.append(
            f"On {test['queries']:,} queries made from held-out documents it reaches"
            f" {points['student']:.1f} points of nDCG@10, its teacher {points['teacher']:.1f}."
        )
    lines += ["", "All figures: distillation.json.", ""]
    return "\n".join(lines)
