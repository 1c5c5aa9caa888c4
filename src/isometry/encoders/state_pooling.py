"""A pooler of our own as a module of a sentence-transformers model."""

from __future__ import annotations

from typing import Any

from torch import nn

from isometry.core.errors import InputError


class StatePooling(nn.Module):
    """Token states -> one vector, by a pooler that may be trained.

    Stands where `Pooling` of sentence-transformers stands, so that `TextEncoder` and everything
    after it take poolers that the library does not have. Tokens of the model's own prompt are left
    out, wherever the padding stands; a batch with `pool_mask` says itself which tokens count.

    Args:
        pooler: Takes states and a mask.
        dim: The width of its vectors.
    """

    def __init__(self, pooler: nn.Module, dim: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.dim = dim

    def get_embedding_dimension(self) -> int:
        """The width of the vectors."""
        return self.dim

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Adds `sentence_embedding` to what the transformer left.

        Raises:
            InputError: When there is no mask, or nothing of a text is left to pool.
        """
        if "pool_mask" in features:
            mask = features["pool_mask"]
        elif "attention_mask" in features:
            mask = features["attention_mask"].bool()
            prompt = int(features.get("prompt_length") or 0)
            mask = mask & (mask.cumsum(dim=1) > prompt)
        else:
            raise InputError(
                "There is no mask of the tokens to pool.", "Tokenize with an attention mask."
            )
        return {**features, "sentence_embedding": self.pooler(features["token_embeddings"], mask)}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True) -> None:
        """Refuses: no other library could load it."""
        del output_path, args, safe_serialization
        raise InputError(
            f"A model that pools by {type(self.pooler).__name__} cannot be saved as a folder yet.",
            "Pool by the mean or the last token, as sentence-transformers does.",
        )
