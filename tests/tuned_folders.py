"""Model folders beside another one, as tuning, other versions and damage leave them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "model.safetensors"


def tuned(source: Path, target: Path, seed: int, size: float = 0.01) -> Path:
    """A copy whose every parameter was moved a little."""
    shutil.copytree(source, target)
    generator = torch.Generator().manual_seed(seed)

    def move(state: dict[str, Tensor]) -> None:
        for name, tensor in sorted(state.items()):
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                state[name] = (tensor + size * noise).to(tensor.dtype)

    change_weights(target, move)
    return target


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Changes a folder's weights in place."""
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def change_json(path: Path, **values: Any) -> None:
    """Sets some values of a JSON file, which is made where there is none."""
    own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**own, **values}), encoding="utf-8")


def in_shards(folder: Path) -> Path:
    """Splits a folder's weights into two files and an index."""
    state = load_file(folder / WEIGHTS)
    names = sorted(state)
    files = {name: f"model-0000{1 + (number % 2)}-of-00002.safetensors"
             for number, name in enumerate(names)}  # fmt: skip
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, folder / file,
                  metadata={"format": "pt"})  # fmt: skip
    (folder / WEIGHTS).unlink()
    index = {"metadata": {"total_size": 0}, "weight_map": files}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def with_dense(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Puts a Dense module behind the pooling of a folder."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    path = f"{len(modules)}_Dense"
    modules.append({"idx": len(modules), "name": path[0], "path": path,
                    "type": "sentence_transformers.models.Dense"})  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    width = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    config = {"in_features": width, "out_features": 8, "bias": True,
              "activation_function": "torch.nn.modules.activation.Tanh"}  # fmt: skip
    change_json(folder / path / "config.json", **{**config, **settings})
    generator = torch.Generator().manual_seed(seed)
    state = {"linear.weight": torch.randn(8, width, generator=generator),
             "linear.bias": torch.randn(8, generator=generator)}  # fmt: skip
    save_file(state, folder / path / WEIGHTS, metadata={"format": "pt"})
    return folder
