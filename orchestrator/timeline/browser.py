"""What a browser did in a test, from the runner's ``trace.zip``: steps, errors of its console, requests that failed.

A trace has monotonic times in milliseconds, and once in each of its files the time of day that belongs to one of them.
Both are of the machine that the browser runs in. Types of lines that are not known are left out; a newer format is
read as far as it is understood.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.fields import SENTENCE, number, text, whole
from orchestrator.text import clean
from orchestrator.timeline.clocks import GuestClocks
from orchestrator.timeline.model import Entry, Severity, Source

LINE_BYTES = 1 << 20
LINES = 50_000  # of one file
STEPS = 2_000  # of one trace
SLOW = 5.0  # seconds after which a request is worth a line
UPGRADED = 101  # a WebSocket lasts as long as its page
_SKIPPED = frozenset({"Before Hooks", "After Hooks", "Worker Cleanup"})


def browser_entries(path: Path, machine: str, test: str, clocks: GuestClocks) -> list[Entry]:
    """The entries of one trace, by time; none of a file that is no trace.

    Args:
        machine: where the browser ran.
        test: title of the test.
    """
    found: list[Entry] = []
    place = _Place(machine, test, clocks)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            traces = [name for name in names if name.endswith(".trace")]
            own = [name for name in traces if name.endswith("test.trace")]
            for name in traces:
                # The steps of the runner contain the calls of the library.
                found += _trace(_lines(archive, name), place, steps=not own or name in own)
            for name in names:
                if name.endswith(".network"):
                    found += _requests(_lines(archive, name), place)
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError):
        return found
    return sorted(found, key=lambda entry: entry.at)[:STEPS]


class _Place:
    """Makes entries of times of the browser's machine."""

    def __init__(self, machine: str, test: str, clocks: GuestClocks) -> None:
        self._machine = machine
        self._test = test
        self._clocks = clocks

    def entry(self, source: Source, real: float, severity: Severity, words: str, seconds: float = 0.0) -> Entry:
        """``real``: by the machine's time of day."""
        offset, uncertainty = self._clocks.offset(real)
        at = real + offset
        return Entry(
            at,
            source,
            self._machine,
            source,
            severity,
            clean(words, SENTENCE),
            margin=uncertainty,
            until=at + seconds if seconds else 0.0,
            key=self._test,
        )


def _lines(archive: zipfile.ZipFile, name: str) -> Iterator[Mapping[str, object]]:
    with archive.open(name) as file:
        for _ in range(LINES):
            raw = file.readline(LINE_BYTES)
            if not raw:
                return
            try:
                record = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def _trace(lines: Iterator[Mapping[str, object]], place: _Place, *, steps: bool) -> Iterator[Entry]:
    wall = zero = 0.0
    begun: dict[str, tuple[float, str]] = {}

    def real(line: Mapping[str, object], key: str) -> float:
        return wall + (_milliseconds(line, key) - zero) / 1000

    for line in lines:
        match line.get("type"):
            case "context-options":
                wall, zero = _milliseconds(line, "wallTime") / 1000, _milliseconds(line, "monotonicTime")
            case "before" if steps and wall:
                title = text(line, "title") or text(line, "apiName") or _method(line)
                if title and title not in _SKIPPED:
                    begun[text(line, "callId")] = (real(line, "startTime"), title)
            case "after" if steps and wall:
                began = begun.pop(text(line, "callId"), None)
                if began is not None:
                    error = _message(line)
                    severity = Severity.ERROR if error else Severity.DEBUG
                    words = f"{began[1]}: {error}" if error else began[1]
                    seconds = max(0.0, real(line, "endTime") - began[0])
                    yield place.entry("browser", began[0], severity, words, seconds)
            case "console" if wall and line.get("messageType") in ("error", "warning"):
                severity = Severity.ERROR if line["messageType"] == "error" else Severity.WARNING
                words = f"console: {text(line, 'text', SENTENCE)}"
                yield place.entry("browser", real(line, "time"), severity, words)
    for at, title in begun.values():
        yield place.entry("browser", at, Severity.WARNING, f"{title}: did not end")


def _milliseconds(line: Mapping[str, object], key: str) -> float:
    """Milliseconds since the epoch are more than what `number` takes for a number."""
    value = line.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e14 else 0.0


def _method(line: Mapping[str, object]) -> str:
    return ".".join(part for part in (text(line, "class"), text(line, "method")) if part)


def _message(line: Mapping[str, object]) -> str:
    error = line.get("error")
    if not isinstance(error, Mapping):
        return ""
    inner = error.get("error")  # older formats have it one level deeper
    return text(inner if isinstance(inner, Mapping) else error, "message", SENTENCE) or "failed"


def _requests(lines: Iterator[Mapping[str, object]], place: _Place) -> Iterator[Entry]:
    """Those that failed, were refused, or were slow."""
    for line in lines:
        entry = line.get("snapshot")
        if line.get("type") != "resource-snapshot" or not isinstance(entry, Mapping):
            continue
        request, response = entry.get("request"), entry.get("response")
        if not isinstance(request, Mapping) or not isinstance(response, Mapping):
            continue
        try:
            began = datetime.fromisoformat(str(entry.get("startedDateTime"))).timestamp()
        except (ValueError, OverflowError):
            continue
        seconds = max(0.0, (number(entry, "time") or 0.0) / 1000)
        status = whole(response, "status")
        failed = status is None or status <= 0 or status >= 400
        if not failed and (seconds < SLOW or status == UPGRADED):
            continue
        refused = text(response, "_failureText") or text(entry, "_failureText") or "no answer"
        answer = str(status) if status is not None and status > 0 else refused
        severity = Severity.ERROR if not status or status >= 500 or status < 0 else Severity.WARNING
        words = f"{text(request, 'method')} {text(request, 'url', SENTENCE)}: {answer} after {seconds:.2f} s"
        yield place.entry("request", began, severity, words, seconds)
