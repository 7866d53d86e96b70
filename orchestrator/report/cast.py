"""A machine's console as asciicast v2, which asciinema and its web player play at the speed at which it was. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from orchestrator.timeline.model import Axis
from orchestrator.vm.arrivals import Arrivals

COLUMNS, ROWS = 120, 36


def cast_lines(content: bytes, arrivals: Arrivals, axis: Axis, title: str) -> Iterator[str]:
    """The lines of a ``.cast`` file, with their newlines; what came while nobody looked is left out.

    Args:
        content: of ``serial.log``.
    """
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "timestamp": round(axis.origin), "title": title}
    yield json.dumps(header) + "\n"
    start, rest = 0, b""
    for size, at in zip(arrivals.sizes, arrivals.times, strict=True):
        piece, start = content[start:size], size
        if at is None:
            rest = b""
            continue
        # A character of several bytes may be cut in two.
        text = (rest + piece).decode("utf-8", "surrogateescape")
        whole = text.rstrip("".join(chr(0xDC80 + n) for n in range(0x80)))
        rest = text[len(whole) :].encode("utf-8", "surrogateescape")[-3:]
        shown = whole.encode("utf-8", "replace").decode("utf-8")
        if shown:
            yield json.dumps([round(axis.of_monotonic(at) - axis.origin, 6), "o", shown]) + "\n"
