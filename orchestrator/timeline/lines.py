"""Reads what a machine printed: its journal, its console, the logs that its services name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.log_patterns import LogPattern, find_in_console
from orchestrator.services.journal import Entry as JournalEntry
from orchestrator.services.journal import parse_entry
from orchestrator.text import clean
from orchestrator.timeline.clocks import GuestClocks, Stamp
from orchestrator.timeline.model import Axis, Entry, Severity
from orchestrator.vm.arrivals import read_arrivals
from orchestrator.vm.follow import INTERVAL

TEXT_LIMIT = 1_000  # characters of an entry
LINE_BYTES = 64 * 1024
_PRIORITIES = (Severity.FATAL,) * 3 + (Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.INFO, Severity.DEBUG)
_HAVE_LEVELS = frozenset({"kernel", "systemd"})
_BROKEN = re.compile(
    r"Failed with result|Main process exited, code=(killed|dumped|exited, status=[^0])|^Failed to start "
    r"|Start request repeated too quickly"
)
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_ISO = re.compile(r"^\[?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,6}))?")
_COMMON = re.compile(r"\[(\d\d)/(\w{3})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})\]")
# Programs that tell their levels in words, and the statuses of web servers. Words are looked for before patterns: of
# two hundred thousand lines almost none has one.
_ERROR = re.compile(
    r"\[(crit|alert|emerg|error)\]|\b(ERROR|FATAL|CRITICAL|PANIC)\b|\bTraceback \(most recent call last\)"
)
_ERROR_WORDS = ("ERROR", "FATAL", "CRITICAL", "PANIC", "Traceback", "[crit", "[alert", "[emerg", "[error")
_STATUS = re.compile(r'\b(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) \S+( HTTP/[\d.]+)?"? 5\d\d\b')
_WARNING = re.compile(r"\[warn\]|\bWARN(ING)?\b")


def journal_lines(path: Path, machine: str, clocks: GuestClocks, axis: Axis) -> Iterator[Entry]:
    """The entries of ``journal.jsonl``.

    Raises:
        OSError: it cannot be read.
    """
    arrivals = read_arrivals(path)
    entries: list[JournalEntry] = []
    stamps: list[Stamp] = []
    end = 0
    with path.open("rb") as file:
        for raw in file:
            end += len(raw)
            entry = parse_entry(raw.decode("utf-8", "replace"))
            if entry is None:
                continue
            arrived = arrivals.at(end) or arrivals.not_before(end)
            entries.append(entry)
            stamps.append(
                Stamp(entry.at, entry.monotonic, entry.boot, None if arrived is None else axis.of_monotonic(arrived))
            )
    for entry, placed in zip(entries, clocks.place(stamps), strict=True):
        text = clean(entry.message, TEXT_LIMIT)
        severity = _PRIORITIES[entry.priority] if 0 <= entry.priority < 8 else Severity.INFO
        if entry.identifier == "systemd" and _BROKEN.search(text):
            severity = max(severity, Severity.ERROR)
        elif severity <= Severity.INFO and entry.identifier not in _HAVE_LEVELS:
            severity = max(severity, told_severity(text))
        shown = f"{entry.identifier}: {text}" if entry.identifier else text
        yield Entry(placed.at, "journal", machine, entry.unit, severity, shown, margin=placed.margin, ended=entry.ended)


def console_lines(path: Path, machine: str, axis: Axis) -> Iterator[Entry]:
    """The lines of ``serial.log`` that arrived while somebody looked; a line is at most a look's interval late.

    Raises:
        OSError: it cannot be read.
    """
    arrivals = read_arrivals(path)
    last = next((at for at in reversed(arrivals.times) if at is not None), None)
    if last is None:
        return
    end = 0
    with path.open("rb") as file:
        while raw := file.readline(LINE_BYTES):
            end += len(raw)
            known = bool(arrivals.sizes) and end <= arrivals.sizes[-1]
            arrived = arrivals.at(end) if known else last
            text = clean(raw, TEXT_LIMIT).strip() if arrived is not None else ""
            if arrived is not None and text:
                severity = severity_of(find_in_console(text))
                yield Entry(axis.of_monotonic(arrived), "console", machine, "console", severity, text, margin=INTERVAL)


def severity_of(pattern: LogPattern | None) -> Severity:
    """What a log pattern makes of its line."""
    return Severity.INFO if pattern is None else Severity.of_pattern(pattern.severity)


def log_lines(path: Path, machine: str, clocks: GuestClocks) -> Iterator[Entry]:
    """The lines of a service's own log that begin with a time, or have one as web servers write it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        while raw := file.readline(LINE_BYTES):
            line = clean(raw, TEXT_LIMIT).strip()
            found = time_of(line)
            if found is None:
                continue
            real, resolution = found
            offset, uncertainty = clocks.offset(real)
            yield Entry(
                real + offset, "log", machine, path.name, told_severity(line), line, margin=uncertainty + resolution
            )


def told_severity(line: str) -> Severity:
    """What a line says of itself.

    >>> told_severity("2026-11-28 02:10:39 GMT [384] FATAL:  no room").word
    'error'
    >>> told_severity('GET /api/conversations 502 9 bytes').word
    'error'
    >>> told_severity('GET /api/conversations 200 500 bytes').word
    'info'
    """
    if any(word in line for word in _ERROR_WORDS) and _ERROR.search(line):
        return Severity.ERROR
    if " 5" in line and _STATUS.search(line):
        return Severity.ERROR
    return Severity.WARNING if ("WARN" in line or "[warn" in line) and _WARNING.search(line) else Severity.INFO


def time_of(line: str) -> tuple[float, float] | None:
    """The time that a line of a log tells, seconds since the epoch, and its resolution; UTC where it tells no zone.

    >>> time_of('2026/11/28 02:15:59 [error] 7#7: upstream')
    (1795832159.0, 1.0)
    >>> time_of('10.0.0.2 - - [28/Nov/2026:02:15:59 +0000] "GET / HTTP/1.1" 502 9')
    (1795832159.0, 1.0)
    >>> time_of('2026-11-28 02:15:59.250 UTC [41] LOG:  ready')
    (1795832159.25, 0.001)
    >>> time_of('no time')
    """
    with suppress(ValueError, OverflowError, KeyError):
        if found := _ISO.match(line):
            at = _utc(int(found[1]), int(found[2]), int(found[3]), f"{found[4]}:{found[5]}:{found[6]}")
            return (at + float(f"0.{found[7]}"), 0.001) if found[7] else (at, 1.0)
        if found := _COMMON.search(line[:400]):
            at = _utc(int(found[3]), _MONTHS[found[2]], int(found[1]), found[4])
            away = int(found[5][1:3]) * 3600 + int(found[5][3:]) * 60
            return at + (away if found[5][0] == "-" else -away), 1.0
    return None


def _utc(year: int, month: int, day: int, clock: str) -> float:
    hour, minute, second = (int(part) for part in clock.split(":"))
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
