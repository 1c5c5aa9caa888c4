"""Text -> one vector each, by any sentence-transformers or plain transformers model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isometry.core.errors import InputError
from isometry.core.progress import track
from isometry.core.writing import atomic_folder
from isometry.encoders.inference import products, share_out, side_by_side
from isometry.encoders.loading import encodable, quiet_loading
from isometry.encoders.locate import locate
from isometry.encoders.padding import cut, pad, same_batch
from isometry.encoders.projection import first_dimensions

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Role = Literal["query", "document"]
Precision = Literal["float32", "bfloat16"]
Batch = dict[str, Tensor]

# The names under which published models keep their document prompt.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_TOKENIZED_AT_ONCE = 1024
# From so many texts on, a trial shows whether ids can be padded here; and a text that is in it,
# which a tokenizer in Python might treat otherwise: spaces, an accent, capitals.
_TRIED, _ODD = 16, "  \tÀ la Carte  \n"


class Encoded(NamedTuple):
    """What an encoder makes of a batch.

    Attributes:
        vector: One vector per item, as the model's own last module leaves it.
        tokens: The states that were pooled.
        mask: True where a state belongs to the item.
    """

    vector: Float[Tensor, "batch dim"]
    tokens: Float[Tensor, "batch tokens width"]
    mask: Bool[Tensor, "batch tokens"]


class TextEncoder(nn.Module):
    """A sentence-transformers model with its prompts, encoded in batches of equal work.

    Queries and documents get the prompts of the model's own configuration, as the models of the
    E5, BGE, Nomic and Qwen families need.

    Args:
        model: The model; it is used, not copied.
        name: Where it came from, for people.
        query_prompt: Replaces the model's own query prompt.
        document_prompt: Replaces the model's own document prompt.
    """

    modality = "text"

    def __init__(
        self,
        model: SentenceTransformer,
        name: str = "",
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.name = name
        own = dict(model.prompts or {})
        document = next((own[key] or "" for key in _DOCUMENT_PROMPTS if own.get(key)), "")
        self.prompts: dict[Role, str] = {
            "query": (own.get("query") or "") if query_prompt is None else query_prompt,
            "document": document if document_prompt is None else document_prompt,
        }
        model.prompts = {**own, **self.prompts}
        # A module is born in training mode: encoding would put the model back into it.
        self.train(model.training)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> TextEncoder:
        """Loads a model.

        Args:
            source: A sentence-transformers or transformers folder, `packaged:NAME`, or a hub id
                such as `owner/name`. Only a hub id makes this use the network.
            query_prompt: Replaces the model's own query prompt.
            document_prompt: Replaces the model's own document prompt.

        Raises:
            InputError: When there is no such model, or it needs pickled weights or remote code.
        """
        location, is_local = locate(source)
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer

        for pickled in Path(location).glob("*/pytorch_model.bin") if is_local else ():
            if not pickled.with_name("model.safetensors").exists():
                raise InputError(
                    f"The model '{source}' keeps weights in a pickle, {pickled.parent.name}/"
                    f"{pickled.name}, which may run code.",
                    "Save them as model.safetensors.",
                )
        with quiet_loading():
            try:
                model = SentenceTransformer(
                    str(location),
                    device="cpu" if not torch.cuda.is_available() else None,
                    trust_remote_code=False,
                    local_files_only=is_local,
                    model_kwargs={"use_safetensors": True, "dtype": torch.float32},
                )
            except (
                *(OSError, ValueError, KeyError, RuntimeError, TypeError),
                *(ImportError, AttributeError, SafetensorError),
            ) as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise InputError(
                    f"Cannot load a text encoder from '{source}': {reason[:300]}",
                    "Give a sentence-transformers or transformers folder with safetensors weights,"
                    " or packaged:minilm.",
                ) from error
        if not isinstance(model[0], Transformer):
            raise InputError(
                f"The model '{source}' is no transformer but a {type(model[0]).__name__}.",
                "Give one whose first module is a transformer.",
            )
        tokenizer = model.tokenizer
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise InputError(
                f"The model '{source}' comes without its tokenizer.",
                "Copy tokenizer.json from where it was trained.",
            )
        model.eval()
        return cls(model, str(source), query_prompt=query_prompt, document_prompt=document_prompt)

    @property
    def dim(self) -> int:
        """The number of dimensions of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int:
        """The longest input in tokens, special ones included; what is beyond is cut off."""
        return int(self.model.max_seq_length or 512)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """A copy of the underlying fast tokenizer that neither truncates nor pads.

        Raises:
            InputError: When the model has a slow tokenizer only.
        """
        backend = getattr(self.model.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(f"The model '{self.name}' has no fast tokenizer (tokenizer.json).")
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(backend.to_str())
        copy.no_truncation()
        copy.no_padding()
        return copy

    def layers(self) -> nn.ModuleList:
        """The stack of transformer blocks, lowest first.

        Raises:
            InputError: When the model has no such stack.
        """
        stacks = [part for part in self.model[0].modules() if isinstance(part, nn.ModuleList)]
        if not stacks:
            raise InputError(f"The model '{self.name}' has no stack of layers.")
        return max(stacks, key=len)

    def fingerprint(self) -> str:
        """A hash of everything that decides a vector: weights, tokenizer, pooling, prompts.

        Saving and loading leave it as it is.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            # Flat first: a scalar has no bytes to view.
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
        digest.update(self.tokenizer.to_str().encode())
        settings = [type(part).__name__ for part in self.model]
        settings += [
            json.dumps(describe(), sort_keys=True, default=str)
            for part in list(self.model)[1:]
            if callable(describe := getattr(part, "get_config_dict", None))
        ]
        cut = [] if self.model.truncate_dim is None else [self.model.truncate_dim]
        digest.update(json.dumps([settings, self.prompts, self.max_tokens, *cut]).encode())
        return digest.hexdigest()

    def collate(self, texts: Sequence[str], role: Role, *, tokens: int | None = None) -> Batch:
        """Raw texts -> padded tensors, on the CPU.

        Args:
            texts: The texts, without their prompt.
            role: Whose prompt to put before them.
            tokens: Cut after this many tokens, if that is less than the model's own limit.
        """
        options: dict[str, Any] = {}
        if tokens is not None:
            length = min(tokens, self.max_tokens)
            options = {"processing_kwargs": {"text": {"max_length": length, "truncation": True}}}
        inputs = [encodable(text) for text in texts]
        return self.model.preprocess(inputs, prompt=self.prompts[role] or None, **options)

    def forward(self, batch: Batch) -> Encoded:
        """Encodes a batch that `collate` made; gradients flow."""
        output = self.model(dict(batch))
        return Encoded(
            # A model may be saved with a shorter width than its last module has (`truncate_dim`).
            output["sentence_embedding"][..., : self.dim],
            output["token_embeddings"],
            output["attention_mask"].bool(),
        )

    def pooled_layers(self, batch: Batch) -> Float[Tensor, "layers batch dim"]:
        """The pooled vectors after every block, in one forward pass; gradients flow.

        Index n - 1 is the model that ends after its first n blocks, which `surgery.layers.truncate`
        makes; index -1 is the whole model. The output of the embeddings, which transformers counts
        as hidden state 0, is not among them.

        They are as pooling leaves them, before the model's own `Normalize`: a vector is cut first
        and normalised after. Without such a module the last one is `forward(batch).vector`. Of a
        model that was cut to its first dimensions, the vectors have these.

        Args:
            batch: What `collate` made.

        Raises:
            InputError: When the model is more than a transformer, pooling and a normalisation, or
                the states after its inner blocks are not what a shorter model would pool.
        """
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        kinds = (Transformer, Pooling, Normalize)
        modules = list(self.model)
        # Only before a normalisation is it what a cut leaves.
        dim = first_dimensions(modules[2]) if len(modules) > 2 else None
        parts = modules if dim is None else [*modules[:2], *modules[3:]]
        if len(parts) not in (2, 3) or not all(map(isinstance, parts, kinds)):
            chain = " -> ".join(type(part).__name__ for part in modules)
            raise InputError(
                f"The model '{self.name}' is {chain}: its inner layers have no vectors.",
                "Give one that is Transformer -> Pooling, with or without Normalize.",
            )
        if self._why_no_layers:
            raise InputError(
                f"The inner layers of the model '{self.name}' have no vectors: "
                f"{self._why_no_layers}.",
                "Give one of the BERT family, such as packaged:minilm.",
            )
        return torch.stack(
            [
                parts[1]({**batch, "token_embeddings": states})["sentence_embedding"][:, :dim]
                for states in self._hidden_states(batch)[1:]
            ]
        )

    def _hidden_states(self, batch: Batch) -> tuple[Float[Tensor, "batch tokens width"], ...]:
        """The output of the embeddings and of every block, as transformers gives them.

        Asked of the transformers model itself: sentence-transformers hands states on only where the
        shared configuration says so, and changing that for a call is not safe among threads.
        """
        names = self.model.tokenizer.model_input_names
        inputs = {name: batch[name] for name in names if name in batch}
        body: Any = self.model[0].model
        output = body(**inputs, output_hidden_states=True, return_dict=True)
        return getattr(output, "hidden_states", None) or ()

    @cached_property
    def _why_no_layers(self) -> str:
        """Why states after inner blocks are not what a shorter model pools; empty if they are."""
        stack, device = self.layers(), next(self.parameters()).device
        outputs: list[Any] = []
        hook = stack[-1].register_forward_hook(lambda _, __, output: outputs.append(output))
        batch = self.collate(["a"], "document")
        try:
            with torch.no_grad():
                states = self._hidden_states({k: _moved(v, device) for k, v in batch.items()})
        finally:
            hook.remove()
        if len(states) != len(stack) + 1:
            return f"it gives {len(states)} hidden states for {len(stack)} layers"
        last = outputs[-1][0] if isinstance(outputs[-1], tuple) else outputs[-1]
        # A norm behind the last block, say: the states of inner blocks come without it.
        if not torch.equal(last, states[-1]):
            return "the states after its last layer are changed before they are pooled"
        return ""

    def lengths(self, texts: Sequence[str], role: Role) -> list[int]:
        """The number of tokens of each text with its prompt, before any truncation."""
        return [len(ids) for ids in self._tokenize(texts, role)]

    def _tokenize(self, texts: Sequence[str], role: Role) -> Iterator[list[int]]:
        """The ids of each text with its prompt, before any truncation."""
        prompt = self.prompts[role]
        # In blocks: what the tokenizer gives takes a hundred times the room of the ids.
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            block = texts[start : start + _TOKENIZED_AT_ONCE]
            for encoding in self.tokenizer.encode_batch_fast(
                [encodable(prompt + text) for text in block]
            ):
                yield encoding.ids

    def _collator(
        self, texts: Sequence[str], role: Role, tokens: int | None
    ) -> tuple[list[int], Callable[[list[int]], Batch]]:
        """The length of each text, cut, and what makes the batch of some rows, as `collate` does.

        Texts are tokenised once, unless batches made of their ids differ from those of `collate`:
        models with other tensors, padding on the left, chat templates.
        """
        limit = min(tokens or self.max_tokens, self.max_tokens)
        # The special tokens behind a text, which stay when it is cut.
        special = self.tokenizer.encode("a").special_tokens_mask
        ending = special[::-1].index(0) if 0 in special else 0
        ids = [cut(some, limit, ending) for some in self._tokenize(texts, role)]
        if _first_beyond(texts, ids, known_tokens(self.model)) is not None:
            raise InputError(
                f"The model '{self.name}' has no vector for a token of the text"
                f" {str(_first_beyond(texts, ids, known_tokens(self.model)))[:60]!r}.",
                "Its tokenizer has tokens that were added after it was trained: take its own.",
            )
        lengths = [len(some) for some in ids]

        def collate(rows: list[int]) -> Batch:
            return self.collate([texts[row] for row in rows], role, tokens=tokens)

        # Not worth a trial, or without one: an empty text of a model without special tokens.
        if len(texts) < _TRIED or min(lengths) == 0:
            return lengths, collate
        pad_id = self.model.tokenizer.pad_token_id
        order = np.argsort(lengths, kind="stable")
        trial = [int(order[0]), int(order[-1])]
        odd = cut(next(self._tokenize([_ODD], role)), limit, ending)
        like = self.collate([*(texts[row] for row in trial), _ODD], role, tokens=tokens)
        if pad_id is None or not same_batch(
            pad([*(ids[row] for row in trial), odd], pad_id, like), like
        ):
            return lengths, collate
        return lengths, lambda rows: pad([ids[row] for row in rows], pad_id, like)

    def encode(
        self,
        texts: Sequence[str],
        role: Role = "document",
        *,
        tokens: int | None = None,
        batch_tokens: int | None = None,
        precision: Precision = "float32",
        title: str = "Encoding",
    ) -> Float[np.ndarray, "texts dim"]:
        """Unit vectors of texts.

        On a CPU, each core computes a batch of its own, from a second copy of the weights of linear
        layers that it lays out for itself first.

        Args:
            texts: The texts, without their prompt.
            role: Whose prompt to put before them.
            tokens: Cut after this many tokens, if that is less than the model's own limit.
            batch_tokens: Padded tokens a batch at most; as suits the device where none is given.
            precision: Of the matrix products; the vectors are float32 either way. A CPU without
                instructions for bfloat16 computes in float32.
            title: What the progress bar says.

        Raises:
            InputError: When the model gives NaN or infinity for a text; for one text alone, and for
                another role or precision.
        """
        if isinstance(texts, str):
            raise InputError("encode takes a list of texts, not one text.", "Put it in brackets.")
        if role not in ("query", "document"):
            raise InputError(f"The role is 'query' or 'document', not '{role}'.")
        if precision not in ("float32", "bfloat16"):
            raise InputError(f"The precision is 'float32' or 'bfloat16', not '{precision}'.")
        device = next(self.parameters()).device
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        lengths, collate = self._collator(texts, role, tokens)
        workers, best_tokens = share_out(sum(lengths), device)
        batches = list(token_batches(lengths, batch_tokens or best_tokens))
        was_training = self.training
        self.eval()
        with track(title, len(texts), "texts") as task:

            def compute(batch: tuple[list[int], Batch]) -> None:
                rows, tensors = batch
                vector = self({key: _moved(value, device) for key, value in tensors.items()}).vector
                vectors[rows] = nn.functional.normalize(vector.float(), dim=-1).cpu().numpy()
                task.advance(len(rows))

            try:
                side_by_side(
                    ((rows, collate(rows)) for rows in batches),
                    compute,
                    products(self.model, device, precision == "bfloat16", sum(lengths)),
                    max(1, min(workers, len(batches))),
                )
            finally:
                self.train(was_training)
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise InputError(
                f"The model '{self.name}' gave NaN or infinity for the text {texts[row][:60]!r}.",
                "Its weights may be damaged, or float16 overflowed.",
            )
        return vectors

    def save(self, folder: Path, *, card: str | None = None) -> None:
        """Saves a folder that plain `SentenceTransformer(folder)` loads, whole or not at all.

        Args:
            folder: The folder; an existing one is replaced.
            card: The text of its README.md.
        """
        with atomic_folder(folder) as temporary, quiet_loading():
            self.model.save(str(temporary), create_model_card=False, safe_serialization=True)
            # Absolute paths of this machine are nobody else's business.
            for config in temporary.rglob("config*.json"):
                values = json.loads(config.read_text(encoding="utf-8"))
                if values.pop("_name_or_path", None) is not None:
                    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            if card is not None:
                (temporary / "README.md").write_text(card, encoding="utf-8")


def known_tokens(model: SentenceTransformer) -> float:
    """How many tokens have a vector in a model; infinity where that cannot be seen."""
    transformer: Any = model[0]
    try:
        table = transformer.model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return float("inf")
    return table.num_embeddings if isinstance(table, nn.Embedding) else float("inf")


def _first_beyond(texts: Sequence[str], ids: Sequence[Any], known: float) -> str | None:
    """The first text with a token that is not known; None where all are."""
    beyond = (text for text, own in zip(texts, ids, strict=True) if len(own) and own.max() >= known)
    return next(beyond, None)


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def token_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows in batches of at most `batch_tokens` padded tokens, longest first.

    Longest first, so that memory reaches its peak at once and neighbours need little padding.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
