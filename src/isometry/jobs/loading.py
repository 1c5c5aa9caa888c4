"""Models as users give them: what their files lack or hold wrongly is said before they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from torch import nn

from isometry.core.errors import InputError
from isometry.core.files import read_object
from isometry.core.progress import say
from isometry.core.workspace import Workspace
from isometry.encoders.encoder import Encoder
from isometry.encoders.locate import is_static, locate
from isometry.encoders.static import StaticEncoder
from isometry.encoders.surgery.prompts import prompt_tokens
from isometry.encoders.text import Role, TextEncoder
from isometry.merging.checkpoints import Checkpoint, listed

_AGAIN = "Fetch it again, whole."
# Beyond this the library found no limit; then as many as T5 was trained with.
_ENDLESS, _WITHOUT_LIMIT = 1 << 40, 512
_REPORTING = Lock()


def load_sound(
    source: str | Path, *, query_prompt: str | None = None, document_prompt: str | None = None
) -> Encoder:
    """Loads a model of either kind, as `load_encoder` does, if it is whole.

    Args:
        source: As for `load_encoder`.
        query_prompt: As for `load_sound_text_encoder`.
        document_prompt: As for `load_sound_text_encoder`.

    Raises:
        InputError: As `load_sound_text_encoder` does, and for a prompt to a table of vectors.
    """
    place, is_local = locate(source)
    if is_local and is_static(Path(place)):
        if query_prompt or document_prompt:
            raise InputError(
                f"The model '{source}' is a table of token vectors, which knows no prompts.",
                "Leave out --query-prompt and --document-prompt.",
            )
        return _sound_table(Path(place))
    return load_sound_text_encoder(
        source, query_prompt=query_prompt, document_prompt=document_prompt
    )


def _sound_table(folder: Path) -> StaticEncoder:
    try:
        table = StaticEncoder.load(folder)
    except InputError:
        raise
    # What reads tokenizer.json has no error of its own.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"Cannot load a static model from {folder}: {reason[:300]}") from error
    if not bool(table.table.isfinite().all() and table.weights.isfinite().all()):
        raise InputError(
            f"The static model in {folder} has NaN or infinity in its table.",
            "It is damaged: take an earlier copy.",
        )
    return table


def check_same_model(work: Workspace, encoder: Encoder) -> None:
    """Refuses to go on with what another model began: a hub's may change from run to run.

    Raises:
        InputError: With the folder of that work.
    """
    now = encoder.fingerprint()
    if work.json("encoder", lambda: now) != now:
        raise InputError(
            f"The model '{encoder.name}' is not the one that the work in {work.path} began with.",
            "Go on with that one, or remove the folder to begin anew.",
        )


def load_sound_text_encoder(
    source: str | Path, *, query_prompt: str | None = None, document_prompt: str | None = None
) -> TextEncoder:
    """Loads a transformer, as `TextEncoder.load` does, if all of its weights are its own.

    The library draws at random what is missing of a model, and says so in a log.

    Args:
        source: As for `TextEncoder.load`.
        query_prompt: As for `TextEncoder.load`.
        document_prompt: As for `TextEncoder.load`; without one, "", there is none when it is saved
            and loaded either.

    Raises:
        InputError: As `TextEncoder.load` does, and for weights that are missing, quantised or of
            another shape than the configuration says, and for what gives no vector a text: a
            cross-encoder, say. With a prompt also as `check_prompts` does.
    """
    place, is_local = locate(source)
    if is_local:
        _check_kind(Checkpoint(Path(place), str(source)))
    with _reports() as reports:
        try:
            encoder = TextEncoder.load(
                source, query_prompt=query_prompt, document_prompt=document_prompt
            )
        except AttributeError as error:
            # What reads images or sounds alone has none to ask.
            raise InputError(
                f"The model '{source}' has no tokenizer.", "Give a model of texts."
            ) from error
        except InputError:
            apart = sorted(key for report in reports for key, *_ in report.mismatched_keys)
            if not apart:
                raise
            raise InputError(
                f"Weights of the model '{source}' have other shapes than its configuration says:"
                f" {listed(apart)}.",
                _AGAIN,
            ) from None
    # Many are saved without their pooler, which nothing here reads.
    missing = sorted(
        key for report in reports for key in report.missing_keys if "pooler." not in key
    )
    if missing:
        raise InputError(f"The model '{source}' lacks weights: {listed(missing)}.", _AGAIN)
    _make_usable(encoder)
    if document_prompt == "":
        _forget_other_prompts(encoder)
    if query_prompt or document_prompt:
        check_prompts(encoder)
    return encoder


def check_prompts(encoder: Encoder, *roles: Role) -> None:
    """Refuses prompts, given or its own, beside which an encoder would read little.

    Args:
        encoder: A table of vectors has none.
        roles: Whose prompts will be used; both when not given.

    Raises:
        InputError: When one takes more than half of the tokens that it reads.
    """
    if not isinstance(encoder, TextEncoder):
        return
    for role in roles or ("query", "document"):
        tokens = prompt_tokens(encoder, role)
        if 2 * tokens > encoder.max_tokens:
            raise InputError(
                f"The {role} prompt has {tokens} tokens, and the model reads"
                f" {encoder.max_tokens}: too little of a text would be left.",
                f"Give a shorter --{role}-prompt, or shorten it in the model's"
                " config_sentence_transformers.json.",
            )


def _forget_other_prompts(encoder: TextEncoder) -> None:
    """Leaves an encoder no prompts of other names.

    A model may call that of documents otherwise, and would have it back when it is loaded from
    where it was saved.
    """
    own: dict[str, str | None] = {**encoder.prompts}
    encoder.model.prompts = own
    if encoder.model.default_prompt_name not in own:
        encoder.model.default_prompt_name = None


def _check_kind(checkpoint: Checkpoint) -> None:
    """Refuses what sentence-transformers would make an encoder of in silence, without its head."""
    path = checkpoint.folder / "config_sentence_transformers.json"
    kind = read_object(path).get("model_type") if path.is_file() else None
    pools = any(module.kind == "Pooling" for module in checkpoint.modules)
    heads = checkpoint.config.get("architectures") or [""]
    classifies = not pools and str(heads[0]).endswith("ForSequenceClassification")
    if kind == "CrossEncoder" or classifies:
        raise InputError(
            f"The model '{checkpoint.source}' is a cross-encoder: it scores pairs and has no"
            " vectors.",
            "Give an encoder.",
        )
    if kind not in (None, "SentenceTransformer"):
        raise InputError(
            f"The model '{checkpoint.source}' is a {kind}, which gives no one dense vector a text.",
            "Give an encoder that does.",
        )


def _make_usable(encoder: TextEncoder) -> None:
    """Gives an encoder the bounds and the padding without which it fails on the first long batch.

    Raises:
        InputError: When it has no state a token, cannot pad, or its parts do not fit together.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer: Any = encoder.model[0]
    if getattr(transformer, "module_output_name", "token_embeddings") != "token_embeddings":
        raise InputError(
            f"The model '{encoder.name}' gives no states of tokens.", "Give a model of texts alone."
        )
    tokenizer: Any = encoder.model.tokenizer
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise InputError(f"The tokenizer of the model '{encoder.name}' cannot pad.")
        # It is masked wherever it stands.
        tokenizer.pad_token = tokenizer.eos_token
    table = transformer.model.get_input_embeddings()
    if isinstance(table, nn.Embedding) and tokenizer.vocab_size > table.num_embeddings:
        raise InputError(
            f"The tokenizer of the model '{encoder.name}' has {tokenizer.vocab_size:,} words, its"
            f" table {table.num_embeddings:,}.",
            "Take the tokenizer that it was trained with.",
        )
    added = tokenizer.get_added_vocab()
    # A family may share a tokenizer, as Gemma's models of texts have a token for images.
    if isinstance(table, nn.Embedding) and (
        unknown := [word for word, number in added.items() if number >= table.num_embeddings]
    ):
        say(f"The model knows no {listed(unknown)}: a text that holds it cannot be encoded.")
    width = transformer.get_embedding_dimension()
    for module in encoder.model:
        if isinstance(module, Pooling) and module.embedding_dimension != width:
            raise InputError(
                f"The pooling of the model '{encoder.name}' says {module.embedding_dimension}"
                f" dimensions, and its transformer has {width}.",
                "Correct config.json in the folder of its pooling.",
            )
    most = _most_positions(transformer)
    if encoder.max_tokens > most:
        encoder.model.max_seq_length = int(most)
    elif encoder.max_tokens >= _ENDLESS:
        encoder.model.max_seq_length = _WITHOUT_LIMIT


def _most_positions(transformer: nn.Module) -> int | float:
    """How many tokens have a learned position; RoBERTa's count from behind that of the padding."""
    for module in transformer.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            return table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
    return math.inf


@contextmanager
def _reports() -> Iterator[list[Any]]:
    """What transformers finds out about the weights that it loads inside, for its log."""
    modeling_utils: Any = import_module("transformers.modeling_utils")
    reports: list[Any] = []
    log = modeling_utils.log_state_dict_report

    def noted(*given: Any, **named: Any) -> None:
        reports.append(named["loading_info"])
        log(*given, **named)

    with _REPORTING:
        modeling_utils.log_state_dict_report = noted
        try:
            yield reports
        finally:
            modeling_utils.log_state_dict_report = log
