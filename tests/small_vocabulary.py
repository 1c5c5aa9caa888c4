"""How many words the models of tests know."""

from __future__ import annotations

# To read, copy and write all 30,522 of MiniLM takes longer than what most tests do with them. The
# first ones are special, then come characters, then words and pieces by their frequency.
WORDS = 8192
