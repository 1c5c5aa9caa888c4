"""A merged model as a folder, written tensor by tensor."""

# JSON has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.core.files import read_json
from isometry.core.writing import write_json
from isometry.encoders.finite import is_finite
from isometry.merging.checkpoints import INDEX, PROMPTS, TYPES, Checkpoint, listed

_NAMES = {dtype: name for name, dtype in TYPES.items()}


class _Slot(NamedTuple):
    """Where a tensor goes: the file, by its path in the folder, and its name there."""

    file: str
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_merged(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    like: Checkpoint,
    types: Checkpoint,
    prompts: Checkpoint,
) -> int:
    """Writes a model tensor by tensor, in the files of another.

    The format has no way of adding a tensor to a file in the library: the header is made first,
    from the shapes that are known, and every tensor written to its place.

    Args:
        folder: An empty folder.
        tensors: Name and tensor; each of the model's, once, in any order.
        like: Whose files, configuration, tokenizer and modules to take.
        types: Whose types the tensors have.
        prompts: Whose prompts it has.

    Returns:
        How many tensors were written.

    Raises:
        InputError: When a tensor is beyond what its type can hold.
        ValueError: When a tensor is missing, unknown or of another shape.
    """
    for file in like.settings_files:
        target = folder / file.relative_to(like.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_settings(file, target)
    if prompts.prompts() != like.prompts():
        path = folder / PROMPTS
        own = read_json(path) if path.is_file() else {}
        write_json(path, {**own, **prompts.prompt_settings()})
    if types is not like:
        _say_type(folder / like.modules[0].path / "config.json", types)
    layout = {
        name: _Slot(like.file(name), like.stored_name(name), types.dtype(name), like.shape(name))
        for name in like
    }
    files = sorted({slot.file for slot in layout.values()})
    starts = {
        file: _write_header(folder / file, [own for own in layout.values() if own.file == file])
        for file in files
    }
    for module in like.modules:
        if like.is_sharded(module):
            _write_index(folder / module.path, layout.values(), folder)
    opened = {file: (folder / file).open("r+b") for file in files}
    written: set[str] = set()
    try:
        for name, tensor in tensors:
            if name not in layout or name in written:
                raise ValueError(f"{name} was not announced, or came before")
            slot = layout[name]
            if tuple(tensor.shape) != slot.shape or tensor.dtype != slot.dtype:
                raise ValueError(f"{name} is not the {slot.dtype} of {slot.shape} announced")
            if not is_finite(tensor):
                raise InputError(
                    f"The merge has numbers beyond what {_NAMES[slot.dtype]} can hold in {name}.",
                    "Use smaller weights or a smaller scale.",
                )
            file = opened[slot.file]
            file.seek(starts[slot.file][slot.name])
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            written.add(name)
    finally:
        for file in opened.values():
            file.close()
    if missing := sorted(set(layout) - written):
        raise ValueError(f"the merge lacks {listed(missing)}")
    return len(written)


def _write_header(path: Path, slots: Sequence[_Slot]) -> dict[str, int]:
    """Writes one file's header and its full length; where each tensor begins in it."""
    order = list(TYPES.values())
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    starts: dict[str, int] = {}
    end = 0
    # Wide types first, then by name: the order in which the library itself lays tensors out.
    for slot in sorted(slots, key=lambda slot: (-order.index(slot.dtype), slot.name)):
        start, end = end, end + slot.size
        header[slot.name] = {
            "dtype": _NAMES[slot.dtype],
            "shape": slot.shape,
            "data_offsets": [start, end],
        }
        starts[slot.name] = start
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Tensors begin where a multiple of 8 bytes does.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)
    return {name: 8 + len(text) + start for name, start in starts.items()}


def _write_index(place: Path, slots: Iterable[_Slot], folder: Path) -> None:
    """The index of one module's shards."""
    own = [slot for slot in slots if (folder / slot.file).parent == place]
    index = {
        "metadata": {"total_size": sum(slot.size for slot in own)},
        "weight_map": {slot.name: Path(slot.file).name for slot in own},
    }
    write_json(place / INDEX, index)


def _say_type(path: Path, types: Checkpoint) -> None:
    """Corrects a configuration that says in which type a model is loaded, where it says one."""
    values = read_json(path) if path.is_file() else {}
    for key in ("dtype", "torch_dtype"):
        if isinstance(values, dict) and isinstance(values.get(key), str):
            write_json(path, {**values, key: types.usual_type()})
            return


def _copy_settings(file: Path, target: Path) -> None:
    """Copies a file; the path of somebody's machine in it is nobody else's business."""
    if file.name.startswith("config") and file.suffix == ".json":
        values = read_json(file)
        if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
            write_json(target, values)
            return
    shutil.copyfile(file, target)
