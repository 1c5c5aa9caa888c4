"""Models on disk as state dicts that are read tensor by tensor."""

# safetensors and JSON have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isometry.core.errors import InputError
from isometry.core.files import hash_file, hash_value, read_json, read_object
from isometry.encoders.finite import is_finite
from isometry.encoders.locate import locate

_WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# The last three are tokenizers of PhoBERT, of Marian and DeBERTa, and of ProphetNet.
_SETTINGS = (".json", ".txt", ".model", ".jinja", ".codes", ".spm", ".tokenizer")
# Of one parent only: where its data came from, and how it was made itself, with its figures.
_NOT_COPIED = (
    *("recipe.json", INDEX, "data_config.json", "distillation.json", "cut.json"),
    *("trainer_state.json", "train_results.json", "eval_results.json", "all_results.json"),
)
# The types that can be merged or passed on, in the order in which the format lays tensors out.
TYPES = {
    "BOOL": torch.bool,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "F32": torch.float32,
    "F64": torch.float64,
    "I64": torch.int64,
}
# Modules behind the first that are nothing without weights.
_WEIGHED = (
    *("Dense", "LSTM", "CNN", "LayerNorm", "WeightedLayerPooling", "WordWeights"),
    "SparseAutoEncoder",
)
_LAYER_NORM = {"gamma": "weight", "beta": "bias"}
_LISTED = 5
_ENDLESS = 1 << 40


@dataclass(frozen=True)
class _Place:
    """Where a tensor stands, under which name, and what it is."""

    file: Path
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Module:
    """One module of a sentence-transformers model: the last part of its class, and its folder.

    Attributes:
        kind: The last part of its class.
        path: Its folder.
        is_known: Whether it is one of the library's own.
    """

    kind: str
    path: str
    is_known: bool = True


class Checkpoint(Mapping[str, Tensor]):
    """The weights of a sentence-transformers folder or a transformers checkpoint, not yet read.

    A tensor is mapped from its file when it is asked for, and let go with its last reference.
    Names are those of the transformer's own files; of other modules with weights (Dense) they
    begin with the module's folder: `2_Dense/linear.weight`.

    Args:
        folder: Where it is.
        source: What the user calls it.

    Raises:
        InputError: When there are no weights in safetensors, a file is missing or damaged, or the
            weights are quantised.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self.modules = _modules(folder)
        self.is_sentence_transformer = (folder / _MODULES).is_file()
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"The model '{source}' is a LoRA adapter.",
                "Merge it into its base first, and save that: factors cannot be averaged.",
            )
        body = folder / self.modules[0].path / "config.json"
        self.config: dict[str, Any] = read_object(body) if body.is_file() else {}
        if self.config.get("quantization_config"):
            raise InputError(
                f"The model '{source}' is quantised.", "Give the weights it was made from."
            )
        foreign = [each for each in self.modules if not each.is_known]
        if foreign or _needs_code(self.config):
            what = f"its module {foreign[0].kind}" if foreign else "its architecture"
            raise InputError(
                f"The model '{source}' needs code of its own for {what}, which is never run.",
                "Give a model that transformers and sentence-transformers know.",
            )
        self._places: dict[str, _Place] = {}
        for number, module in enumerate(self.modules):
            prefix = f"{module.path}/" if number else ""
            found = self._look_into(folder / module.path)
            # From a hub, pickles are not even fetched.
            if number and module.kind in _WEIGHED and not found:
                raise InputError(
                    f"The model '{source}' has no {_WEIGHTS} in {module.path}, its {module.kind}.",
                    "Save its weights in that format.",
                )
            for name, place in found.items():
                self._places[prefix + name] = place
        if not self._places:
            raise InputError(
                f"The model '{source}' has no weights: no {_WEIGHTS} in"
                f" {folder / self.modules[0].path}.",
                "Give a sentence-transformers or transformers folder with safetensors weights.",
            )
        self._sound: set[str] = set()

    def _look_into(self, folder: Path) -> dict[str, _Place]:
        """The tensors of one folder's files, whole or in shards; both may be left of two saves."""
        if (folder / _WEIGHTS).is_file():
            return self._read_header(folder / _WEIGHTS)
        if (folder / INDEX).is_file():
            index = read_object(folder / INDEX).get("weight_map")
            if not isinstance(index, dict):
                raise InputError(f"{folder / INDEX} is no index of shards: it has no weight_map.")
            files = sorted({Path(str(file)).name for file in index.values()})
            if missing := [file for file in files if not (folder / file).is_file()]:
                raise InputError(
                    f"The model '{self.source}' lacks {listed(missing)}, which {INDEX} names.",
                    "Fetch it again, whole.",
                )
            found = [self._read_header(folder / file) for file in files]
            places = {name: place for file in found for name, place in file.items()}
            if lost := sorted({_present_name(name) for name in index} - set(places)):
                raise InputError(
                    f"The shards of the model '{self.source}' lack {listed(lost)}.",
                    "Fetch it again, whole.",
                )
            return places
        if shards := sorted(file.name for file in folder.glob("model-*-of-*.safetensors")):
            raise InputError(
                f"The model '{self.source}' lacks {INDEX}, which says what {listed(shards)} hold"
                f"{'s' if len(shards) == 1 else ''}.",
                "Fetch it again, whole.",
            )
        pickled = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLED)
        if pickled:
            raise InputError(
                f"The model '{self.source}' keeps weights in a pickle, {pickled[0]}, which may run"
                " code.",
                f"Save them as {_WEIGHTS}.",
            )
        return {}

    def _read_header(self, file: Path) -> dict[str, _Place]:
        from safetensors import SafetensorError, safe_open

        places: dict[str, _Place] = {}
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    header = opened.get_slice(name)
                    kind = header.get_dtype()
                    if kind not in TYPES:
                        raise InputError(
                            f"The model '{self.source}' is quantised: {name} is {kind}.",
                            "Give the weights it was made from.",
                        )
                    shape = tuple(header.get_shape())
                    places[_present_name(name)] = _Place(file, name, TYPES[kind], shape)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"Cannot read {file} as safetensors: {error}", "Fetch it again, whole."
            ) from error
        return places

    def __getitem__(self, name: str) -> Tensor:
        from safetensors import safe_open

        place = self._places[name]
        # Opened for each tensor, so that no more than what is in use stays mapped.
        with safe_open(place.file, "pt") as opened:
            tensor: Tensor = opened.get_tensor(place.name)
        if name not in self._sound:
            if not is_finite(tensor):
                raise InputError(f"The model '{self.source}' has NaN or infinity in {name}.")
            self._sound.add(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        # What a mapping has by itself would read the tensor.
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, out of the header."""
        return self._places[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """A tensor's type, out of the header."""
        return self._places[name].dtype

    def file(self, name: str) -> str:
        """The file that holds a tensor, by its path in the folder."""
        return self._places[name].file.relative_to(self.folder).as_posix()

    def usual_type(self) -> str:
        """The commonest type of the weights: "float32"."""
        types = Counter(dtype for name in self if (dtype := self.dtype(name)).is_floating_point)
        return str(types.most_common(1)[0][0]).removeprefix("torch.")

    def stored_name(self, name: str) -> str:
        """What a tensor is called in its file."""
        return self._places[name].name

    def is_sharded(self, module: Module) -> bool:
        """Whether a module's tensors are in several files, which an index lists."""
        folder = self.folder / module.path
        return (folder / INDEX).is_file() and not (folder / _WEIGHTS).is_file()

    def without(self, names: Iterable[str]) -> None:
        """Leaves tensors out."""
        for name in names:
            del self._places[name]

    def named_like(self, other: Checkpoint, *, whole: bool = False) -> None:
        """Takes another's names, where they are this one's without a prefix and a head.

        A base that was pretrained with a head, say `bert.encoder...` and `cls...`, is the base of
        models that are saved without it, as `encoder...`. What it lacks of theirs it still lacks
        then, under the right name.

        Args:
            other: Whose names to take.
            whole: Keep what it has beyond the other's.
        """
        wanted = {name for name in other if other.dtype(name).is_floating_point}
        dots = ((own, dot.end()) for own in self for dot in re.finditer(r"\.", own))
        prefixes = {own[:end] for own, end in dots if own[end:] in wanted}

        def known(prefix: str) -> int:
            return sum(prefix + name in self._places for name in wanted)

        # The first of those that fit best: without a prefix where that is as good.
        best = max(["", *sorted(prefixes)], key=known)
        if not known(best):
            return
        if whole:
            self._places = {name.removeprefix(best): place for name, place in self._places.items()}
            return
        self._places = {
            name: self._places[best + name] for name in other if best + name in self._places
        }

    def borrow(self, names: Iterable[str], other: Checkpoint) -> None:
        """Takes tensors that are missing here from another's files."""
        self._places |= {name: other._places[name] for name in names}

    @cached_property
    def settings_files(self) -> list[Path]:
        """The files that a loader reads beside the weights."""
        folders = [self.folder, *(self.folder / module.path for module in self.modules)]
        return sorted(
            {
                file
                for folder in folders
                for file in folder.glob("*")
                if file.is_file()
                and file.suffix in _SETTINGS
                and file.name not in _NOT_COPIED
                and not file.name.lower().startswith("readme")
            }
        )

    def fingerprint(self) -> str:
        """A hash of weights, configuration, tokenizer and modules."""
        weights = {place.file for place in self._places.values()}
        files = [*self.settings_files, *(file for file in weights if self.folder in file.parents)]
        return hash_value(
            {file.relative_to(self.folder).as_posix(): hash_file(file) for file in files}
        )

    def own_setting(self, key: str) -> Any:
        """What sentence-transformers keeps of a whole model under this name; None if nothing."""
        path = self.folder / PROMPTS
        return (read_object(path) if path.is_file() else {}).get(key)

    def prompt_settings(self) -> dict[str, Any]:
        """What `prompts` and `default_prompt_name` are in its configuration."""
        # The library cannot read a model whose prompts are null.
        return {
            "prompts": self.own_setting("prompts") or {},
            "default_prompt_name": self.own_setting("default_prompt_name"),
        }

    def prompts(self) -> dict[str, str]:
        """What is put before texts, by role; empty ones left out."""
        settings = self.prompt_settings()
        prompts = dict(settings["prompts"])
        default = prompts.get(settings["default_prompt_name"])
        return {name: text for name, text in {**prompts, "default": default}.items() if text}

    def max_tokens(self) -> int | None:
        """How long a text is read, where the model says so."""
        body = self.folder / self.modules[0].path
        for name, key in (
            ("sentence_bert_config.json", "max_seq_length"),
            ("tokenizer_config.json", "model_max_length"),
        ):
            value = read_object(body / name).get(key) if (body / name).is_file() else None
            # Where it has no limit of its own, a tokenizer says some 10 ** 30.
            if isinstance(value, int) and value < _ENDLESS:
                return value
        return None

    def settings_of(self, module: Module) -> dict[str, Any]:
        """The configuration of one module."""
        path = self.folder / module.path / "config.json"
        return read_object(path) if path.is_file() else {}


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Opens a model's files; only a hub id makes this use the network.

    Args:
        source: A sentence-transformers or transformers folder, a Space, `packaged:NAME`, or a hub
            id.

    Raises:
        InputError: When there is no such model, or it cannot be merged; see `Checkpoint`.
    """
    place, is_local = locate(source)
    if is_local:
        return Checkpoint(Path(place), str(source))
    from huggingface_hub import snapshot_download

    wanted = [f"*{suffix}" for suffix in (".safetensors", *_SETTINGS)]
    try:
        return Checkpoint(Path(snapshot_download(str(place), allow_patterns=wanted)), str(source))
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"Cannot fetch the model '{source}': {reason[:300]}",
            "Is there a network? Otherwise give a folder.",
        ) from error


def _needs_code(config: dict[str, Any]) -> bool:
    """Whether a configuration names code of its own for what transformers does not know.

    A type whose configuration was once code of its own, and is the library's now, is loaded as
    that. Where the model alone is, it computes something else than the library's of that type.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    own = config.get("auto_map")
    return bool(own) and not ("AutoConfig" in own and config.get("model_type") in CONFIG_MAPPING)


def _modules(folder: Path) -> list[Module]:
    path = folder / _MODULES
    if not path.is_file():
        return [Module("Transformer", "")]
    try:
        listed = [
            Module(
                str(module["type"]).rsplit(".", 1)[-1],
                str(module["path"]),
                str(module["type"]).startswith("sentence_transformers."),
            )
            for module in read_json(path)
        ]
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} is no list of modules.") from error
    if not listed:
        raise InputError(f"{path} is empty.")
    for module in listed:
        if Path(module.path).is_absolute() or ".." in Path(module.path).parts:
            raise InputError(f"{path} names a module outside its folder: {module.path}.")
    return listed


def _present_name(name: str) -> str:
    """What transformers calls a tensor now: checkpoints from TensorFlow have names of their own."""
    before, dot, last = name.rpartition("LayerNorm.")
    return before + dot + _LAYER_NORM.get(last, last) if dot else name


def listed(names: Sequence[str]) -> str:
    """The first five of many names, for an error's one line."""
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
