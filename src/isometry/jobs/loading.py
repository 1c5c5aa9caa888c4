"""Models as users give them: what their files lack or hold wrongly is said before they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from isometry.core.errors import InputError
from isometry.core.files import read_json
from isometry.encoders.encoder import Encoder
from isometry.encoders.locate import is_static, locate
from isometry.encoders.static import StaticEncoder
from isometry.encoders.text import TextEncoder
from isometry.merging.checkpoints import Checkpoint, listed

_AGAIN = "Fetch it again, whole."
_REPORTING = Lock()


def load_sound(source: str | Path) -> Encoder:
    """Loads a model of either kind, as `load_encoder` does, if it is whole.

    Raises:
        InputError: As `load_sound_text_encoder` does.
    """
    place, is_local = locate(source)
    if is_local and is_static(Path(place)):
        return StaticEncoder.load(place)
    return load_sound_text_encoder(source)


def load_sound_text_encoder(
    source: str | Path, *, query_prompt: str | None = None, document_prompt: str | None = None
) -> TextEncoder:
    """Loads a transformer, as `TextEncoder.load` does, if all of its weights are its own.

    The library draws at random what is missing of a model, and says so in a log.

    Args:
        source: As for `TextEncoder.load`.
        query_prompt: As for `TextEncoder.load`.
        document_prompt: As for `TextEncoder.load`.

    Raises:
        InputError: As `TextEncoder.load` does, and for weights that are missing, quantised or of
            another shape than the configuration says, and for a cross-encoder.
    """
    place, is_local = locate(source)
    if is_local:
        checkpoint = Checkpoint(Path(place), str(source))
        if _scores_pairs(checkpoint):
            raise InputError(
                f"The model '{source}' is a cross-encoder: it scores pairs and has no vectors.",
                "Give an encoder.",
            )
    with _reports() as reports:
        try:
            encoder = TextEncoder.load(
                source, query_prompt=query_prompt, document_prompt=document_prompt
            )
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
    return encoder


def _scores_pairs(checkpoint: Checkpoint) -> bool:
    """Whether it was saved with a head that classifies, and with nothing that pools."""
    if any(module.kind == "Pooling" for module in checkpoint.modules):
        return False
    path = checkpoint.folder / "config_sentence_transformers.json"
    kind = read_json(path).get("model_type") if path.is_file() else None
    heads = checkpoint.config.get("architectures") or [""]
    return kind == "CrossEncoder" or str(heads[0]).endswith("ForSequenceClassification")


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
