from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.corpora.views import masking
from isometry.corpora.views.masking import IGNORED, mask_units, word_units
from isometry.encoders.text import TextEncoder
from isometry.evaluation.retention import gloss_texts

MASK = 3
RANDOM = np.arange(1000, 1100)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mask(ids: Any, maskable: Any = None, p: float = 0.15, seed: int = 0, **options: Any) -> Any:
    ids = np.asarray(ids)
    maskable = np.ones_like(ids, dtype=bool) if maskable is None else np.asarray(maskable)
    settings = {"mask_id": MASK, "generator": rng(seed), "random_ids": RANDOM, **options}
    return mask_units(ids, maskable, p, **settings)


def read(encoder: TextEncoder, texts: list[str]) -> tuple[Any, Any, Any]:
    """Ids, where there is text, and words."""
    batch: Any = encoder.collate(texts, "document", tokens=64)
    special = np.array([row.special_tokens_mask for row in batch.encodings], dtype=bool)
    return batch["input_ids"].numpy(), ~special, word_units([r.word_ids for r in batch.encodings])


@pytest.fixture(scope="module")
def glosses(tiny_original: TextEncoder) -> tuple[Any, Any, Any]:
    return read(tiny_original, gloss_texts()[:600:2])


def test_single_tokens_reach_the_share_in_each_row() -> None:
    ids = np.arange(100, 400).reshape(3, 100)
    maskable = np.ones_like(ids, dtype=bool)
    maskable[1, 40:] = False
    maskable[2] = False
    masked, labels = mask(ids, maskable, 0.15)
    assert (labels != IGNORED).sum(axis=1).tolist() == [15, 6, 0]
    assert not (labels[~maskable] != IGNORED).any()
    targets = labels != IGNORED
    assert (labels[targets] == ids[targets]).all()
    assert (masked[~targets] == ids[~targets]).all()


def test_what_is_given_stays_as_it_is() -> None:
    ids = np.arange(100, 140).reshape(2, 20)
    maskable = np.ones_like(ids, dtype=bool)
    kept = ids.copy()
    mask(ids, maskable, 0.5)
    assert (ids == kept).all() and maskable.all()


def test_targets_are_hidden_swapped_or_left_in_the_given_shares() -> None:
    ids = np.arange(10_000, 50_000).reshape(40, 1000)
    for shares in ((0.8, 0.1, 0.1), (0.5, 0.3, 0.2)):
        masked, labels = mask(ids, p=0.5, shares=shares)
        targets = labels != IGNORED
        n = targets.sum()
        assert n == 20_000
        hidden, left = (masked == MASK) & targets, (masked == ids) & targets
        swapped = targets & ~hidden & ~left
        assert np.isin(masked[swapped], RANDOM).all()
        for share, part in zip(shares, (hidden, swapped, left), strict=True):
            # Within five standard deviations.
            assert abs(part.sum() - share * n) < 5 * (share * (1 - share) * n) ** 0.5
        assert len(np.unique(masked[swapped])) == len(RANDOM)


def test_a_share_of_one_is_all() -> None:
    ids = np.arange(100, 300).reshape(2, 100)
    for shares, expected in (((1.0, 0.0, 0.0), MASK), ((0.0, 1.0, 0.0), 7)):
        masked, labels = mask(ids, p=0.4, shares=shares, random_ids=np.array([7]))
        assert (masked[labels != IGNORED] == expected).all()
    assert (mask(ids, p=0.4, shares=(0.0, 0.0, 1.0))[0] == ids).all()
    masked, labels = mask(ids, p=0.4, shares=(1.0, 0.0, 0.0), random_ids=None)
    assert (masked[labels != IGNORED] == MASK).all()


def test_every_position_is_equally_likely() -> None:
    ids = np.tile(np.arange(100, 110), (4000, 1))
    _, labels = mask(ids, p=0.3)
    share = (labels != IGNORED).mean(axis=0)
    assert np.abs(share - 0.3).max() < 5 * (0.3 * 0.7 / 4000) ** 0.5


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    p=st.floats(0.05, 0.9),
    seed=st.integers(0, 1000),
    most=st.one_of(st.none(), st.integers(1, 10)),
)
def test_units_are_masked_whole_and_fill_the_share(
    lengths: list[int], p: float, seed: int, most: int | None
) -> None:
    units = np.repeat(np.arange(len(lengths)), lengths)[None]
    ids = np.arange(100, 100 + units.size)[None]
    _, labels = mask(ids, p=p, seed=seed, units=units, most=most)
    targets = (labels != IGNORED)[0]
    taken = [targets[units[0] == unit] for unit in range(len(lengths))]
    assert all(part.all() or not part.any() for part in taken)
    room = min(max(1, round(p * units.size)), most or units.size)
    left = [lengths[unit] for unit, part in enumerate(taken) if not part.any()]
    if targets.sum() > room:
        # Every word is longer than the room: one of the shortest.
        assert targets.sum() == min(lengths) <= (most or units.size)
    elif targets.any():
        # No word that would still fit is passed over.
        assert not left or targets.sum() + min(left) > room
    else:
        assert most is not None and min(lengths) > most


def test_a_unit_is_masked_together_even_when_it_stands_apart() -> None:
    # An n-gram with a gap, beside two words.
    units = np.array([[5, 0, 5, 1, 1, -1]])
    seen = set()
    for seed in range(30):
        _, labels = mask(np.arange(100, 106)[None], p=0.4, seed=seed, units=units)
        seen.add(tuple((labels != IGNORED)[0].astype(int).tolist()))
    # 0.4 of five: two tokens. Without a unit there is no target.
    assert seen == {(1, 0, 1, 0, 0, 0), (0, 0, 0, 1, 1, 0)} | (seen & {(0, 1, 0, 0, 0, 0)})
    assert len(seen) >= 2


def test_positions_that_cannot_be_masked_are_left_out_of_their_unit() -> None:
    units = np.zeros((1, 4), dtype=int)
    maskable = np.array([[True, False, True, True]])
    _, labels = mask(np.arange(100, 104)[None], maskable, p=0.9, units=units)
    assert (labels != IGNORED).tolist() == maskable.tolist()


def test_words_are_those_of_the_tokenizer(tiny_original: TextEncoder) -> None:
    ids, text, words = read(tiny_original, ["Unbelievably isometric!", "a"])
    tokens = tiny_original.model.tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert " ".join(tokens) == "[CLS] un ##be ##li ##ev ##ab ##ly is ##om ##et ##ric ! [SEP]"
    assert words[0].tolist() == [-1, *[0] * 6, *[1] * 4, 2, -1]
    assert words[1].tolist() == [-1, 0, *[-1] * 11]
    assert text.tolist() == (words >= 0).tolist()
    with pytest.raises(ValueError, match="length"):
        word_units([[None, 0], [None]])


def test_whole_words_of_real_text_stay_whole(glosses: tuple[Any, Any, Any]) -> None:
    from transformers import DataCollatorForLanguageModeling

    ids, text, words = glosses
    masked, labels = mask(ids, text, 0.15, units=words)
    targets = labels != IGNORED
    # The peer marks every token of a word of which one is marked.
    whole = DataCollatorForLanguageModeling._whole_word_mask(words, targets)
    assert (whole == targets).all()
    # And words of several pieces are among them, which single tokens would break.
    alone = mask(ids, text, 0.15)[1] != IGNORED
    assert not (DataCollatorForLanguageModeling._whole_word_mask(words, alone) == alone).all()
    assert not targets[~text].any() and (masked[~text] == ids[~text]).all()
    assert targets.any(axis=1).all()
    assert targets.sum() / text.sum() == pytest.approx(0.15, abs=0.01)


def test_masks_nest_and_keep_their_shares(glosses: tuple[Any, Any, Any]) -> None:
    ids, text, words = glosses
    generator = rng()
    _, outer = mask(ids, text, 0.4, units=words, generator=generator)
    _, inner = mask(ids, text, 0.2, units=words, generator=generator, within=outer != IGNORED)
    decoder, encoder = outer != IGNORED, inner != IGNORED
    assert not (encoder & ~decoder).any()
    assert encoder.any(axis=1).all()
    # The shares of Starbucks' SMAE, both of the whole text.
    assert decoder.sum() / text.sum() == pytest.approx(0.4, abs=0.01)
    assert encoder.sum() / text.sum() == pytest.approx(0.2, abs=0.01)
    # Two that are drawn apart do not nest.
    _, apart = mask(ids, text, 0.2, units=words, generator=generator)
    assert ((apart != IGNORED) & ~decoder).any()


def test_a_unit_that_lies_in_a_mask_only_in_part_is_not_within() -> None:
    units = np.array([[0, 0, 1, 1]])
    within = np.array([[True, False, True, True]])
    for seed in range(10):
        _, labels = mask(np.arange(100, 104)[None], p=0.5, seed=seed, units=units, within=within)
        assert (labels != IGNORED).tolist() == [[False, False, True, True]]
    nothing = mask(np.arange(100, 104)[None], p=0.5, units=units, within=within & False)
    assert (nothing[1] == IGNORED).all()


def test_at_most_so_many_targets_a_row(glosses: tuple[Any, Any, Any]) -> None:
    ids, text, words = glosses
    _, labels = mask(ids, text, 0.9, units=words, most=3)
    counts = (labels != IGNORED).sum(axis=1)
    assert counts.max() == 3 and counts.min() >= 1


def test_only_the_document_of_a_pair_is_masked(tiny_original: TextEncoder) -> None:
    # PROP (page, step 5 and 6): [CLS] S [SEP] D [SEP], the set never masked, at most 60 targets.
    pair = tiny_original.model.tokenizer(
        ["model language"], ["the query likelihood model of a document " * 20], return_tensors="np"
    )
    document = pair["token_type_ids"].astype(bool) & (pair["input_ids"] != 102)
    words = word_units([row.word_ids for row in pair.encodings])
    for seed in range(5):
        masked, labels = mask(pair["input_ids"], document, 0.9, seed=seed, units=words, most=60)
        assert (labels != IGNORED).sum() == 60
        assert not (labels != IGNORED)[~document].any()
        assert (masked == pair["input_ids"])[~document].all()


def test_the_generator_alone_decides(glosses: tuple[Any, Any, Any]) -> None:
    ids, text, words = glosses
    once = mask(ids, text, units=words, seed=1)
    np.random.seed(5)
    again = mask(ids, text, units=words, seed=1)
    other = mask(ids, text, units=words, seed=2)
    assert all((a == b).all() for a, b in zip(once, again, strict=True))
    assert (once[1] != other[1]).any()


def test_padding_changes_nothing(glosses: tuple[Any, Any, Any]) -> None:
    ids, text, words = (part[:20] for part in glosses)
    wide = [
        np.pad(part, ((0, 0), (0, 9)), constant_values=fill)
        for part, fill in ((ids, 0), (text, False), (words, -1))
    ]
    narrow = mask(ids, text, units=words)
    padded = mask(wide[0], wide[1], units=wide[2])
    for a, b in zip(narrow, padded, strict=True):
        assert (a == b[:, : ids.shape[1]]).all()
    # Or without words.
    for a, b in zip(mask(ids, text), mask(wide[0], wide[1]), strict=True):
        assert (a == b[:, : ids.shape[1]]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"p": 0.0},
        {"p": 1.0},
        {"p": -0.1},
        {"most": 0},
        {"shares": (0.8, 0.1, 0.2)},
        {"shares": (1.2, -0.2, 0.0)},
        {"random_ids": None},
        {"random_ids": np.array([], dtype=int)},
    ],
)
def test_wrong_settings_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"p must|most must|shares must|random_ids"):
        mask(np.arange(100, 110)[None], **wrong)


def test_the_example_in_the_docstring() -> None:
    result = doctest.testmod(masking)
    assert result.attempted > 0 and result.failed == 0
