"""Instructions before texts, and which tokens of a batch are not of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from isometry.core.errors import InputError
from isometry.encoders.loading import encodable
from isometry.encoders.text import Role

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from isometry.encoders.text import TextEncoder


@dataclass(frozen=True, slots=True)
class Prompt:
    r"""What stands before queries and before documents of a task.

    Attributes:
        query: For instance "Instruct: find the defined word\nQuery: ".
        document: Empty where documents get no instruction.
    """

    query: str = ""
    document: str = ""

    def mask(
        self, tokenizer: Tokenizer, texts: Sequence[str], role: Role, real: Bool[Tensor, "b t"]
    ) -> Bool[Tensor, "b t"]:
        """Which tokens are pooled; see `text_mask`."""
        prompt = self.query if role == "query" else self.document
        return text_mask(tokenizer, [prompt] * len(texts), texts, real)


def prompt_tokens(encoder: TextEncoder, role: Role) -> int:
    """How many tokens an encoder's prompt for a role takes of what it reads."""
    prompt = encoder.prompts[role]
    return len(encoder.tokenizer.encode(prompt, add_special_tokens=False).ids)


def text_mask(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    texts: Sequence[str],
    real: Bool[Tensor, "b t"],
) -> Bool[Tensor, "b t"]:
    """The tokens from the first one of the text on, in a batch of prompts with texts behind them.

    The prompt is read by the model and left out of the mean (Lee et al. 2024, "NV-Embed", section
    3.3). The official code tokenizes it alone and counts; a token that prompt and text share then
    is cut off or not by luck. Here a token belongs to the text as soon as it holds a character of
    it. Special tokens before a prompt are left out with it, those behind the text are kept.

    Args:
        tokenizer: One that neither cuts nor pads, such as `TextEncoder.tokenizer`.
        prompts: What stands before each text; with an empty one all of its tokens count.
        texts: The texts.
        real: True where a token is not padding, which may stand on either side.

    Returns:
        True where a token is pooled.

    Raises:
        InputError: When no token of a text is left, because it is empty or its prompt fills all
            the room.
    """
    asked = [row for row, prompt in enumerate(prompts) if prompt]
    encodings = tokenizer.encode_batch([encodable(prompts[row] + texts[row]) for row in asked])
    leading = torch.zeros(len(texts), dtype=torch.long)
    for row, encoding in zip(asked, encodings, strict=True):
        ends = [end for _, end in encoding.offsets]
        special = encoding.special_tokens_mask
        last = len(ends) - special[::-1].index(0) if 0 in special else 0
        leading[row] = next((at for at in range(last) if ends[at] > len(prompts[row])), last)
        room = int(real[row].sum()) - (len(ends) - last)
        if leading[row] >= min(last, room):
            why = "it is empty" if leading[row] >= last else "its prompt fills all the room"
            raise InputError(
                f"No token of the text in row {row} is left to pool: {why}.",
                "Leave empty texts out, and cut texts later than their prompt ends.",
            )
    return real & (real.cumsum(dim=1) > leading.to(real.device)[:, None])
