"""Regular expressions of users, over text that nobody vouches for.

Python's own engine tries every way to match: `(a+)+$b` over a hundred thousand
letters keeps the whole program for ever, and no limit and no signal ends it.
RE2 reads a text once, whatever the expression. What is left to bound is the
size of its program and of the text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

PROGRAM_LIMIT = 2000  # instructions; the text of TEXT_LIMIT then takes seconds at the very most
TEXT_LIMIT = 128 << 10  # bytes that are searched
LINE_LIMIT = 4096  # bytes of a line that are searched where nobody waits for a thread


class PatternError(ValueError):
    """An expression that cannot be used; the text says why."""


def check(pattern: str) -> None:
    """Refuse what RE2 does not know, or what is too large.

    Raises:
        PatternError: in words for people.
    """
    size = _compiled(pattern).programsize
    if size > PROGRAM_LIMIT:
        raise PatternError(f"it is too large ({size} instructions of RE2, at most {PROGRAM_LIMIT})")


def found(pattern: str, text: str, limit: int = TEXT_LIMIT) -> bool:
    """Whether an expression that `check` let pass is found in the first ``limit`` bytes of the text.

    Raises:
        PatternError: it did not, and RE2 does not know it.
    """
    return _compiled(pattern).search(text[:limit].encode("utf-8", "replace")[:limit]) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    import re2  # only where somebody uses one

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        raise PatternError(_explained(error)) from error


_NOT_IN_RE2 = (
    ("invalid perl operator: (?=", "RE2 has no look-ahead (?=…)"),
    ("invalid perl operator: (?!", "RE2 has no look-ahead (?!…)"),
    ("invalid perl operator: (?<", "RE2 has no look-behind (?<=…), (?<!…)"),
    ("invalid perl operator: (?>", "RE2 has no atomic groups (?>…)"),
    ("invalid perl operator: (?P", "RE2 has no back references (?P=name)"),
    ("invalid perl operator: (?#", "RE2 has no comments (?#…)"),
    ("invalid perl operator: (?(", "RE2 has no conditions (?(1)…)"),
    ("invalid escape sequence: \\Z", "RE2 writes the end of the text as \\z, not \\Z"),
    ("pattern too large", f"it is too large (at most {PROGRAM_LIMIT} instructions of RE2)"),
)


def _explained(error: Exception) -> str:
    """RE2's message in words for people."""
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    for start, words in _NOT_IN_RE2:
        if text.startswith(start):
            return words
    if text.startswith("invalid repetition size"):
        return f"{text} (RE2 repeats a thing at most 1000 times, repetitions inside each other multiplied)"
    if text.startswith("invalid escape sequence: \\") and text[-1:].isdigit():
        return f"RE2 has no back references ({text[-2:]})"
    return text
