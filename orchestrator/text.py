"""Makes text of guests fit for a terminal, XML or HTML.

What a guest prints is not ours: it may hold escape sequences that move the
cursor, retitle the terminal or reorder what is read, NULs, broken UTF-8, and
lines of megabytes. `clean` takes all of that out; quoting for HTML or XML is
still the consumer's work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_SEQUENCE = re.compile(
    r"""
    (?: \x1b[\]PX^_] | [\x90\x98\x9d-\x9f] )      # OSC, DCS, SOS, PM, APC: a string …
        [^\x07\x1b\x9c\n]* (?: \x07 | \x1b\\ | \x9c )?   # … to its end, or the line's when it has none
    | (?: \x1b\[ | \x9b ) [0-?]* [\ -/]* [@-~]?   # CSI: colours, cursor, erasing
    | \x1b [\ -/]* [0-~]?                         # every other escape
    """,
    re.VERBOSE,
)
# C0 without tab and newline, DEL, C1; zero-width and direction marks; characters XML forbids.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\u0085\u2028\u2029]")
_BLANK = re.compile(r"[\n\t]+")


WORD, SENTENCE, TEXT = 200, 2_000, 20_000  # characters of a name, a message, an error


def clean(text: str | bytes, limit: int, *, multiline: bool = False) -> str:
    """``text`` without control sequences and characters, at most ``limit`` characters.

    Args:
        text: bytes are taken as UTF-8, broken parts become ``U+FFFD``.
        limit: a longer text is cut and ends in ``…`` (part of the limit).
        multiline: keep newlines and tabs; otherwise each becomes one space.

    Returns:
        Text of characters that every terminal and XML 1.0 accept. Never raises.
    """
    if limit <= 0:
        return ""
    # Sequences vanish, so read some more than the limit; but never work on megabytes.
    window = limit * 4 + 4096
    cut = len(text) > window
    if cut:
        text = text[:window]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not (text.isascii() and text.isprintable()):
        text = _SEQUENCE.sub("", text)
        text = _LINE_END.sub("\n", text)
        text = _CONTROL.sub("", text)
        text = _SURROGATE.sub("\ufffd", text)
        if not multiline:
            text = _BLANK.sub(" ", text)
    if cut or len(text) > limit:
        return text[: limit - 1] + "…"
    return text


def clean_lines(lines: Iterable[object], *, count: int, limit: int) -> tuple[str, ...]:
    """The last ``count`` lines of ``lines``, each cleaned and at most ``limit`` characters.

    An element that itself spans lines counts as several. When lines were left
    out at the front, the first line says how many.
    """
    flat: list[str] = []
    for element in lines:
        whole = clean(element if isinstance(element, bytes) else str(element), limit * count, multiline=True)
        flat.extend(whole.split("\n"))
    left_out = len(flat) - count
    if left_out > 0:
        flat = [f"… {left_out + 1} earlier lines left out", *flat[left_out + 1 :]]
    return tuple(clean(line, limit) for line in flat)


def json_text(data: object, *, indent: int | None = None) -> str:
    """JSON for our own stdout. A byte that was no UTF-8 (a surrogate, in Python) is an escape: it stays valid."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def duration_text(seconds: float) -> str:
    """Seconds as people read them, limits and measured times alike.

    >>> [duration_text(seconds) for seconds in (0.031, 0.5, 4.25, 30, 132.44, 600, 663, 7200, 3900)]
    ['0.03 s', '0.5 s', '4.2 s', '30 s', '132.4 s', '10 min', '11 min 3 s', '2 h', '1 h 5 min']
    """
    if seconds < 600:
        digits = 2 if 0 < seconds < 0.095 else 1
        number = f"{seconds:.{digits}f}"
        return f"{number.rstrip('0').rstrip('.')} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size_text(size: float) -> str:
    """Bytes as ``512 B``, ``1.5 GiB``."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"


def about(subject: str, words: str) -> str:
    """``words`` with the subject they are about in front, unless they name it."""
    return words if not subject or subject in words else f"{subject}: {words}" if words else subject
