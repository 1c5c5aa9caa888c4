from __future__ import annotations

import ast
import inspect
import itertools
import shutil
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from isometry.corpora.views.sentences import paragraphs, sentence_spans, sentences


def test_abbreviations_numbers_quotes_and_initials_do_not_end_a_sentence() -> None:
    text = (
        "See e.g. Section 3 of Dr. Smith's work, cf. Fig. 4. It costs 3.14 euros. "
        '"Really?" he asked.  J. R. R. Tolkien wrote it! This runs over\ntwo lines. And ends'
    )
    assert sentences(text) == [
        "See e.g. Section 3 of Dr. Smith's work, cf. Fig. 4.",
        "It costs 3.14 euros.",
        '"Really?" he asked.',
        "J. R. R. Tolkien wrote it!",
        "This runs over two lines.",
        "And ends",
    ]


def test_full_width_marks_end_sentences_without_spaces() -> None:
    text = "机器学习是人工智能。它使用数据！真的吗？「はい。」終わり"
    assert sentences(text) == [
        "机器学习是人工智能。",
        "它使用数据！",
        "真的吗？",
        "「はい。」",
        "終わり",
    ]


def test_lists_code_doctests_fences_and_underlines() -> None:
    text = """Heading
=======

- first item, which
  goes on. And ends.
* second item
    deep continuation

    code = run(this)

>>> print("No. Prose. Here")
No. Prose. Here

1. numbered

```
fenced. Code.
```
.. note:: directive
After all."""
    assert sentences(text) == [
        "Heading",
        "first item, which goes on.",
        "And ends.",
        "second item deep continuation",
        "numbered",
        "After all.",
    ]


def test_the_examples_of_real_docstrings_are_no_sentences() -> None:
    for module in (shutil, subprocess, ast, inspect):
        for value in vars(module).values():
            for sentence in sentences(inspect.getdoc(value) or ""):
                assert not sentence.startswith((">>>", "- ", "* "))
                assert "\n" not in sentence


@given(st.text(alphabet="aB1 .!?\n\t-。`>=()\"'", max_size=80))
def test_spans_are_ordered_disjoint_trimmed_and_hold_words(text: str) -> None:
    spans = sentence_spans(text)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start
    for start, end in spans:
        assert text[start:end] == text[start:end].strip()
        assert any(character.isalnum() for character in text[start:end])


def test_paragraphs_are_what_blank_lines_divide() -> None:
    assert paragraphs("\n a\nb\n  \n\nc\r\n\r\nd") == [" a\nb", "c", "d"]
    assert paragraphs(" \n\n") == []
