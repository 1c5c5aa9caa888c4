"""Whether a text is the words that were asked for."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_scores(
    found: Sequence[str], right: Sequence[Sequence[str]]
) -> dict[str, Float[np.ndarray, " answers"]]:
    """SQuAD 2's `exact` and `f1` of every answer, from 0 to 1, with the best of its right ones.

    Rajpurkar et al. 2016, section 6, and 2018, section 5: case, punctuation and articles do not
    count; `f1` is over words. No answer, "", is right where there is no right one, and only there.

    Args:
        found: The answers; "" for none.
        right: The right answers of each; none where there is no answer.

    Raises:
        ValueError: When there are not as many of both.
    """
    scores = [
        [max(pair) for pair in zip(*(_scores(answer, one) for one in own or [""]), strict=True)]
        for answer, own in zip(found, right, strict=True)
    ]
    exact, f1 = np.array(scores, dtype=np.float64).reshape(-1, 2).T
    return {"exact": exact, "f1": f1}


def _scores(answer: str, right: str) -> tuple[float, float]:
    one, other = (_words(text) for text in (answer, right))
    if not one or not other:
        return float(one == other), float(one == other)
    common = sum((Counter(one) & Counter(other)).values())
    return float(one == other), 2 * common / (len(one) + len(other))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
