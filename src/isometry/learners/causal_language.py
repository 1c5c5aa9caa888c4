"""A decoder that predicts the next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.encoders.loading import encodable
from isometry.learners.learner import Learner, Losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class CausalLanguage(Learner):
    """Next-token prediction, as transformers computes it for its causal language models.

    The head sees the states that have a next token only, and none of the padding; its logits are
    what takes memory. Dropout stays off as in `TwoTowers`, for the same reasons.

    Args:
        model: With a head, such as `MistralForCausalLM`.
        tokenizer: Puts the special tokens of the model around each text, and pads.
        tokens: Where texts are cut.

    Raises:
        ValueError: When the model has no head, or does more than that head to its logits.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, tokens: int
    ) -> None:
        super().__init__()
        if model.get_output_embeddings() is None:
            raise ValueError(f"{type(model).__name__} has no head over the vocabulary")
        if getattr(model.config, "final_logit_softcapping", None) or not _is_plain(model):
            raise ValueError(f"{type(model).__name__} changes the logits behind its head")
        self.model = model
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.model.eval()

    def train(self, mode: bool = True) -> CausalLanguage:
        """Sets the mode of all parts but the model, which stays without dropout."""
        super().train(mode)
        self.model.eval()
        return self

    def collate(self, rows: Sequence[str]) -> dict[str, Any]:
        """Texts -> tokens, padded.

        Raises:
            InputError: When no text has two tokens.
        """
        batch = self.tokenizer(
            [encodable(text) for text in rows],
            padding=True,
            truncation=True,
            max_length=self.tokens,
            return_tensors="pt",
        )
        mask: Any = batch["attention_mask"]
        if not (mask[:, 1:] * mask[:, :-1]).any():
            raise InputError(
                "No text of a batch has a next token to predict.", "Leave empty texts out."
            )
        return {"input_ids": batch["input_ids"], "attention_mask": mask}

    def loss(self, batch: dict[str, Any]) -> Losses:
        """The mean cross-entropy of all tokens but the first of each text."""
        body: Any = self.model.base_model
        head: Any = self.model.get_output_embeddings()
        states: Tensor = body(**batch, use_cache=False).last_hidden_state
        real = batch["attention_mask"].bool()
        # Behind padding on the left, the first token is predicted from nothing.
        has_next = real[:, 1:] & real[:, :-1]
        logits = head(states[:, :-1][has_next]).float()
        return {"loss": functional.cross_entropy(logits, batch["input_ids"][:, 1:][has_next])}


def _is_plain(model: PreTrainedModel) -> bool:
    """Whether logits are what the head makes of the last states, and nothing else.

    Some models scale them (Granite, Cohere), or transform the states first (BERT, RoBERTa).
    """
    body: Any = model.base_model
    head: Any = model.get_output_embeddings()
    ids = torch.tensor([[0, 1]], device=model.device)
    training = model.training
    model.eval()
    with torch.no_grad():
        ours = head(body(input_ids=ids, use_cache=False).last_hidden_state).float()
        theirs = model(input_ids=ids, use_cache=False).logits.float()
    model.train(training)
    return torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)
