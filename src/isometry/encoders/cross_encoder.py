"""Two texts read together -> one score, by a transformer with a head of one output."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isometry.core.errors import InputError
from isometry.core.progress import track
from isometry.core.writing import atomic_folder
from isometry.encoders.inference import products, share_out, side_by_side
from isometry.encoders.loading import encodable, quiet_loading
from isometry.encoders.locate import locate
from isometry.encoders.text import (
    Batch,
    Precision,
    TextEncoder,
    token_batches,
)

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

# Where a model names no limit.
_USUAL_TOKENS = 512
_IDENTITY = "torch.nn.modules.linear.Identity"


class CrossEncoder(nn.Module):
    """A re-ranker: query and document in one input, and a linear head on its pooled first state.

    Nogueira and Cho (2019), "Passage Re-ranking with BERT", section 3. The head is that of the
    architecture's own `...ForSequenceClassification` in transformers, with one output. A score is
    that output as it is, whatever activation a folder of sentence-transformers puts behind it.

    Args:
        model: Such a model; it is used, not copied.
        tokenizer: Its tokenizer, whose `model_max_length` limits both texts together.
        name: Where it came from, for people.

    Example:
        >>> encoder = CrossEncoder.from_encoder(TextEncoder.load("packaged:minilm"), seed=0)
        >>> encoder.score([("a question", "its answer"), ("a question", "another text")]).shape
        (2,)
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = ""
    ) -> None:
        super().__init__()
        if model.config.num_labels != 1:
            raise ValueError(f"a cross-encoder has one output, not {model.config.num_labels}")
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        # A module is born in training mode: the model keeps its own.
        self.train(model.training)

    @classmethod
    def from_encoder(
        cls, encoder: TextEncoder, seed: int, *, max_tokens: int | None = None
    ) -> CrossEncoder:
        """Puts a new head on a copy of a text encoder's transformer.

        Args:
            encoder: Its weights, position limits and tokenizer are kept, its pooling is not. What
                the architecture has between states and scores and the encoder lacks is new too.
            seed: Decides the new weights.
            max_tokens: The limit of both texts together; the encoder's own when `None`.

        Raises:
            InputError: When there is no cross-encoder of this architecture, or its positions end
                before `max_tokens`.
        """
        from transformers import AutoModelForSequenceClassification

        body = cast("PreTrainedModel", encoder.model[0].model)
        config = copy.deepcopy(body.config)
        config.num_labels = 1
        with quiet_loading(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                model = AutoModelForSequenceClassification.from_config(config, dtype=body.dtype)
            except ValueError as error:
                raise InputError(
                    f"There is no cross-encoder with the architecture of '{encoder.name}', "
                    f"{type(body).__name__}."
                ) from error
        # A pooler stays behind where the head has one of its own.
        left = model.base_model.load_state_dict(body.state_dict(), strict=False)
        odd = [key for key in left.unexpected_keys if not key.startswith("pooler.")]
        if left.missing_keys or odd:
            raise InputError(
                f"The weights of '{encoder.name}' do not fit into a cross-encoder: "
                f"{', '.join([*left.missing_keys, *odd][:3])}."
            )
        tokenizer = copy.deepcopy(encoder.model.tokenizer)
        tokenizer.model_max_length = max_tokens or encoder.max_tokens
        made = cls(model.to(body.device).eval(), tokenizer, encoder.name)
        if max_tokens is not None and made.max_tokens < max_tokens:
            raise InputError(
                f"The model '{encoder.name}' has positions for {made.max_tokens} tokens, "
                f"not for {max_tokens}."
            )
        return made

    @classmethod
    def load(cls, source: str | Path) -> CrossEncoder:
        """Loads a cross-encoder that was trained as one.

        Args:
            source: A folder of `save`, of sentence-transformers' `CrossEncoder` or of a
                transformers model for sequence classification, or a hub id such as `owner/name`.
                Only a hub id makes this use the network.

        Raises:
            InputError: When there is no such model, when it needs pickled weights or remote code,
                or when it has no trained head of one output: transformers would fill a missing one
                with random numbers, and say so only in its log.
        """
        location, is_local = locate(source)
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        hint = "Give a cross-encoder's folder, or put a head on an encoder and train it."
        with quiet_loading():
            try:
                model, info = AutoModelForSequenceClassification.from_pretrained(
                    str(location),
                    output_loading_info=True,
                    use_safetensors=True,
                    dtype=torch.float32,
                    trust_remote_code=False,
                    local_files_only=is_local,
                )
                tokenizer = AutoTokenizer.from_pretrained(
                    str(location), trust_remote_code=False, local_files_only=is_local
                )
            except (
                *(OSError, ValueError, KeyError, RuntimeError, TypeError),
                *(ImportError, AttributeError, SafetensorError),
            ) as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise InputError(
                    f"Cannot load a cross-encoder from '{source}': {reason[:300]}", hint
                ) from error
        if info["missing_keys"]:
            missing = ", ".join(sorted(info["missing_keys"])[:3])
            raise InputError(f"The model '{source}' has no ranking head: it lacks {missing}.", hint)
        if model.config.num_labels != 1:
            raise InputError(
                f"The model '{source}' tells {model.config.num_labels} classes apart and does not"
                " score.",
                hint,
            )
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise InputError(
                f"The model '{source}' comes without its tokenizer.",
                "Copy tokenizer.json from where it was trained.",
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model.to(device).eval(), tokenizer, str(source))

    @property
    def max_tokens(self) -> int:
        """The longest input in tokens, both texts and the special ones included."""
        positions = getattr(self.model.config, "max_position_embeddings", None) or _USUAL_TOKENS
        return min(int(self.tokenizer.model_max_length), int(positions))

    def collate(self, pairs: Sequence[tuple[str, str]], tokens: int | None = None) -> Batch:
        """Pairs of query and document -> padded tensors, on the CPU.

        Segments are 0 and 1 where the model has segments.

        Args:
            pairs: The texts.
            tokens: Cut after this many tokens of both together, if that is less than the model's
                own limit. Only documents are cut.

        Raises:
            InputError: When a query leaves no room for its document.
        """
        encoded = self._tokenize(pairs, tokens)
        return self._pad(encoded, range(len(pairs)))

    def collate_with_words(
        self, pairs: Sequence[tuple[str, str]], tokens: int | None = None
    ) -> tuple[Batch, Int[np.ndarray, "b t"]]:
        """As `collate`, and which word of its document each position belongs to.

        Args:
            pairs: The texts.
            tokens: As `collate`.

        Returns:
            The batch; and the words, numbered from 0 in each document as the tokenizer's own
            pre-tokenizer splits it, -1 in the query, at special tokens and at padding.

        Raises:
            InputError: When a query leaves no room for its document, or the tokenizer does not
                know its words.
        """
        encoded = self._tokenize(pairs, tokens)
        if not encoded.is_fast:
            raise InputError(
                f"The tokenizer of '{self.name}' does not tell which tokens are one word.",
                "Use one that comes with a tokenizer.json.",
            )
        batch = self._pad(encoded, range(len(pairs)))
        words = np.full(tuple(batch["input_ids"].shape), -1)
        # Padding may stand on either side.
        filled = batch["attention_mask"].numpy().astype(bool)
        for row in range(len(pairs)):
            words[row, filled[row]] = [
                word if segment == 1 and word is not None else -1
                for word, segment in zip(
                    encoded.word_ids(row), encoded.sequence_ids(row), strict=True
                )
            ]
        return batch, words

    def _tokenize(self, pairs: Sequence[tuple[str, str]], tokens: int | None) -> BatchEncoding:
        limit = min(tokens or self.max_tokens, self.max_tokens)
        room = limit - self.tokenizer.num_special_tokens_to_add(pair=True)
        queries = list(dict.fromkeys(encodable(query) for query, _ in pairs))
        lengths = self.tokenizer(queries, add_special_tokens=False, verbose=False)["input_ids"]
        for query, ids in zip(queries, lengths, strict=True):
            if len(ids) >= room:
                raise InputError(
                    f"The query {query[:60]!r} has {len(ids)} tokens and leaves no room for a "
                    f"document: both together have {limit}.",
                    "Shorten the query.",
                )
        return self.tokenizer(
            [encodable(query) for query, _ in pairs],
            [encodable(document) for _, document in pairs],
            truncation="only_second",
            max_length=limit,
        )

    def _pad(self, encoded: BatchEncoding, rows: Sequence[int]) -> Batch:
        values_by_name = cast("dict[str, list[list[int]]]", encoded.data)
        some = {name: [values[row] for row in rows] for name, values in values_by_name.items()}
        return dict(self.tokenizer.pad(some, return_tensors="pt"))

    def forward(self, batch: Batch) -> Float[Tensor, " batch"]:
        """The score of each pair of a batch that `collate` made; gradients flow."""
        return self.model(**batch).logits[:, 0]

    def forward_with_states(
        self, batch: Batch
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch tokens width"]]:
        """The scores, and the last layer's states for a second head (masked words, say)."""
        output = self.model(**batch, output_hidden_states=True)
        return output.logits[:, 0], output.hidden_states[-1]

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        tokens: int | None = None,
        batch_tokens: int | None = None,
        precision: Precision = "float32",
        title: str = "Scoring",
    ) -> Float[np.ndarray, " pairs"]:
        """The scores of pairs, without gradients and without dropout; computed as vectors are.

        Args:
            pairs: Queries and documents, in any order.
            tokens: As `collate`.
            batch_tokens: Padded tokens a batch at most; as suits the device where none is given.
            precision: Of the matrix products; the scores are float32 either way.
            title: What the progress bar says.

        Raises:
            InputError: When a query leaves no room for its document, or the model gives NaN or
                infinity for a pair.
        """
        scores = np.empty(len(pairs), dtype=np.float32)
        if not pairs:
            return scores
        device = next(self.parameters()).device
        encoded = self._tokenize(pairs, tokens)
        lengths = [len(ids) for ids in cast("list[list[int]]", encoded["input_ids"])]
        workers, best_tokens = share_out(sum(lengths), device)
        batches = list(token_batches(lengths, batch_tokens or best_tokens))
        was_training = self.training
        self.eval()
        with track(title, len(pairs), "pairs") as task:

            def compute(batch: tuple[list[int], Batch]) -> None:
                rows, tensors = batch
                made = self({name: value.to(device) for name, value in tensors.items()})
                scores[rows] = made.float().cpu().numpy()
                task.advance(len(rows))

            try:
                side_by_side(
                    ((rows, self._pad(encoded, rows)) for rows in batches),
                    compute,
                    products(self.model, device, precision == "bfloat16", sum(lengths)),
                    max(1, min(workers, len(batches))),
                )
            finally:
                self.train(was_training)
        if not np.isfinite(scores).all():
            query, document = pairs[int(np.flatnonzero(~np.isfinite(scores))[0])]
            raise InputError(
                f"The model '{self.name}' gave NaN or infinity for {query[:40]!r} and "
                f"{document[:40]!r}.",
                "Its weights may be damaged, or float16 overflowed.",
            )
        return scores

    def save(self, folder: Path, *, card: str | None = None) -> None:
        """Saves a folder that plain `CrossEncoder(folder)` loads, whole or not at all.

        sentence-transformers gives the same scores, with one exception: where a query takes up
        more than half of the limit, it cuts the query as well as the document.

        Args:
            folder: The folder; an existing one is replaced.
            card: The text of its README.md.
        """
        # What the last call to it cut is no part of a tokenizer.
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            backend.no_truncation()
            backend.no_padding()
        with atomic_folder(folder) as temporary, quiet_loading():
            self.model.save_pretrained(str(temporary))
            self.tokenizer.save_pretrained(str(temporary))
            config = temporary / "config.json"
            values: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
            # Absolute paths of this machine are nobody else's business.
            values.pop("_name_or_path", None)
            # Without it, sentence-transformers would put a sigmoid behind the head.
            values["sentence_transformers"] = {"activation_fn": _IDENTITY}
            config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            if card is not None:
                (temporary / "README.md").write_text(card, encoding="utf-8")
