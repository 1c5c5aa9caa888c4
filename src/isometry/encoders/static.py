"""Text -> one vector, by looking up its tokens in a table: no layer, no context."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from isometry.core.errors import InputError
from isometry.core.progress import track
from isometry.core.writing import atomic_folder
from isometry.encoders.loading import encodable, quiet_loading
from isometry.encoders.padding import pad
from isometry.encoders.text import Batch, Precision, Role, TextEncoder, known_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Texts that are tokenized and looked up together: their token vectors stay in the caches.
_AT_ONCE = 1024
# Tokens of the vocabulary that the teacher reads together.
_TOKENS_AT_ONCE = 512
# Places in BERT's vocabulary that were never filled.
_UNUSED = re.compile(r"\[unused\d+\]")


class StaticEncoded(NamedTuple):
    """What a table makes of a batch.

    Attributes:
        vector: One unit vector per text; zero where no token has a weight.
    """

    vector: Float[Tensor, "batch dim"]


class StaticEncoder(nn.Module):
    """A table with a vector for every token; a text is their weighted mean, to unit length.

    Saved, it is a folder that plain `SentenceTransformer(folder)` loads, with the same vectors. It
    knows no prompts: theirs would be the same few vectors in every mean.

    Args:
        table: One row for every id of the tokenizer; trained.
        tokenizer: It is copied, without truncation and padding.
        weights: How much each token counts; not trained. 0 leaves a token out, as it should the
            unknown token. All count the same when not given.
        name: Where it came from, for people.

    Raises:
        ValueError: When the table has no row for a token, or weights are negative or not one a row.
    """

    modality = "text"

    weights: Tensor

    def __init__(
        self,
        table: Float[Tensor, "vocabulary dim"],
        tokenizer: Tokenizer,
        weights: Float[Tensor, " vocabulary"] | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        most = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if most >= len(table):
            raise ValueError(f"a table of {len(table)} rows has none for token {most}")
        if weights is None:
            weights = torch.ones(len(table))
        if weights.shape != table.shape[:1] or bool((weights < 0).any()):
            raise ValueError("weights must be one for each row of the table, and not negative")
        self.table = nn.Parameter(table.detach().float().clone())
        self.register_buffer("weights", weights.detach().float().clone())
        self.tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.name = name
        self.prompts: dict[Role, str] = {"query": "", "document": ""}

    @classmethod
    def load(cls, folder: str | Path) -> StaticEncoder:
        """Loads what `save`, sentence-transformers' `StaticEmbedding` or model2vec saved.

        Raises:
            InputError: When the folder holds no static model, or one in a pickle.
        """
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        place = Path(folder).expanduser()
        if not any(place.glob("**/model.safetensors")):
            raise InputError(f"There is no static model in {place}: it has no model.safetensors.")
        with quiet_loading():
            try:
                model = SentenceTransformer(str(place), device="cpu", local_files_only=True)
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise InputError(
                    f"Cannot load a static model from {place}: {reason[:300]}"
                ) from error
        first: Any = model[0]
        if not isinstance(first, StaticEmbedding):
            raise InputError(
                f"{place} is no static model but a {type(first).__name__}.",
                "Load it with TextEncoder.load.",
            )
        if any(type(module).__name__ != "Normalize" for module in list(model)[1:]):
            raise InputError(
                f"The static model in {place} is more than a table:"
                f" {' -> '.join(type(module).__name__ for module in model)}.",
                "Fold what follows into the table first.",
            )
        if model.truncate_dim is not None or any(model.prompts.values()):
            raise InputError(
                f"The static model in {place} has "
                f"{'prompts' if model.truncate_dim is None else 'a truncate_dim'}, which its table"
                " does not know.",
                "Take it out of config_sentence_transformers.json.",
            )
        return cls(first.embedding.weight, first.tokenizer, name=str(folder))

    @classmethod
    def from_teacher(
        cls,
        encoder: TextEncoder,
        dim: int | None = None,
        *,
        frequencies: Float[np.ndarray, " vocabulary"] | None = None,
        smoothing: float = 1e-4,
    ) -> StaticEncoder:
        """A table out of what a bigger encoder makes of each token alone.

        As model2vec 0.10 does it: the teacher's pooled states of every token between its special
        tokens (`vocabulary_vectors`), their `dim` principal components, and the weights of
        `sif_weights`. What differs: special and unused tokens keep their ids and weigh nothing,
        instead of leaving the vocabulary (model2vec skips the unknown token, too, but
        sentence-transformers' own loader of such tables does not); the pooling is the teacher's
        own rather than always the mean; the table is kept in float32 rather than float16.

        Args:
            encoder: The teacher.
            dim: How many dimensions to keep; all of the teacher's when not given. Even then the
                components are taken: centring is most of what they do.
            frequencies: How often each token occurs, of any scale; guessed from its place in the
                vocabulary when not given.
            smoothing: Of the weights.

        Raises:
            InputError: When the teacher has fewer dimensions, or fewer tokens than dimensions.
        """
        vectors = vocabulary_vectors(encoder)
        basis = token_basis(encoder, vectors, dim)
        return cls.of_vectors(encoder, vectors, basis, frequencies=frequencies, smoothing=smoothing)

    @classmethod
    def of_vectors(
        cls,
        encoder: TextEncoder,
        vectors: Float[np.ndarray, "vocabulary width"],
        basis: Float[np.ndarray, "dim width"],
        *,
        frequencies: Float[np.ndarray, " vocabulary"] | None = None,
        smoothing: float = 1e-4,
    ) -> StaticEncoder:
        """The last step of `from_teacher`, for who has the vectors and chose the axes.

        Args:
            encoder: The teacher.
            vectors: What `vocabulary_vectors` made.
            basis: The axes that are kept, such as `token_basis` finds.
            frequencies: As in `from_teacher`.
            smoothing: Likewise.
        """
        real = real_tokens(encoder)
        table = np.zeros((len(vectors), len(basis)), dtype=np.float32)
        table[real] = (vectors[real] - vectors[real].mean(axis=0)) @ basis.T
        weights = np.zeros(len(vectors), dtype=np.float32)
        some = None if frequencies is None else frequencies[real]
        weights[real] = sif_weights(len(real) if some is None else some, smoothing)
        return cls(
            torch.from_numpy(table), encoder.tokenizer, torch.from_numpy(weights), encoder.name
        )

    @property
    def dim(self) -> int:
        """The number of dimensions of a vector."""
        return self.table.shape[1]

    @property
    def max_tokens(self) -> None:
        """A table reads texts of any length."""

    def fingerprint(self) -> str:
        """A hash of everything that decides a vector; saving and loading leave it as it is."""
        digest = hashlib.sha256(self.tokenizer.to_str().encode())
        digest.update(self._folded().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def lengths(self, texts: Sequence[str], role: Role = "document") -> list[int]:
        """The number of tokens of each text."""
        del role
        return [len(ids) for ids in self._tokenize(texts)]

    def collate(
        self, texts: Sequence[str], role: Role = "document", *, tokens: int | None = None
    ) -> Batch:
        """Raw texts -> the ids of all, one after the other, and where each text begins.

        Args:
            texts: The texts.
            role: Makes no difference here.
            tokens: Cut after this many tokens; nothing is cut when not given.
        """
        del role
        ids = [some[:tokens] for some in self._tokenize(texts)]
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
        offsets = np.concatenate([[0], lengths[:-1].cumsum()])[: len(ids)].astype(np.int64)
        return {"input_ids": torch.from_numpy(flat), "offsets": torch.from_numpy(offsets)}

    def forward(self, batch: Batch) -> StaticEncoded:
        """Encodes a batch that `collate` made; gradients flow to the table."""
        ids = batch["input_ids"]
        # The direction of a sum is that of a mean, whatever it is divided by.
        total = functional.embedding_bag(
            ids, self.table, batch["offsets"], mode="sum", per_sample_weights=self.weights[ids]
        )
        return StaticEncoded(functional.normalize(total, dim=-1))

    def encode(
        self,
        texts: Sequence[str],
        role: Role = "document",
        *,
        tokens: int | None = None,
        precision: Precision = "float32",
        title: str = "Encoding",
    ) -> Float[np.ndarray, "texts dim"]:
        """Unit vectors of texts; zero where a text has no token that counts.

        Args:
            texts: The texts.
            role: Makes no difference here.
            tokens: Cut after this many tokens; nothing is cut when not given.
            precision: Makes no difference here.
            title: What the progress bar says.

        Raises:
            InputError: For one text alone, and for another role.
        """
        if isinstance(texts, str):
            raise InputError("encode takes a list of texts, not one text.", "Put it in brackets.")
        if role not in ("query", "document"):
            raise InputError(f"The role is 'query' or 'document', not '{role}'.")
        del precision
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        device = self.table.device
        with track(title, len(texts), "texts") as task, torch.no_grad():
            for start in range(0, len(texts), _AT_ONCE):
                block = texts[start : start + _AT_ONCE]
                batch = self.collate(block, role, tokens=tokens)
                moved = {name: value.to(device) for name, value in batch.items()}
                vectors[start : start + len(block)] = self(moved).vector.cpu().numpy()
                task.advance(len(block))
        return vectors

    def save(self, folder: Path, *, card: str | None = None) -> None:
        """Saves a folder that plain `SentenceTransformer(folder)` loads, whole or not at all.

        It holds one row per token, the weights multiplied in: loaded again, all weigh the same.

        Args:
            folder: The folder; an existing one is replaced.
            card: The text of its README.md.
        """
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(self.tokenizer.to_str())
        parts = [StaticEmbedding(copy, embedding_weights=self._folded().cpu()), Normalize()]
        with atomic_folder(folder) as temporary, quiet_loading():
            model = SentenceTransformer(modules=parts, device="cpu")
            model.save(str(temporary), create_model_card=False, safe_serialization=True)
            if card is not None:
                (temporary / "README.md").write_text(card, encoding="utf-8")

    def _folded(self) -> Float[Tensor, "vocabulary dim"]:
        return (self.table * self.weights[:, None]).detach()

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self.tokenizer.encode_batch_fast(
            [encodable(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]


def real_tokens(encoder: TextEncoder) -> np.ndarray:
    """The ids of the tokens that stand for text, ascending: not the special and unused ones."""
    special = set(encoder.model.tokenizer.all_special_ids)
    vocabulary = encoder.tokenizer.get_vocab(with_added_tokens=True)
    return np.array(
        sorted(
            row
            for token, row in vocabulary.items()
            if row not in special and not _UNUSED.fullmatch(token)
        ),
        dtype=np.int64,
    )


def vocabulary_vectors(encoder: TextEncoder) -> Float[np.ndarray, "vocabulary width"]:
    """What an encoder makes of each token alone, between its special tokens and without a prompt.

    These are the vectors before the encoder's own `Normalize`: their lengths tell, too.

    Args:
        encoder: In evaluation mode.

    Returns:
        A row for every id; zero for special and unused tokens.

    Raises:
        InputError: When the encoder gives NaN or infinity, there is no token, or one was added
            beyond the encoder's own table.
    """
    from sentence_transformers.base.modules import Normalize

    real = real_tokens(encoder)
    if len(real) == 0:
        raise InputError(f"The model '{encoder.name}' has no tokens but special ones.")
    if real[-1] >= known_tokens(encoder.model):
        raise InputError(
            f"The tokenizer of the model '{encoder.name}' has token {int(real[-1]):,}, its table"
            f" {known_tokens(encoder.model):,.0f} tokens.",
            "Take the tokenizer that it was trained with.",
        )
    example = encoder.tokenizer.encode("a")
    marks = example.special_tokens_mask
    first = marks.index(0) if 0 in marks else len(marks)
    before, after = example.ids[:first], example.ids[first:]
    after = [row for row, mark in zip(after, marks[first:], strict=True) if mark]
    parts = [part for part in encoder.model if not isinstance(part, Normalize)]
    device = next(encoder.parameters()).device
    size = max(encoder.tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    like = encoder.collate(["a"], "document")
    vectors: np.ndarray | None = None
    with track("Encoding the vocabulary", len(real), "tokens") as task, torch.no_grad():
        for start in range(0, len(real), _TOKENS_AT_ONCE):
            rows = real[start : start + _TOKENS_AT_ONCE]
            ids = [np.array([*before, row, *after], dtype=np.int32) for row in rows]
            # All are of one length, so nothing is padded.
            features: Any = {
                name: value.to(device) if isinstance(value, Tensor) else value
                for name, value in pad(ids, 0, like).items()
            }
            for part in parts:
                features = part(features)
            # A model may be saved with a shorter width than its last module has.
            made = features["sentence_embedding"][:, : encoder.dim].float().cpu().numpy()
            if vectors is None:
                vectors = np.zeros((size, made.shape[1]), dtype=np.float32)
            vectors[rows] = made
            task.advance(len(rows))
    assert vectors is not None
    if not np.isfinite(vectors).all():
        raise InputError(
            f"The model '{encoder.name}' gave NaN or infinity for a token.",
            "Its weights may be damaged.",
        )
    return vectors


def token_basis(
    encoder: TextEncoder,
    vectors: Float[np.ndarray, "vocabulary width"],
    dim: int | None = None,
) -> Float[np.ndarray, "dim width"]:
    """The principal components of what a teacher made of the tokens, the largest first.

    Args:
        encoder: The teacher.
        vectors: What `vocabulary_vectors` made.
        dim: How many; as many as there are when not given.

    Raises:
        InputError: When there are fewer.
    """
    from sklearn.decomposition import PCA

    real = vectors[real_tokens(encoder)]
    tokens, width = real.shape
    kept = min(tokens, width) if dim is None else dim
    if not 1 <= kept <= min(tokens, width):
        raise InputError(
            f"A table out of the {tokens:,} tokens and {width} dimensions of the model"
            f" '{encoder.name}' cannot have {kept} dimensions.",
            f"Choose 1 to {min(tokens, width)}.",
        )
    return np.asarray(PCA(kept, svd_solver="full").fit(real).components_)


def sif_weights(
    frequencies: int | Float[np.ndarray, " tokens"], smoothing: float = 1e-4
) -> Float[np.ndarray, " tokens"]:
    """The weight a / (a + p) of tokens of probability p: the more frequent, the less.

    Smooth inverse frequency (Arora, Liang and Ma 2017, "A Simple but Tough-to-Beat Baseline for
    Sentence Embeddings", equation 3).

    Args:
        frequencies: How often each token occurs, of any scale. Or only how many tokens there are:
            then p of the one in place i, from 0, is taken to be proportional to 1 / (i + 2), as in
            a vocabulary that is sorted by frequency (Zipf's law; model2vec's guess).
        smoothing: The parameter a.

    Raises:
        ValueError: When frequencies are negative or all zero, or the parameter is not positive.
    """
    counts = (
        1 / np.arange(2, frequencies + 2)
        if isinstance(frequencies, int)
        else np.asarray(frequencies, dtype=np.float64)
    )
    if smoothing <= 0:
        raise ValueError(f"smoothing must be positive, not {smoothing}")
    if len(counts) == 0 or counts.min() < 0 or counts.sum() <= 0:
        raise ValueError("frequencies must not be negative, nor all zero")
    return smoothing / (smoothing + counts / counts.sum())
