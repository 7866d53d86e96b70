"""``orchestrator why``: the story of a failure in twenty lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.cli.progress_failure import use_color
from orchestrator.cli.report import run_folder
from orchestrator.errors import HostError
from orchestrator.text import clean, duration_text, json_text
from orchestrator.timeline.model import Entry, Severity
from orchestrator.timeline.read import read_timeline
from orchestrator.timeline.story import Story, tell

WIDTH = 110  # characters of a line's text
_RED, _YELLOW, _BOLD, _DIM = "31", "33", "1", "2"


def run(arguments: argparse.Namespace) -> int:
    folder = run_folder(arguments.run, arguments.runs)
    try:
        timeline = read_timeline(folder)
    except OSError as error:
        raise HostError("the run cannot be read", why=str(error), where=[str(folder)]) from error
    story = tell(timeline, shown_path(folder))
    if arguments.json:
        sys.stdout.write(json_text(as_json(story, timeline.started), indent=2) + "\n")
        return 0
    color = use_color(sys.stdout, False if arguments.no_color else None)
    for line in render(story, color):
        sys.stdout.write(line + "\n")
    return 0


def shown_path(folder: Path) -> str:
    """A path as a person would type it."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


def render(story: Story, color: bool) -> Iterator[str]:
    """The lines of the story, at most twenty."""

    def paint(text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if color else text

    trouble, cause = story.trouble, story.cause
    failed = f", {story.failures} tests failed" if story.failures > 1 else ""
    yield paint(f"{Path(story.run_folder).name}: {story.outcome}{failed}", _BOLD)
    if trouble is None:
        yield "nothing failed that was told"
        return
    yield f"{_clock(trouble.noticed)} {clean(trouble.text, WIDTH + 50)}"
    if cause.entry is None:
        yield "no other trouble was seen before it: the failure is its own first sign"
    else:
        ahead = duration_text(max(0.0, trouble.noticed - cause.entry.at))
        word = "first cause" if cause.sure else "first sign of trouble"
        where = " · ".join(part for part in (cause.entry.machine, cause.service) if part)
        yield paint(f"{word}, {ahead} earlier{f', on {where}' if where else ''}:", _BOLD)
        yield f"  {clean(cause.entry.text, WIDTH + 50)}"
        if len(story.way) > 1:
            yield f"  needed by: {' ← '.join(reversed(story.way))}"
    if story.lines:
        yield ""
        names = max(len(entry.machine) for entry in story.lines)
        for entry in story.lines:
            mark = ">" if entry is cause.entry else " "
            text = f"{mark} {_clock(entry.at)} {entry.machine:{names}} {entry.source:7} {clean(entry.text, WIDTH)}"
            yield paint(text, _code(entry, entry is cause.entry)) if color else text
    yield ""
    yield from story.commands


def _code(entry: Entry, first: bool) -> str:
    code = _RED if entry.severity >= Severity.ERROR else _YELLOW if entry.severity is Severity.WARNING else _DIM
    return f"{_BOLD};{code}" if first else code


def _clock(at: float) -> str:
    """The host's time of day at a point of the axis."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def as_json(story: Story, started: float) -> dict[str, Any]:
    """The story for programs; all times are seconds since the run began."""

    def entry(one: Entry | None) -> dict[str, Any] | None:
        if one is None:
            return None
        return {
            "t": round(one.at - started, 3),
            "margin": round(one.margin, 3),
            "machine": one.machine,
            "source": one.source,
            "name": one.name,
            "severity": one.severity.word,
            "text": one.text,
        }

    trouble = story.trouble
    return {
        "run_folder": story.run_folder,
        "outcome": story.outcome,
        "failed_tests": story.failures,
        "failure": None
        if trouble is None
        else {"t": round(trouble.noticed - started, 3), "text": trouble.text, "test": trouble.test or None},
        "cause": entry(story.cause.entry),
        "cause_service": story.cause.service or None,
        "cause_is_sure": story.cause.sure,
        "needed_by": list(story.way),
        "lines": [entry(one) for one in story.lines],
        "commands": list(story.commands),
    }
