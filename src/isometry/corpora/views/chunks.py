"""Long texts -> windows that fit a model, each under its heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MARKS = frozenset(".!?…؟۔।")
_WIDE_MARKS = frozenset("。！？．")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window of a text.

    Attributes:
        start: The first character of the window in the text.
        end: The character after the last.
        text: The header, a line end, and `text[start:end]`.
    """

    start: int
    end: int
    text: str


class _Encoding(Protocol):
    @property
    def offsets(self) -> Sequence[tuple[int, int]]: ...


class Encoder(Protocol):
    """What `chunk` needs of a `tokenizers.Tokenizer`."""

    def encode(self, sequence: str, /, *, add_special_tokens: bool) -> _Encoding:
        """Tokens with their character offsets."""
        ...


def untruncated(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither cuts nor pads, as `chunk` needs it; make it once, not for each text."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def chunk(
    text: str, header: str, tokenizer: Encoder, tokens: int, stride: int, special: int = 2
) -> list[Chunk]:
    """Cuts a text into windows of at most `tokens` tokens, header and special tokens included.

    Consecutive windows share about `stride` tokens. A window ends at the last line or sentence end
    in its last quarter, where there is one. Every character that belongs to a token is in a window,
    and a text that fits is one window. The text is encoded once, and each window once more, since
    a piece of a word may need more tokens than it did within the word.

    Args:
        text: Any text; one without tokens gives one window.
        header: A heading path; cut to a third of the room.
        tokenizer: A tokenizer without truncation and padding (see `untruncated`).
        tokens: The most tokens that the model takes.
        stride: How many tokens a window repeats of the one before; at most half a window.
        special: How many tokens the model puts around a text.

    Returns:
        The windows in order.

    Raises:
        ValueError: When the tokenizer truncates or pads, when there is no room for three tokens, or
            when `stride` is negative.
    """
    if getattr(tokenizer, "truncation", None) or getattr(tokenizer, "padding", None):
        raise ValueError("The tokenizer truncates or pads; pass untruncated(tokenizer).")
    budget = tokens - special
    if budget < 3 or stride < 0:
        raise ValueError(f"No windows of {tokens} tokens, {special} special, stride {stride}.")
    header = _cut(" ".join(header.split()), tokenizer, budget // 3)
    offsets = [span for span in _offsets(text, tokenizer) if span[0] < span[1]]
    if not offsets:
        return [Chunk(0, len(text), _join(header, text))]
    room = budget - len(_offsets(header + "\n", tokenizer)) if header else budget
    chunks: list[Chunk] = []
    first = 0
    while True:
        last = min(first + room, len(offsets))
        if last < len(offsets):
            last = _boundary(text, offsets, first, last)
        while True:
            while first + 1 < last < len(offsets) and offsets[last][0] < offsets[last - 1][1]:
                last -= 1  # tokens of bytes: the cut was inside a character
            start, end = offsets[first][0], offsets[last - 1][1]
            piece = _join(header, text[start:end])
            excess = len(_offsets(piece, tokenizer)) - budget
            if excess <= 0 or last == first + 1:
                break
            last = max(first + 1, last - excess)
        chunks.append(Chunk(start, end, piece))
        if last == len(offsets):
            return chunks
        first = last - min(stride, (last - first) // 2)


def _offsets(text: str, tokenizer: Encoder) -> Sequence[tuple[int, int]]:
    return tokenizer.encode(text, add_special_tokens=False).offsets


def _join(header: str, text: str) -> str:
    return f"{header}\n{text}" if header else text


def _cut(header: str, tokenizer: Encoder, most: int) -> str:
    """The longest beginning, in tokens of the whole, that has at most so many tokens alone."""
    offsets = _offsets(header, tokenizer)
    for keep in range(min(most, len(offsets)), 0, -1):
        beginning = header[: offsets[keep - 1][1]]
        if len(_offsets(beginning, tokenizer)) <= most:
            return beginning
    return ""


def _boundary(text: str, offsets: Sequence[tuple[int, int]], first: int, last: int) -> int:
    """The last line or sentence end in the last quarter of a window, else its end."""
    for cut in range(last, last - max(1, (last - first) // 4), -1):
        start, end = offsets[cut - 1]
        following = text[end : offsets[cut][0] + 1]
        if "\n" in text[start : offsets[cut][0]] or text[end - 1] in _WIDE_MARKS:
            return cut
        if text[end - 1] in _MARKS and following[:1].isspace():
            return cut
    return last
