"""Deterministic embeddings: words and their trigrams, hashed into a unit vector.

Texts that share words are near by cosine, texts that share word stems a little
less, unrelated texts are nearly orthogonal. The same text always gives the
same vector, on every machine.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from math import sqrt

_WORD = re.compile(r"\w+")
_WORD_WEIGHT = 1.0
_TRIGRAM_WEIGHT = 0.25


def features(text: str) -> list[tuple[str, float]]:
    """The hashed parts of a text with their weights."""
    found: list[tuple[str, float]] = []
    for word in _WORD.findall(text.lower()):
        found.append((f"w:{word}", _WORD_WEIGHT))
        framed = f"<{word}>"
        found.extend((f"t:{framed[i : i + 3]}", _TRIGRAM_WEIGHT) for i in range(len(framed) - 2))
    return found


def embed(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 with ``dimensions`` numbers; a text without words gives the first axis."""
    vector = [0.0] * dimensions
    for feature, weight in features(text):
        digest = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "big")
        sign = 1.0 if digest & 1 else -1.0
        vector[(digest >> 1) % dimensions] += sign * weight
    length = sqrt(sum(value * value for value in vector))
    if length == 0.0:
        vector[0] = 1.0
        return vector
    return [value / length for value in vector]
