"""`isometry cut`: the first layers and dimensions of an encoder, as a model of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry import __version__
from isometry.core.clock import utc
from isometry.core.errors import InputError
from isometry.core.writing import atomic_folder, out_folder, write_json
from isometry.encoders.locate import is_static, locate, public_name
from isometry.encoders.sizes import Size, read_size, size_name, size_names
from isometry.jobs.places import check_model_alone, check_place, check_replaceable
from isometry.space import Space
from isometry.space_files import MANIFEST

if TYPE_CHECKING:
    from isometry.encoders.text import TextEncoder

RECORD = "cut.json"


def cut(model: str | Path, size: str, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Cuts an encoder to its first layers and dimensions.

    What is cut where nothing was trained for it is worth little: `fit(nested=...)` trains sizes.

    Args:
        model: A Space, a folder, `packaged:NAME`, or a hub id.
        size: Layers and dimensions: "2x96".
        out: The folder of the cut, which plain sentence-transformers loads.
        force: Replace an earlier cut.

    Returns:
        The record that `out` keeps as cut.json, with `out`: `from` (what was cut), `layers`,
        `dimensions`, `parameters`, `fingerprint`, `trained` (whether for this size; None where
        nobody knows), `test` (what the fit measured at this size; None where it did not) and
        `warnings`.

    Raises:
        InputError: For anything that the user can cause and cure.
    """
    wanted, folder = read_size(size), out_folder(out)
    check_replaceable(folder, (folder / RECORD).is_file(), "cut model", force)
    place, is_local = locate(model)
    check_place(folder, {str(model): Path(place)} if is_local else {})
    if is_local and folder.resolve() == Path(place).resolve():
        raise InputError(f"{folder} is the model that is cut.", "Choose another --out.")
    check_model_alone(folder)
    if is_local and is_static(Path(place)):
        raise InputError(
            f"The model '{model}' is a table of token vectors: it has no layers to cut.",
            "isometry distill --static --dim makes a smaller table of an encoder.",
        )
    from isometry.encoders.finite import check_finite
    from isometry.jobs.loading import load_sound_text_encoder

    encoder = load_sound_text_encoder(model)
    check_finite(encoder)
    whole = len(encoder.layers()), encoder.dim
    if wanted == whole:
        raise InputError(
            f"The model '{model}' is {size_name(whole)}: nothing would get smaller.",
            "Choose fewer layers or dimensions.",
        )
    small = _smaller(encoder, wanted)
    space = _fitted(Path(place), encoder) if is_local else None
    trained = None if space is None else _trained_sizes(space)
    record: dict[str, Any] = {
        "isometry": __version__,
        "created": utc(),
        "from": {"model": public_name(str(model)), **_described(encoder, whole)},
        **_described(small, wanted),
        "trained": None if trained is None else wanted in trained,
        "test": None if space is None else _measured(space, wanted),
        "warnings": _warnings(public_name(str(model)), wanted, trained, space is not None),
    }

    def last_look() -> None:
        check_replaceable(folder, (folder / RECORD).is_file(), "cut model", force)
        check_model_alone(folder)

    with atomic_folder(folder, last_look=last_look) as temporary:
        small.save(temporary, card=_card(record))
        write_json(temporary / RECORD, record)
    return {"out": str(folder), **record}


def _fitted(model: Path, encoder: TextEncoder) -> Space | None:
    """The Space in whose folder a model lies, if its figures are of this model."""
    if not (model.parent / MANIFEST).is_file():
        return None
    space = Space.open(model.parent)
    return space if encoder.fingerprint() == space.fitted["fingerprint"] else None


def _smaller(encoder: TextEncoder, size: Size) -> TextEncoder:
    """The first layers and dimensions.

    Raises:
        InputError: For more dimensions than there are; where layers are cut, as `truncate` does.
    """
    import numpy as np

    from isometry.encoders.surgery.layers import truncate
    from isometry.encoders.surgery.projection import project

    layers, dim = size
    if layers > (there := len(encoder.layers())):
        raise InputError(
            f"The model '{encoder.name}' has {there} layers, so {layers} cannot be kept.",
            f"Choose 1 to {there}.",
        )
    if dim > encoder.dim:
        # Pooling may give more, of which the model keeps the first (`truncate_dim`).
        raise InputError(
            f"The model '{encoder.name}' has {encoder.dim} dimensions, so {dim} cannot be kept.",
            f"Choose 1 to {encoder.dim}.",
        )
    try:
        return truncate(encoder, *size)
    except InputError:
        if layers != len(encoder.layers()) or not 1 <= dim < encoder.dim:
            raise
    # Nothing has to be known of inner layers, whose states few models norm as their last.
    return project(encoder, np.eye(dim, encoder.dim))


def _trained_sizes(space: Space) -> list[Size] | None:
    """What a Space's model was trained for; None where it is the base, which may know some."""
    plan = space.manifest["plan"]
    if plan is None or space.manifest["figures"]["verdict"]["kept"] == "base":
        return None
    nested = [(layers, dim) for layers, dim in plan.get("nested", [])]
    return [*nested, *((plan["layers"], dim) for dim in sorted(plan["dims"]))]


def _measured(space: Space, size: Size) -> dict[str, Any] | None:
    """What the fit found on the test split at a size, and whole."""
    figures = space.manifest["figures"]
    kept = figures["verdict"]["kept"]
    reached = {(row["layers"], row["dimensions"]): row[kept] for row in figures.get("sizes") or []}
    if not reached and space.manifest["plan"] is not None:
        # Without sizes, what was measured are fewer dimensions of all layers.
        layers = space.manifest["plan"]["layers"]
        reached = {
            (layers, row["dimensions"]): row[kept]
            for row in figures.get("curve") or []
            if kept in row
        }
    if size not in reached:
        return None
    return {
        "queries": figures["test"]["queries"],
        "ndcg@10": reached[size],
        "whole": reached[max(reached)],
    }


def _described(encoder: TextEncoder, size: Size) -> dict[str, Any]:
    return {
        "layers": size[0],
        "dimensions": size[1],
        "parameters": sum(part.numel() for part in encoder.parameters()),
        "fingerprint": encoder.fingerprint(),
    }


def _warnings(model: str, size: Size, trained: list[Size] | None, fitted: bool) -> list[str]:
    """What whoever uses this size should know."""
    if trained is None:
        one = f"the base that {model} kept" if fitted else model
        return [
            f"Nobody knows whether {one} was trained for {size_name(size)}; where it was not,"
            " what is cut is worth little. isometry evaluate compares it with the whole."
        ]
    if size not in trained:
        return [
            f"Nothing was trained for {size_name(size)}: {model} was trained for"
            f" {size_names(trained)}."
        ]
    return []


def _card(record: dict[str, Any]) -> str:
    """A few lines for whoever finds the folder."""
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        "",
        f"# {record['layers']} layers, {record['dimensions']} dimensions",
        "",
        f"The first layers and dimensions of {record['from']['model']}, which has"
        f" {record['from']['layers']} and {record['from']['dimensions']}, made by `isometry cut`.",
        *record["warnings"],
    ]
    if (test := record["test"]) is not None:
        lines.append(
            f"On {test['queries']:,} held-out queries it reaches {100 * test['ndcg@10']:.1f} points"
            f" of nDCG@10, the whole {100 * test['whole']:.1f}."
        )
    return "\n".join([*lines, ""])
