"""`isometry fit`: somebody's documents and a pretrained encoder -> a better Space, with proof."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry import __version__
from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value, read_json
from isometry.core.progress import say
from isometry.core.workspace import Workspace, discard_finished_work, discard_other_work
from isometry.core.writing import atomic_file, out_folder, replace_folder, write_text
from isometry.corpora.readers import Source, open_source
from isometry.encoders.locate import locate, model_files
from isometry.encoders.sizes import read_sizes, size_name
from isometry.jobs.places import as_typed, check_apart, check_plan_options
from isometry.space import Space
from isometry.space_files import DOCUMENTS, MANIFEST, MODEL, REPORT, is_written, seal

if TYPE_CHECKING:
    from isometry.corpora.pairs.query_writer import OpenAIWriter
    from isometry.training.plan import Plan

DEFAULT_BASE = "packaged:minilm"
# More only wait for each other, and many thousands cannot even be started.
_THREADS_PER_PROCESSOR = 4
_SCHEMES = ("python", "hf", "sqlite", "postgresql", "postgres", "wordnet")


@dataclass(frozen=True)
class FitSettings:
    """Everything that a user may decide about a fit; `fit` explains each."""

    source: str
    base: str = DEFAULT_BASE
    minutes: float = 10.0
    seed: int = 0
    text: str | None = None
    title: str | None = None
    id: str | None = None
    limit: int | None = None
    queries: str | None = None
    judgements: str | None = None
    pairs: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    query_writer: str | None = None
    query_model: str | None = None
    threads: int | None = None
    nested: str | None = None


def fit(
    source: str | Path,
    *,
    base: str | Path = DEFAULT_BASE,
    out: str | Path | None = None,
    minutes: float = 10.0,
    seed: int = 0,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    limit: int | None = None,
    queries: str | Path | None = None,
    judgements: str | Path | None = None,
    pairs: str | Path | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    query_writer: str | None = None,
    query_model: str | None = None,
    threads: int | None = None,
    nested: str | None = None,
    plan: str | Path | None = None,
    force: bool = False,
) -> Space:
    """Makes a Space: tunes an encoder on unlabelled documents and proves what that did.

    The result is never worse than the base on validation: where tuning does not help, the base is
    kept and the report says so. The same command goes on where a killed one stopped, and gives a
    finished Space back at once.

    Args:
        source: A folder, a file, an archive, `python:PACKAGE`, `wordnet:`, `hf:OWNER/NAME`, or an
            address of a database (`sqlite:`, `postgresql:`).
        base: The encoder to start from: a folder, `packaged:NAME`, or a hub id.
        out: The folder of the Space; named after the source when not given.
        minutes: What to plan for, without encoding the final index.
        seed: Of every random choice.
        text: The column of a table that holds the text.
        title: The column that holds the title.
        id: The column that holds the id.
        limit: Read only this many documents, the first.
        queries: Queries that people asked (JSONL with `_id` and `text`, or TSV).
        judgements: Which documents answer them (BEIR's, TREC's or MS MARCO's layout).
        pairs: Queries with their documents in one file (JSONL with `query` and `document`, an id),
            instead of the two.
        query_prompt: Replaces the query prompt of the model's own configuration.
        document_prompt: Replaces its document prompt.
        query_writer: The address of an OpenAI-compatible server whose model writes training
            queries; passages of the training documents are sent to it, and to nothing else.
        query_model: The model there.
        threads: Processor threads; all by default.
        nested: Smaller sizes to train too, as layers and dimensions that rise: "2x96,4x192".
            `isometry.cut` makes models of them.
        plan: Whose plan to follow instead of measuring this machine: a Space, or the file that
            `isometry fit --dry-run --json` printed.
        force: Replace a finished Space, and discard unfinished work with another source or other
            settings. Work with the same ones goes on: to begin it anew, remove `NAME.partial`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    settings = FitSettings(
        source=str(source),
        base=str(base),
        minutes=minutes,
        seed=seed,
        text=text,
        title=title,
        id=id,
        limit=limit,
        queries=None if queries is None else str(queries),
        judgements=None if judgements is None else str(judgements),
        pairs=None if pairs is None else str(pairs),
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        query_writer=query_writer,
        query_model=query_model,
        threads=threads,
        nested=nested,
    )
    return fit_by(settings, out=out, plan=plan, force=force)


def fit_by(
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    plan: str | Path | None = None,
    force: bool = False,
) -> Space:
    """What `fit` does, with its settings in one.

    Args:
        settings: Everything that a user may decide.
        out: The folder of the Space; named after the source when not given.
        plan: As in `fit`.
        force: As in `fit`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    settings = _as_files(settings)
    reader = check(settings)
    # As the reader shows it: without a password.
    settings = replace(settings, source=reader.name)
    if settings.nested is not None:
        settings = replace(settings, nested=",".join(map(size_name, read_sizes(settings.nested))))
    given_plan = None if plan is None else _read_plan(Path(plan).expanduser())
    folder = out_folder(out if out is not None else default_out(settings.source))
    if folder.is_mount():
        # A finished Space is renamed into its place, and nothing can take that of a mount.
        raise InputError(
            f"{folder} is where a disk is mounted.", f"Choose --out {folder / 'space'}."
        )
    partial = folder.with_name(f"{folder.name}.partial")
    fingerprint = hash_value([__version__, _identity(settings, reader), given_plan])
    if finished := _finished(folder, fingerprint, force=force):
        discard_finished_work(partial, fingerprint)
        say(f"Nothing to do: {folder} was made from this source with these settings.")
        return finished
    if force:
        discard_other_work(partial, fingerprint)
    if (writer := _writer(settings)) and not (partial / "written.json").exists():
        writer.check()
    with Workspace(partial, fingerprint, of_command=True) as work:
        if work.resumed:
            say(f"Going on with {partial}.")
        from isometry.jobs.fitting import threads_as_before

        with threads_as_before():
            _fit(work, reader, settings, given_plan, fingerprint)
        # Something may have come there since the work began.
        _finished(folder, fingerprint, force=force)
        _replace(folder, work.path / "space")
    discard_finished_work(partial, fingerprint)
    return Space.open(folder)


def plan_only(settings: FitSettings) -> tuple[Plan, dict[str, Any]]:
    """Reads, pairs and measures as `fit` would, and leaves nothing behind.

    Returns:
        The plan, and the figures about the data.
    """
    # A dry run sends nothing anywhere.
    settings = replace(_as_files(settings), query_writer=None, query_model=None)
    reader = check(settings)
    with tempfile.TemporaryDirectory() as folder, Workspace(Path(folder) / "w", "dry run") as work:
        from isometry.jobs.fitting import Fitting, threads_as_before

        with threads_as_before():
            job = Fitting(work, reader, settings, None)
            if job.data.too_little is not None:
                raise InputError(
                    f"Nothing to plan: {job.data.too_little}.",
                    "fit would keep the base model and build an index.",
                )
            return job.plan, job.data.facts


def _as_files(settings: FitSettings) -> FitSettings:
    """The same settings, whether a file is typed with `~` or `./` or without."""
    files = {name: getattr(settings, name) for name in ("queries", "judgements", "pairs")}
    return replace(
        settings,
        **{
            name: None if path is None else str(Path(path).expanduser())
            for name, path in files.items()
        },
    )


def check(settings: FitSettings) -> Source:
    """Refuses what cannot work, before anything heavy is imported; gives the opened source back.

    Raises:
        InputError: With what is wrong and what to do.
    """
    check_plan_options(settings.minutes, settings.seed)
    most = _THREADS_PER_PROCESSOR * (os.cpu_count() or 1)
    if settings.threads is not None and not 1 <= settings.threads <= most:
        raise InputError(f"--threads must be from 1 to {most} here, not {settings.threads}.")
    if (settings.queries is None) != (settings.judgements is None):
        raise InputError("--queries and --judgements belong together: give both or neither.")
    if settings.pairs is not None and settings.queries is not None:
        raise InputError("--pairs takes the place of --queries and --judgements: give one kind.")
    for path in (settings.queries, settings.judgements, settings.pairs):
        if path is not None and not Path(path).is_file():
            raise InputError(f"There is no file {path}.")
    if (settings.query_writer is None) != (settings.query_model is None):
        raise InputError("--query-writer and --query-model belong together: give both or neither.")
    _writer(settings)
    if settings.nested is not None:
        read_sizes(settings.nested)
    locate(settings.base)
    reader = open_source(
        settings.source,
        text=settings.text,
        title=settings.title,
        id=settings.id,
        limit=settings.limit,
    )
    check_apart(reader, settings.queries, settings.pairs)
    return reader


def _writer(settings: FitSettings) -> OpenAIWriter | None:
    """Who writes queries, if anybody does."""
    if settings.query_writer is None or settings.query_model is None:
        return None
    from isometry.corpora.pairs.query_writer import OpenAIWriter

    return OpenAIWriter(settings.query_writer, settings.query_model)


def default_out(source: str) -> Path:
    """`docs/` -> `docs-space`, `sqlite:app.db#mails` -> `app-mails-space`, in this folder."""
    scheme, _, rest = source.partition(":")
    if scheme in _SCHEMES:
        place, _, part = rest.partition("#")
        name = Path(place).name if scheme == "python" else Path(place).stem
        name = "-".join(piece for piece in (name or scheme, part) if piece)
    else:
        place = Path(source).expanduser().resolve()
        name = place.name if place.is_dir() else place.stem
    name = re.sub(r"[^\w.-]+", "-", name)
    return Path(f"{name or 'my'}-space")


def _identity(settings: FitSettings, source: Source) -> dict[str, Any]:
    """What must be the same for two runs to be one: settings and contents."""
    # What is in the folders is told below.
    values: dict[str, Any] = {
        **asdict(settings),
        "source": as_typed(settings.source),
        "base": as_typed(settings.base),
        "minutes": float(settings.minutes),
    }
    if settings.nested is None:
        # Spaces that were made before there were nested sizes are those of the same command.
        del values["nested"]
    files = [
        hash_file(Path(path))
        for path in (settings.queries, settings.judgements, settings.pairs)
        if path is not None
    ]
    return {
        **values,
        "content": source.fingerprint(),
        "model": model_files(settings.base),
        "files": files,
    }


def _read_plan(path: Path) -> Any:
    """A plan from a file, or from the manifest of a Space."""
    values = read_json(path / MANIFEST if path.is_dir() else path)
    if isinstance(values, dict) and "format" in values:
        values = values.get("plan")
    if values is None:
        raise InputError(f"{path} has no plan: nothing was trained there.", "Leave --plan out.")
    if isinstance(values, dict):
        # What --dry-run --json says about the data beside the plan.
        values.pop("data", None)
    return values


def _replace(folder: Path, new: Path) -> None:
    """Puts a finished Space in its place, when nobody writes to an old one that is there."""
    from isometry.jobs.upkeep import Writer

    is_space = (folder / MANIFEST).is_file()
    # What waits in the journal goes with the rest, and the index may be what is damaged.
    with Writer(folder, "fit --force", fold=False) if is_space else nullcontext():
        replace_folder(folder, new)
        if is_space:
            # What a kill left of such a change before; nobody needs it beside a whole Space.
            # Not `*`: what stands aside of `docs.v2` may be the only copy of that Space.
            for left in folder.parent.glob(f".{glob.escape(folder.name)}.{'[0-9a-f]' * 8}.old"):
                shutil.rmtree(left, ignore_errors=True)


def _finished(folder: Path, fingerprint: str, *, force: bool) -> Space | None:
    """The Space in `folder`, if it is the one that is asked for.

    Raises:
        InputError: When something else is there.
    """
    if not folder.exists():
        return None
    if not (folder / MANIFEST).is_file():
        if folder.is_dir() and not any(folder.iterdir()):
            return None
        raise InputError(
            f"{folder} exists and is no Space; it is left alone.", "Choose another --out."
        )
    space = Space.open(folder)
    if force:
        if own := [name for name in space.unlisted() if not is_written(name)]:
            raise InputError(
                f"{folder} holds {own[0]}, which is no part of the Space; it is left alone.",
                "Move it out, or choose another --out.",
            )
        return None
    if space.manifest.get("fingerprint") == fingerprint:
        return space
    raise InputError(
        f"{folder} is a Space of another source, other settings or another version.",
        "Choose another --out, or replace it with --force.",
    )


def _fit(
    work: Workspace,
    reader: Source,
    settings: FitSettings,
    given_plan: Any,
    fingerprint: str,
) -> None:
    """The main job, from top to bottom; leaves the finished Space in `work`'s folder `space`."""
    from isometry.jobs.fitting import Fitting
    from isometry.jobs.manifest import make_manifest
    from isometry.jobs.proof import prove, verdict
    from isometry.jobs.selection import choose, keep_base
    from isometry.jobs.training import batches, train
    from isometry.report.model_card import render_model_card
    from isometry.report.page import render_report

    job = Fitting(work, reader, settings, given_plan)
    job.announce()
    validation = job.compare_before_training()
    if job.data.too_little is None:
        made = batches(job)
        training = train(job, made)
        choice = choose(job)
    else:
        made, training, choice = None, None, keep_base(job, job.data.too_little)
    proof = prove(job, choice)
    index = job.build_index(choice)
    figures = {
        "verdict": verdict(choice, proof),
        "data": {**job.data.facts, **index},
        "validation": validation | choice["validation"],
        "written": None if made is None else made["written"] or None,
        "batches": None if made is None else made["facts"],
        "training": training,
        **proof,
        "seconds": job.seconds,
        "resumed": work.resumed,
    }
    manifest = make_manifest(job, reader, fingerprint, choice, figures)
    folder = work.path / "space"
    with atomic_file(folder / DOCUMENTS) as temporary:
        shutil.copyfile(work.path / "documents.parquet", temporary)
    write_text(folder / MODEL / "README.md", render_model_card(manifest))
    write_text(folder / REPORT, render_report(manifest))
    seal(folder, manifest)
