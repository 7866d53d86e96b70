"""A failure as one screen of text: cause, why, evidence, where, what to type next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

from orchestrator.text import clean, clean_lines

EVIDENCE_LINES = 12
MANY = 200
USAGE = 2  # the exit code of what is wrong in a file or on the command line
_LINE = 400
_RED, _BOLD, _DIM, _CYAN, _OFF = "\x1b[1;31m", "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


def use_color(stream: TextIO, color: bool | None) -> bool:
    """Whether to colour: as asked, else for a terminal unless NO_COLOR or TERM=dumb forbid it."""
    if color is not None:
        return color
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") != "dumb"
    except (AttributeError, ValueError):  # closed, or not a real stream
        return False


def render_failure(error: Mapping[str, object], color: bool) -> str:
    """The explanation of an `OrchestratorError`, ready to print; ends in a newline.

    Args:
        error: `OrchestratorError.as_dict` or the data of a ``failure`` event; odd
            values are shown as far as possible.
        color: with ANSI colours.
    """

    def paint(code: str, value: str) -> str:
        return f"{code}{value}{_OFF}" if color and value else value

    what = clean(str(error.get("what") or "an error that was not described"), _LINE)
    lines = [paint(_RED, f"error: {what}")]
    why = clean_lines([error.get("why") or ""], count=8, limit=_LINE)
    lines += [paint(_BOLD, line) if i == 0 else line for i, line in enumerate(_labelled("why:", why))]
    # Of a log the end counts; of the problems of a file each one.
    count = MANY if error.get("exit_code") == USAGE else EVIDENCE_LINES
    evidence = clean_lines(_listed(error.get("evidence")), count=count, limit=_LINE)
    lines += [paint(_DIM, "  │ ") + line for line in evidence]
    lines += _labelled("where:", clean_lines(_listed(error.get("where")), count=6, limit=_LINE))
    hint = clean_lines([error.get("hint") or ""], count=4, limit=_LINE)
    lines += [paint(_CYAN, line) for line in _labelled("next:", hint)]
    return "\n".join(lines) + "\n"


def _labelled(label: str, values: tuple[str, ...]) -> list[str]:
    if not any(values):
        return []
    return [f"  {label if i == 0 else '':<6} {value}" for i, value in enumerate(values)]


def _listed(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value[-MANY:])
    return [value] if value else []
