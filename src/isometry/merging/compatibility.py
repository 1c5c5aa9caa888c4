"""Whether models can be merged: what must be the same in them, and what need not be."""

# safetensors and JSON have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isometry.core.errors import InputError
from isometry.core.files import hash_file, read_object
from isometry.merging.checkpoints import Checkpoint, listed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What changes a network's outputs and leaves its tensors' shapes as they are.
_DECIDES = (
    *("model_type", "hidden_act", "hidden_activation", "activation_function", "activation"),
    *("num_attention_heads", "n_heads", "n_head", "num_heads", "num_key_value_heads"),
    *("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps", "norm_eps"),
    *("global_rope_theta", "local_rope_theta", "rotary_emb_base"),
    *("position_embedding_type", "rope_theta", "rope_scaling", "rope_parameters"),
    *("sliding_window", "local_attention", "global_attn_every_n_layers", "is_decoder"),
)
# What a model may have learned to do otherwise than its base.
_DECIDES_MODELS = ("is_causal", "use_bidirectional_attention")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model",
                 "sentencepiece.bpe.model", "bpe.codes", "spm.model", "source.spm", "target.spm",
                 "prophetnet.tokenizer")  # fmt: skip
# How a tokenizer without tokenizer.json reads a text.
_READS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "normalization")
# Capitals, accents, digits, spaces and other scripts: where tokenizers of one vocabulary differ.
_PROBE = "Naïve  café No. 3,141:\tЖизнь 東京 don't re-embed\nİstanbul’s"
_CAPITALS = "A Text WITH capitals"
# Pooling modes in the configurations of older versions, and what newer ones call them.
_OLD_MODES = {
    "cls_token": "cls",
    "mean_tokens": "mean",
    "max_tokens": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean",
    "lasttoken": "lasttoken",
}


def check_compatible(models: Sequence[Checkpoint], base: Checkpoint | None = None) -> list[str]:
    """Refuses what cannot be merged, by name, before a weight is read (but for whole numbers).

    Tensors of whole numbers that some models lack (older versions saved their position ids) are
    left out of all. A base may have a head and a prefix more, and lack pooling and prompts.

    Args:
        models: What is to be merged; tensors may be left out of them.
        base: What they were tuned from; its names may be changed to theirs.

    Returns:
        One line for each difference that need not stop anybody: of these the merge has what
        `settings_model` has.

    Raises:
        InputError: When architectures, tensors, tokenizers, pooling or heads differ.
    """
    for one in models:
        _check_alone(one)
    # A file may have those of a model with a head: the body's names are the shortest.
    plain = min(models, key=lambda one: sum(map(len, one)))
    for one in models:
        if one is not plain:
            one.named_like(plain, whole=True)
    first = models[0]
    if base is not None:
        base.named_like(first)
    everyone = [*models, *([base] if base is not None else [])]
    notes: list[str] = []
    numbers = {name for one in everyone for name in one if not one.dtype(name).is_floating_point}
    if optional := sorted(numbers.difference(set(first).intersection(*everyone))):
        notes.append(f"Left out, since not all models have it: {listed(optional)}.")
    for one in everyone:
        one.without([name for name in optional if name in one])
    # What stands behind the transformer pools its states: nothing reads the pooler that the library
    # adds to it, and masked language models are saved without one.
    leading = settings_model(models)
    if leading.is_sentence_transformer:
        for other in everyone:
            notes += _share_pooler(leading, other)
    for other in everyone[1:]:
        _check_architecture(first, other, is_base=other is base)
        notes += _check_tokenizers(first, other, needed=other is not base)
    # A plain transformers checkpoint has nothing behind it, and takes what the others have.
    for other in models:
        if leading.is_sentence_transformer and other.is_sentence_transformer:
            notes += _check_modules(leading, other)
        if leading.max_tokens() != other.max_tokens():
            notes.append(
                f"The merge reads {_length(leading)}, as '{leading.source}'; '{other.source}' reads"
                f" {_length(other)}."
            )
        similarity = [one.own_setting("similarity_fn_name") for one in (leading, other)]
        if all(similarity) and similarity[0] != similarity[1]:
            notes.append(
                f"The merge compares vectors by {similarity[0]}, as '{leading.source}';"
                f" '{other.source}' does by {similarity[1]}."
            )
        if _dim(leading) != _dim(other):
            notes.append(
                f"The merge gives {_width(leading)}, as '{leading.source}'; '{other.source}' gives"
                f" {_width(other)}."
            )
    for other in everyone[1:]:
        _check_tensors(first, other)
    for other in models[1:]:
        if (own := first.usual_type()) != (its := other.usual_type()):
            notes.append(f"The merge is in {own}, as '{first.source}'; '{other.source}' in {its}.")
    return notes


def _check_alone(model: Checkpoint) -> None:
    """Refuses a model that no other one makes it possible to merge."""
    for module in model.modules:
        if module.kind in ("Router", "Asym"):
            raise InputError(
                f"The model '{model.source}' has a {module.kind}, whose own modules cannot be"
                " merged.",
                "Give models that read all texts in one way.",
            )


def _share_pooler(first: Checkpoint, other: Checkpoint) -> list[str]:
    """Gives another the pooler of the first, or takes its own away, as the first has one.

    Args:
        first: The one whose files the merge has.
        other: Any, that one too.
    """
    mine, theirs = ({name for name in one if name.startswith("pooler.")} for one in (first, other))
    lacking, over = sorted(mine - theirs), sorted(theirs - mine)
    other.borrow(lacking, first)
    other.without(over)
    notes = [f"'{other.source}' lacks {listed(lacking)}, which nothing reads here: those of"
             f" '{first.source}' are taken for its own."] if lacking else []  # fmt: skip
    if over:
        notes.append(
            f"'{first.source}' lacks {listed(over)}, which nothing reads here: those of"
            f" '{other.source}' are left out."
        )
    return notes


def _dim(model: Checkpoint) -> int | None:
    """How many of its dimensions a model keeps, where it says that it keeps fewer."""
    return model.own_setting("truncate_dim")


def _width(model: Checkpoint) -> str:
    dim = _dim(model)
    return "all dimensions" if dim is None else f"the first {dim} dimensions"


def _length(model: Checkpoint) -> str:
    tokens = model.max_tokens()
    return "texts to their end" if tokens is None else f"{tokens} tokens"


def settings_model(models: Sequence[Checkpoint]) -> Checkpoint:
    """The model whose modules, tokenizer and settings the merge has: the first that has modules."""
    return next((one for one in models if one.is_sentence_transformer), models[0])


def check_prompts(models: Sequence[Checkpoint]) -> None:
    """Refuses models that put different words before the same kind of text.

    A merge can have one set of prompts only, and each parent was trained with its own.

    Raises:
        InputError: When two models put different words before the same kind of text.
    """
    first = settings_model(models)
    for other in models:
        if not other.is_sentence_transformer:
            continue
        mine, theirs = first.prompts(), other.prompts()
        for role in sorted(mine.keys() | theirs.keys()):
            if mine.get(role, "") != theirs.get(role, ""):
                raise InputError(
                    f"The prompts differ: for '{role}' {mine.get(role, '')!r} in"
                    f" '{first.source}' and {theirs.get(role, '')!r} in '{other.source}'.",
                    "Say with --prompts-from MODEL whose to keep.",
                )


def _check_architecture(first: Checkpoint, other: Checkpoint, *, is_base: bool) -> None:
    for key in _DECIDES if is_base else (*_DECIDES, *_DECIDES_MODELS):
        if key in first.config and key in other.config:
            mine, theirs = first.config[key], other.config[key]
            if mine != theirs:
                raise InputError(
                    f"The architectures differ: {key} is {mine} in '{first.source}' and"
                    f" {theirs} in '{other.source}'.",
                    "Only models tuned from one base can be merged.",
                )


def _check_tensors(first: Checkpoint, other: Checkpoint) -> None:
    for one, lacking in ((first, other), (other, first)):
        if extra := [name for name in one if name not in lacking]:
            raise InputError(
                f"'{lacking.source}' lacks {len(extra)} of the tensors of '{one.source}':"
                f" {listed(extra)}.",
                "Only models of one architecture, with the same modules, can be merged.",
            )
    different = [
        f"{name} {first.shape(name)} and {other.shape(name)}"
        for name in first
        if first.shape(name) != other.shape(name)
    ]
    if different:
        raise InputError(
            f"'{first.source}' and '{other.source}' differ in {len(different)} shapes:"
            f" {listed(different)}.",
            "Only models of one architecture and one vocabulary can be merged.",
        )
    for name in first:
        types = first.dtype(name), other.dtype(name)
        if all(dtype.is_floating_point for dtype in types):
            continue
        # Few and small: position ids, counts of batches.
        if types[0] != types[1] or not first[name].equal(other[name]):
            raise InputError(
                f"'{first.source}' and '{other.source}' differ in {name}, whose whole numbers"
                " cannot be averaged.",
                "Give both models the same.",
            )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", *_VOCABULARIES))


def _check_tokenizers(first: Checkpoint, other: Checkpoint, *, needed: bool) -> list[str]:
    folders = [one.folder / one.modules[0].path for one in (first, other)]
    pair = f"The tokenizers of '{first.source}' and '{other.source}' differ"
    hint = "Models of different vocabularies cannot be merged: their word vectors do not match."
    files = [folder / "tokenizer.json" for folder in folders]
    if not all(file.is_file() for file in files):
        shared = [
            name for name in _VOCABULARIES if all((folder / name).is_file() for folder in folders)
        ]
        for name in shared:
            if len({hash_file(folder / name) for folder in folders}) > 1:
                raise InputError(f"{pair} in {name}.", hint)
        if shared:
            return _check_loose(folders, pair, hint)
        has = list(map(_has_tokenizer, folders))
        if not any(has):
            return []
        if not all(has):
            without = f"'{(first if has[1] else other).source}' comes without its tokenizer"
            if has[0] and not needed:
                return [f"{without}, and none was compared."]
            raise InputError(
                f"The model {without}.", "Copy tokenizer.json from where it was trained."
            )
        # One in the old format and one in the new: nothing says that they differ, nor that not.
        return [
            f"The tokenizers of '{first.source}' and '{other.source}' are in files of different"
            " formats and were not compared."
        ]
    if files[0].read_bytes() == files[1].read_bytes():
        return []
    one, another = map(_read_tokenizer, files)
    vocabularies = [
        {number: token for token, number in tokenizer.get_vocab().items()}
        for tokenizer in (one, another)
    ]
    mine, theirs = vocabularies
    if len(mine) != len(theirs):
        raise InputError(f"{pair}: {len(mine):,} and {len(theirs):,} tokens.", hint)
    for number in sorted(mine):
        if mine[number] != theirs.get(number):
            tokens = f"{mine[number]!r} and {theirs.get(number)!r}"
            raise InputError(f"{pair}: number {number} is {tokens}.", hint)
    if _read(one, _PROBE) != _read(another, _PROBE):
        raise InputError(
            f"{pair}: they have one vocabulary and read a text differently (case, accents, spaces"
            " or special tokens).",
            "Give both models the same tokenizer.json.",
        )
    return []


def _check_loose(folders: Sequence[Path], pair: str, hint: str) -> list[str]:
    """Compares what tokenizers of one vocabulary file have beside it."""
    settings = [
        read_object(path) if (path := folder / "tokenizer_config.json").is_file() else {}
        for folder in folders
    ]
    for key in _READS:
        values = [own.get(key) for own in settings]
        if None not in values and values[0] != values[1]:
            raise InputError(f"{pair}: {key} is {values[0]} and {values[1]}.", hint)
    files = [
        read_object(path) if (path := folder / "added_tokens.json").is_file() else None
        for folder in folders
    ]
    decoders = [own.get("added_tokens_decoder") for own in settings]
    # Some classes add tokens by themselves, of which nothing is said then.
    if any(file is None and not own for file, own in zip(files, decoders, strict=True)):
        return []
    added = [{number: token for token, number in (file or {}).items()} for file in files]
    # Newer versions keep them in the settings, with the special tokens of the vocabulary.
    mine, theirs = (
        {int(number): token.get("content") for number, token in (own or {}).items()} | more
        for own, more in zip(decoders, added, strict=True)
    )
    for number in sorted({*added[0], *added[1], *(mine.keys() & theirs.keys())}):
        if mine.get(number) != theirs.get(number):
            tokens = f"{mine.get(number)!r} and {theirs.get(number)!r}"
            raise InputError(f"{pair}: number {number} is {tokens}.", hint)
    return []


def _read(tokenizer: Tokenizer, text: str) -> list[int] | None:
    """A text's tokens; None where a tokenizer has none for what it does not know."""
    try:
        return tokenizer.encode(text).ids
    # The library raises a bare Exception.
    except Exception:
        return None


def _read_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    # Whatever is wrong with the file, the library raises a bare Exception.
    except Exception as error:
        raise InputError(f"Cannot read {path} as a tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_modules(first: Checkpoint, other: Checkpoint) -> list[str]:
    """Refuses what is computed differently behind the transformer; see `check_compatible`."""
    both = (first, other)
    notes: list[str] = []
    kinds = [[module.kind for module in one.modules] for one in both]
    if kinds[0] != kinds[1]:
        # A last one changes no angle; before a head it changes what the head reads.
        bare = [own[:-1] if own[-1] == "Normalize" else own for own in kinds]
        chains = [" -> ".join(own) for own in kinds]
        if bare[0] != bare[1]:
            raise InputError(
                f"'{first.source}' is {chains[0]}, '{other.source}' is {chains[1]}.",
                "Only models with the same modules can be merged.",
            )
        notes.append(f"The merge is {chains[0]}, as '{first.source}'; '{other.source}' is"
                     f" {chains[1]}.")  # fmt: skip
    pairs = zip(
        *([module for module in one.modules if module.kind != "Normalize"] for one in both),
        strict=True,
    )
    for number, (mine, theirs) in enumerate(pairs):
        settings = [
            # The first one's file is the network's own, which is compared as such.
            _decisive(mine.kind, one.settings_of(module)) if number else _reading(one)
            for one, module in zip(both, (mine, theirs), strict=True)
        ]
        # What one version writes and another does not is no difference.
        for key in sorted(settings[0].keys() & settings[1].keys()):
            values = [own.get(key) for own in settings]
            if values[0] != values[1]:
                raise InputError(
                    f"The {mine.kind} modules differ: {key} is {values[0]} in '{first.source}' and"
                    f" {values[1]} in '{other.source}'.",
                    "Only models that pool and project in the same way can be merged.",
                )
    return notes


def _reading(model: Checkpoint) -> dict[str, Any]:
    """Whether a text is read without its capitals.

    Older versions of sentence-transformers say so beside the tokenizer, and newer ones no more; it
    does nothing where the tokenizer leaves them out itself.
    """
    folder = model.folder / model.modules[0].path
    path = folder / "sentence_bert_config.json"
    lower = bool((read_object(path) if path.is_file() else {}).get("do_lower_case"))
    if not (folder / "tokenizer.json").is_file():
        # What the class of an old tokenizer does by itself cannot be seen.
        return {}
    tokenizer = _read_tokenizer(folder / "tokenizer.json")
    by_itself = _read(tokenizer, _CAPITALS) == _read(tokenizer, _CAPITALS.lower())
    return {"do_lower_case": lower or by_itself}


def _decisive(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a module's configuration decides, in one form for the old format and the new one."""
    if kind == "Pooling":
        mode = settings.get("pooling_mode")
        modes = [mode] if isinstance(mode, str) else list(mode or [])
        for key, on in settings.items():
            if key.startswith("pooling_mode_") and on is True:
                modes.append(_OLD_MODES.get(key.removeprefix("pooling_mode_"), key))
        return {"pooling": sorted(modes), "include_prompt": settings.get("include_prompt", True)}
    if kind == "Dense":
        activation = str(settings.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
        read = settings.get("module_input_name") or "sentence_embedding"
        return {
            "activation_function": activation,
            "use_residual": bool(settings.get("use_residual", False)),
            "module_input_name": read,
            "module_output_name": settings.get("module_output_name") or read,
        }
    # Of Dropout nothing is left when a model is used; dimensions are those of the tensors.
    return {
        key: value
        for key, value in settings.items()
        if kind != "Dropout" and not key.endswith("dimension") and not key.startswith("_")
    }
