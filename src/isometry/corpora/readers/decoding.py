"""Bytes -> text, whatever the encoding."""

from __future__ import annotations

import codecs
import re
from collections import Counter

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# What begins Japanese in ISO-2022-JP, which is of ASCII's bytes alone, and so UTF-8 as well.
_JAPANESE_MARKS = (b"\x1b$B", b"\x1b$@")

# Without the code pages of mainframes and terminals, which the guess otherwise takes for German.
_IN_USE = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "iso8859_2", "iso8859_5", "iso8859_15", "koi8_r", "mac_roman", "cp437", "cp850", "cp866",
    "cp932", "euc_jp", "cp949", "gb18030", "big5", "tis_620",
]  # fmt: skip

# Of the time before Unicode, for the same languages as cp1252; short texts are taken for them.
_OLD_WESTERN = {"mac_roman", "cp437", "cp850"}


# Languages whose code pages share so many letters with cp1252 that scores cannot tell them: the
# letters beyond ASCII, and those of which each group must be there. In cp1252 the latter are ð, þ
# and ý, which are of Icelandic and Faroese, and others that these lack.
_NATIONAL = [
    ("cp1254", "âçğıİîöşûü", ["ı"]),
    ("cp1257", "ąčęėįšųūž", ["šž", "ąčėū"]),
    ("cp1257", "āčēģīķļņšūž", ["šž", "āčēģīļņū"]),
    ("cp1257", "äõöšüž", ["šž", "õ"]),
]
_FOREIGN = 20  # of so many letters beyond ASCII one may be of another language

# In the first kilobyte of HTML and XML, as browsers look for it.
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
# In a comment in the first or second line: Python's PEP 263, and editors for other languages.
_CODING = re.compile(
    rb"\A(?:[ \t\f]*(?:#[^\r\n]*)?\r?\n)?[ \t\f]*#[^\r\n]*?coding[:=][ \t]*([\w.-]+)"
)
# What pages say, and what they are read as; WHATWG's "Encoding", section 4.2.
_READ_AS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}


def is_binary(data: bytes) -> bool:
    """Whether the first 4 kB hold a NUL, which no text does (UTF-16 with its mark is text)."""
    return b"\0" in data[:4096] and not data.startswith(_UTF16_MARKS)


def detect_encoding(data: bytes) -> str | None:
    """The name of a codec that reads the bytes; `None` where nothing fits.

    UTF-8 and byte order marks are certain. Then counts what HTML, XML or a comment of source code
    declares, where the bytes can be that. Everything else is charset-normalizer's best guess among
    those in use.
    """
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith(_UTF16_MARKS):
        return "utf-16"
    if any(mark in data for mark in _JAPANESE_MARKS) and _reads(data, "iso2022_jp"):
        return "iso2022_jp"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        if _nearly_utf8(data):
            return "utf-8"
        return _declared(data) or _likeliest(data)
    return "utf-8"


def decode(data: bytes) -> str | None:
    r"""The text of a file's bytes with "\n" as its only line end, or `None` when hopeless."""
    if is_binary(data):
        return None
    encoding = detect_encoding(data)
    if encoding is None:
        return None
    text = data.decode(encoding, errors="replace")
    if "\0" in text[:4096]:
        return None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _declared(data: bytes) -> str | None:
    is_markup = data.lstrip().startswith(b"<")
    found = _DECLARED.search(data, 0, 1024) if is_markup else _CODING.match(data, 0, 1024)
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
    except (LookupError, UnicodeDecodeError):
        return None
    name = _READ_AS.get(name, name)
    # What declares itself in bytes of ASCII has no wider units, whatever it says.
    return name if not name.startswith("utf") and _reads(data, name) else None


def _likeliest(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    matches = from_bytes(data, cp_isolation=_IN_USE)
    best = matches.best()
    if best is None:
        return None
    # Western European is by far the most frequent, so that it wins where the scores cannot tell.
    western = (match for match in matches if match.encoding == "cp1252")
    if any((match.chaos, match.coherence) == (best.chaos, best.coherence) for match in western):
        return _national(data) or "cp1252"
    if best.encoding in _OLD_WESTERN and _letters(data, "cp1252") > _letters(data, best.encoding):
        return _national(data) or "cp1252"
    return best.encoding


def _national(data: bytes) -> str | None:
    """The code page of a language whose letters the bytes are, of those that cp1252 resembles."""
    beyond = data.translate(None, bytes(range(128)))
    for encoding, letters, groups in _NATIONAL:
        text = beyond.decode(encoding, errors="replace")
        found = Counter(letter for letter in text if letter.isalpha() or letter == "\ufffd")
        foreign = sum(found[letter] for letter in found.keys() - {*letters, *letters.upper()})
        if _FOREIGN * foreign <= found.total() and all(
            any(found[letter] for letter in group) for group in groups
        ):
            return encoding
    return None


def _letters(data: bytes, encoding: str) -> int:
    """How many characters beyond ASCII are plain letters; the wrong code page gives signs."""
    text = data.decode(encoding, errors="replace")
    return sum(
        character.isalpha() and character not in "ﬁﬂ" for character in text if character > "~"
    )


def _nearly_utf8(data: bytes) -> bool:
    # One bad byte, as concatenated logs and dumps have, must not turn a whole page to mojibake. In
    # other encodings hardly any bytes beyond ASCII happen to be whole characters.
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    return sum(not character.isascii() for character in text) - broken > 2 * broken


def _reads(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeError, LookupError):  # the latter for what is no encoding of text, as "hex"
        return False
    return True
