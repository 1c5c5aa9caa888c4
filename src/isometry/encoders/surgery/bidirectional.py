"""A language model that reads in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from isometry.core.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def bidirectional(
    model: PreTrainedModel, tokens: int, *, window: Literal["keep", "drop"] | None = None
) -> None:
    """Lets every token of a decoder see all others; weights and positions stay, nothing is trained.

    Lee et al. (2024, "NV-Embed", section 3.2) take the causal mask away without the warm-up of
    LLM2Vec. transformers makes the masks of all its decoders in one place, which asks the
    configuration whether they are causal; nothing is patched, and a saved model stays as it is.
    That tokens see what follows them is tried on the model itself. It no longer generates text.

    Args:
        model: A decoder of transformers, such as Mistral, Llama, Qwen or Gemma; changed in place.
        tokens: The longest text that it will read.
        window: What becomes of a sliding window that is shorter than this. A causal window of w
            shows the last w tokens; kept, it shows up to w on either side, which the model never
            saw. Dropped, all tokens are shown, further away than it ever saw.

    Raises:
        InputError: When such a window asks for a choice, or the model has no mask to be dropped.
    """
    config: Any = model.config.get_text_config(decoder=True)
    parts: list[Any] = list(model.modules())
    width = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    if slides and width is not None and width < tokens:
        if window is None:
            raise InputError(
                f"The model shows {width} tokens at once, fewer than the {tokens} of a text.",
                "Keep the window in both directions, or drop it: window='keep' or window='drop'.",
            )
        if window == "drop":
            config.sliding_window = tokens
            for part in parts:
                if getattr(part, "sliding_window", None) is not None:
                    part.sliding_window = tokens
    config.is_causal = False
    config.use_cache = False
    for part in parts:
        # Flash attention asks the layers, not the configuration.
        if getattr(part, "is_causal", False) is True:
            part.is_causal = False
    if not _sees_ahead(model):
        raise InputError(
            f"{type(model).__name__} does not take its causal mask from transformers.",
            "Give a decoder such as Mistral, Llama, Qwen or Gemma.",
        )


def _sees_ahead(model: PreTrainedModel) -> bool:
    """Whether the first token's state depends on the second token."""
    body: Any = model.base_model
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            first = [
                body(input_ids=torch.tensor([[1, second]], device=device)).last_hidden_state[:, 0]
                for second in (2, 3)
            ]
    finally:
        model.train(was_training)
    return not torch.equal(*first)
