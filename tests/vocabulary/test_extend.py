from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_vocabulary import WORDS
from tokenizers import processors

from isometry.core.errors import InputError
from isometry.encoders.surgery.first_token import with_first_token
from isometry.encoders.text import TextEncoder
from isometry.vocabulary.extend import extend, token_id

NAMES = ["[numpy]", "[scipy]"]
TEXTS = ["Compute the sum.", "a path [numpy] of a file"]


@pytest.fixture
def tiny(growing: TextEncoder) -> TextEncoder:
    return growing


def body(encoder: TextEncoder) -> Any:
    transformer: Any = encoder.model[0]
    return transformer.model


def extended(encoder: TextEncoder) -> TextEncoder:
    extend(encoder.model.tokenizer, NAMES, copy_from="[CLS]", model=body(encoder))
    return TextEncoder(encoder.model, encoder.name)


def test_new_rows_are_copies_behind_the_old_ones(tiny: TextEncoder) -> None:
    tokenizer = tiny.model.tokenizer
    old = body(tiny).get_input_embeddings().weight.detach().clone()
    known = tokenizer.get_vocab()
    extended(tiny)
    new = body(tiny).get_input_embeddings().weight
    assert torch.equal(new[: len(old)], old)
    assert torch.equal(new[len(old) :], old[[101, 101]])
    assert body(tiny).config.vocab_size == len(old) + 2
    assert tokenizer.get_vocab().items() >= known.items()
    assert [token_id(tokenizer, name) for name in NAMES] == [WORDS, WORDS + 1]


def test_a_text_is_not_cut_within_a_new_token(tiny: TextEncoder) -> None:
    before = tiny.model.tokenizer.tokenize("a [numpy] b")
    extended(tiny)
    assert len(before) > 3
    assert tiny.model.tokenizer.tokenize("a [numpy] b") == ["a", "[numpy]", "b"]


def test_rows_beyond_the_tokenizer_are_used_and_tied_tables_stay_tied(tiny: TextEncoder) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=WORDS + 8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    extend(tiny.model.tokenizer, NAMES, copy_from="[CLS]", model=model)
    table = model.get_input_embeddings().weight
    assert table.shape[0] == WORDS + 8 and model.get_output_embeddings().weight is table
    assert torch.equal(table[WORDS : WORDS + 2], table[[101, 101]])


@pytest.mark.parametrize("pieces", [["[numpy]", "[numpy]"], ["path"], [" "]])
def test_known_and_repeated_tokens_are_refused(tiny: TextEncoder, pieces: list[str]) -> None:
    with pytest.raises(InputError, match="already"):
        extend(tiny.model.tokenizer, pieces, copy_from="[CLS]", model=body(tiny))
    assert len(tiny.model.tokenizer) == WORDS


def test_absent_and_divided_tokens_are_named(tiny: TextEncoder) -> None:
    with pytest.raises(InputError, match=r"no token '\[numpy\]'"):
        token_id(tiny.model.tokenizer, "[numpy]")
    with pytest.raises(InputError, match=r"no token '\[nope\]'"):
        extend(tiny.model.tokenizer, NAMES, copy_from="[nope]", model=body(tiny))
    # In the vocabulary, and yet never met: a text is lower-cased before it is cut.
    tiny.model.tokenizer.add_tokens(["[Mixed]"], special_tokens=False)
    piece = "##ing"
    assert piece in tiny.model.tokenizer.get_vocab()
    with pytest.raises(InputError, match=f"cuts '{piece}' into"):
        token_id(tiny.model.tokenizer, piece)


def test_the_first_token_is_the_domains_and_changes_nothing_before_training(
    tiny: TextEncoder,
) -> None:
    plain = tiny.encode(TEXTS[:1])
    encoder = extended(tiny)
    seen = with_first_token(encoder, "[scipy]")
    assert seen.tokenizer.encode("a path").tokens == ["[scipy]", "a", "path", "[SEP]"]
    assert seen.collate(["a path"], "query")["input_ids"][0, 0] == WORDS + 1
    np.testing.assert_array_equal(seen.encode(TEXTS[:1]), plain)
    # The other view stays, and weights are one and the same.
    assert encoder.tokenizer.encode("a path").tokens[0] == "[CLS]"
    with torch.no_grad():
        body(encoder).get_input_embeddings().weight[WORDS + 1] *= -1
    assert np.abs(seen.encode(TEXTS[:1]) - plain).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode(TEXTS[:1]), plain)


def test_a_saved_view_begins_with_its_token_in_plain_sentence_transformers(
    tiny: TextEncoder, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = extended(tiny)
    with torch.no_grad():
        body(encoder).get_input_embeddings().weight[WORDS + 1] *= -1
    seen = with_first_token(encoder, "[scipy]")
    seen.save(tmp_path / "model")
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    found = plain.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(found, seen.encode(TEXTS), atol=1e-6)
    assert np.abs(found - encoder.encode(TEXTS)).max() > 1e-3


def test_a_first_token_that_is_not_there_is_refused(tiny: TextEncoder) -> None:
    with pytest.raises(InputError, match=r"no token '\[numpy\]'"):
        with_first_token(tiny, "[numpy]")


def test_the_second_of_two_texts_is_still_told_apart(tiny: TextEncoder) -> None:
    seen = with_first_token(extended(tiny), "[scipy]").tokenizer.encode("a path", "x")
    assert seen.tokens == ["[scipy]", "a", "path", "[SEP]", "x", "[SEP]"]
    assert seen.type_ids == [0, 0, 0, 0, 1, 1]


def test_texts_that_do_not_stand_between_two_tokens_get_no_other_first_one(
    growing: TextEncoder,
) -> None:
    growing.model.tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    with pytest.raises(InputError, match=r"does not put texts between \[CLS\] and \[SEP\]"):
        with_first_token(growing, "[MASK]")
