"""``timeline.jsonl``: the entries of a run in their order, one JSON object a line, with a format file for lnav."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from orchestrator.events import utc_text
from orchestrator.text import json_text
from orchestrator.timeline.model import Severity, Timeline

FILE = "timeline.jsonl"
_LEVELS = {Severity.DEBUG: "debug", Severity.INFO: "info", Severity.WARNING: "warning", Severity.ERROR: "error"}


def timeline_lines(timeline: Timeline) -> Iterator[str]:
    """The lines, with their newlines: time of day, seconds of the run, machine, source, name, level, text. Pure."""
    for entry in timeline.entries:
        record = {
            "time": utc_text(entry.at),
            "t": round(entry.at - timeline.started, 6),
            "level": _LEVELS.get(entry.severity, "fatal"),
            "source": entry.source,
            "machine": entry.machine,
            "name": entry.name,
            "margin": round(entry.margin, 6),
            "text": entry.text,
        }
        yield json_text(record) + "\n"


def lnav_folder() -> Path:
    """The folder to give lnav as ``-I``: it has the format of these lines."""
    return Path(str(files("orchestrator.report") / "lnav"))
