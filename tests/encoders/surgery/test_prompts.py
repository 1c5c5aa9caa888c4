from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from isometry.core.errors import InputError
from isometry.encoders.surgery.prompts import Prompt, prompt_tokens, text_mask
from isometry.encoders.text import TextEncoder

PROMPT = Prompt(query="Instruct: name it\nQuery: ")
TEXTS = ["a small animal", "to run away from something quickly", "x"]


def tokens(minilm: TextEncoder, texts: list[str], limit: int | None = None) -> Any:
    return minilm.collate(texts, "document", tokens=limit)


def kept(minilm: TextEncoder, batch: Any, mask: torch.Tensor) -> list[str]:
    ids = [row[own].tolist() for row, own in zip(batch["input_ids"], mask, strict=True)]
    return minilm.model.tokenizer.batch_decode(ids)


def test_what_is_left_is_the_text_and_what_ends_it(minilm: TextEncoder) -> None:
    batch = tokens(minilm, [PROMPT.query + text for text in TEXTS])
    real = batch["attention_mask"].bool()
    mask = PROMPT.mask(minilm.tokenizer, TEXTS, "query", real)
    assert kept(minilm, batch, mask) == [f"{text} [SEP]" for text in TEXTS]
    # As sentence-transformers counts it, where prompt and text share no token.
    length = minilm.model.preprocess(TEXTS, prompt=PROMPT.query)["prompt_length"]
    counted = real & (torch.arange(real.shape[1]) >= length)
    assert torch.equal(mask, counted)


def test_without_a_prompt_all_tokens_count(minilm: TextEncoder) -> None:
    real = tokens(minilm, TEXTS)["attention_mask"].bool()
    assert torch.equal(PROMPT.mask(minilm.tokenizer, TEXTS, "document", real), real)


def test_every_row_may_have_another_prompt_and_padding_stand_before_it(minilm: TextEncoder) -> None:
    prompts = [PROMPT.query, "Query: ", ""]
    texts = ["x", "a small animal", "a text that is longer than the others with their prompts are"]
    whole = [prompt + text for prompt, text in zip(prompts, texts, strict=True)]
    batch = tokens(minilm, whole)
    real = batch["attention_mask"].bool()
    mask = text_mask(minilm.tokenizer, prompts, texts, real)
    words = [f"{texts[0]} [SEP]", f"{texts[1]} [SEP]", f"[CLS] {texts[2]} [SEP]"]
    assert kept(minilm, batch, mask) == words
    shift = [int((~row).sum()) for row in real]
    turned = torch.stack([row.roll(by) for row, by in zip(real, shift, strict=True)])
    moved = text_mask(minilm.tokenizer, prompts, texts, turned)
    assert min(shift[:2]) > 0
    for row, by in enumerate(shift):
        assert torch.equal(moved[row], mask[row].roll(by))


def test_a_token_across_the_boundary_is_of_the_text() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2, ":": 3, ":b": 4}, [(":", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("|", "removed")  # pyright: ignore[reportArgumentType]
    assert tokenizer.encode("a:bc").tokens == ["a", ":b", "c"]
    assert tokenizer.encode("a:").tokens == ["a", ":"]
    real = torch.ones(1, 3, dtype=torch.bool)
    # The prompt alone has two tokens, of which the second is half the text's.
    assert text_mask(tokenizer, ["a:"], ["bc"], real).tolist() == [[False, True, True]]
    # One that ends where the prompt does is the prompt's.
    assert text_mask(tokenizer, ["a:"], ["c"], real).tolist() == [[False, False, True]]


def test_texts_of_which_nothing_is_left_are_named(minilm: TextEncoder) -> None:
    texts = [*TEXTS, ""]
    real = tokens(minilm, [PROMPT.query + text for text in texts])["attention_mask"].bool()
    with pytest.raises(InputError, match="row 3 is left to pool: it is empty"):
        PROMPT.mask(minilm.tokenizer, texts, "query", real)
    length = minilm.model.preprocess(TEXTS, prompt=PROMPT.query)["prompt_length"]
    cut = tokens(minilm, [PROMPT.query + text for text in TEXTS], length + 1)
    with pytest.raises(InputError, match=r"row 0 .* its prompt fills all the room"):
        PROMPT.mask(minilm.tokenizer, TEXTS, "query", cut["attention_mask"].bool())
    enough = tokens(minilm, [PROMPT.query + text for text in TEXTS], length + 2)
    mask = PROMPT.mask(minilm.tokenizer, TEXTS, "query", enough["attention_mask"].bool())
    assert mask.sum(dim=1).tolist() == [2, 2, 2]


def test_the_room_that_a_prompt_takes_has_no_special_tokens(tiny: TextEncoder) -> None:
    asking = TextEncoder(tiny.model, query_prompt="one two three ", document_prompt="")
    assert prompt_tokens(asking, "query") == 3 and prompt_tokens(asking, "document") == 0
    (asked,), (alone,) = (asking.lengths(["x"], role) for role in ("query", "document"))
    assert asked - alone == 3
