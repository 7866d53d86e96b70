"""The timeline of a run in the formats of other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.report import chrome
from orchestrator.report.cast import cast_lines
from orchestrator.report.fold import fold
from orchestrator.report.lines import FILE as LINES
from orchestrator.report.lines import timeline_lines
from orchestrator.report.otlp import otlp_text
from orchestrator.timeline.model import Timeline
from orchestrator.timeline.read import on_axis, read_timeline
from orchestrator.vm.arrivals import read_arrivals


def _trace(run_folder: Path, timeline: Timeline) -> list[Path]:
    path = run_folder / chrome.FILE
    chrome.write(fold(on_axis(timeline)), timeline, path)
    return [path]


def _otlp(run_folder: Path, timeline: Timeline) -> list[Path]:
    path = run_folder / "otlp.json"
    write_atomically(path, otlp_text(fold(on_axis(timeline)), timeline), mode=0o644)
    return [path]


def _lines(run_folder: Path, timeline: Timeline) -> list[Path]:
    path = run_folder / LINES
    write_atomically(path, "".join(timeline_lines(timeline)), mode=0o644)
    return [path]


def _casts(run_folder: Path, timeline: Timeline) -> list[Path]:
    written = []
    for console in sorted(run_folder.glob("machines/*/serial.log")):
        arrivals = read_arrivals(console)
        if any(at is not None for at in arrivals.times):
            path = console.with_name("console.cast")
            lines = cast_lines(console.read_bytes(), arrivals, timeline.axis, f"console of {console.parent.name}")
            write_atomically(path, "".join(lines), mode=0o644)
            written.append(path)
    return written


FORMATS: dict[str, Callable[[Path, Timeline], list[Path]]] = {
    "trace": _trace,
    "otlp": _otlp,
    "lnav": _lines,
    "asciicast": _casts,
}


def export(run_folder: Path, format_: str) -> list[Path]:
    """Write a run in another format, into its folder; the files.

    Raises:
        OSError: it cannot be read or written.
    """
    return FORMATS[format_](run_folder, read_timeline(run_folder))
