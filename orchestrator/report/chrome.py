"""``trace.json.gz``: the run as Chrome trace events, which Perfetto and ``chrome://tracing`` draw.

A process for the orchestrator, for each machine, and for the suite; a thread for each thing that has one state at a
time. Slices of one thread only nest, as the format wants: what overlaps has threads of its own. Times are microseconds
since the run began.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.report.model import RunView
from orchestrator.timeline.model import Entry, Severity, Timeline

FILE = "trace.json.gz"
_ORCHESTRATOR, _SUITE = 1, 2
_FIRST_MACHINE = 10
INSTANTS = 20_000  # marks of trouble; more than these nobody looks at
LOGS, BROWSER = 900, 901  # threads

Trace = dict[str, Any]


def chrome_trace(view: RunView, timeline: Timeline) -> dict[str, Any]:
    """The whole trace, ready for JSON.

    Args:
        view: of events whose times are on the axis.
    """
    zero = timeline.started
    machines = {machine.name: _FIRST_MACHINE + index for index, machine in enumerate(view.machines)}
    processes = {_ORCHESTRATOR: "orchestrator", _SUITE: "browser suite", **{n: name for name, n in machines.items()}}
    threads: dict[tuple[int, int], str] = {}
    events: list[Trace] = [*_parts(view, machines, threads, zero), *_tests(view, threads, zero)]
    events += _marks(timeline, machines, threads)
    used = {event["pid"] for event in events}
    names = [_meta("process_name", process, 0, name) for process, name in processes.items() if process in used]
    names += [_meta("thread_name", process, thread, name) for (process, thread), name in threads.items()]
    return {
        "traceEvents": [*names, *events],
        "displayTimeUnit": "ms",
        "otherData": {
            "run": view.run_id,
            "environment": view.environment,
            "outcome": view.outcome,
            "started": timeline.started,
            "version": view.version,
        },
    }


def _meta(kind: str, process: int, thread: int, name: str) -> Trace:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _slice(place: tuple[int, int], name: str, start: float, end: float, zero: float, **args: object) -> Trace:
    """A span; ``place`` is process and thread."""
    at = round((start - zero) * 1e6)
    return {
        "ph": "X",
        "name": name,
        "pid": place[0],
        "tid": place[1],
        "ts": at,
        "dur": max(0, round((end - zero) * 1e6) - at),
        "args": {key: value for key, value in args.items() if value},
    }


def _parts(
    view: RunView, machines: dict[str, int], threads: dict[tuple[int, int], str], zero: float
) -> Iterator[Trace]:
    threads[_ORCHESTRATOR, 1] = "run"
    if view.ready_at is not None:
        yield _slice((_ORCHESTRATOR, 1), "start", view.started, view.ready_at, zero)
        yield _slice((_ORCHESTRATOR, 1), "after READY", view.ready_at, view.ended, zero)
    else:
        yield _slice((_ORCHESTRATOR, 1), "start", view.started, view.ended, zero)
    for machine in view.machines:
        place = (machines[machine.name], 1)
        threads[place] = "machine"
        for one in machine.intervals:
            yield _slice(place, one.state, one.start, one.end, zero, detail=one.detail)
    for number, service in enumerate(view.services):
        place = (machines.get(service.machine, _ORCHESTRATOR), 10 + number)
        threads[place] = f"service {service.name}"
        for one in service.intervals:
            if one.state not in ("pending", "skipped"):
                needs = ", ".join(service.depends_on)
                yield _slice(place, one.state, one.start, one.end, zero, detail=one.detail, after=needs)


def _tests(view: RunView, threads: dict[tuple[int, int], str], zero: float) -> Iterator[Trace]:
    """Each test on the first thread that is free, so that none overlaps another."""
    free: list[float] = []
    attempts = [(one, test) for test in view.tests for one in test.attempts]
    for attempt, test in sorted(attempts, key=lambda pair: pair[0].start):
        lane = next((n for n, until in enumerate(free) if until <= attempt.start + 1e-6), len(free))
        free[lane:] = [attempt.end, *free[lane + 1 :]]
        threads[_SUITE, lane + 1] = f"tests {lane + 1}"
        told = {"status": attempt.status, "error": attempt.error}
        yield _slice((_SUITE, lane + 1), test.title[:200], attempt.start, attempt.end, zero, **told)


def _marks(timeline: Timeline, machines: dict[str, int], threads: dict[tuple[int, int], str]) -> Iterator[Trace]:
    """What the browser did, and lines of trouble, as marks: they may overlap anything."""
    left = INSTANTS
    for entry in timeline.entries:
        place = _place(entry, machines)
        if place is None or left <= 0:
            continue
        left -= 1
        threads[place] = {"browser": "browser", "request": "browser"}.get(entry.source, "trouble in logs")
        yield {
            "ph": "i",
            "s": "t",
            "name": entry.text[:200],
            "cat": f"{entry.source},{entry.severity.word}",
            "pid": place[0],
            "tid": place[1],
            "ts": round((entry.at - timeline.started) * 1e6),
            "args": {"source": entry.source, "of": entry.name, "margin_ms": round(entry.margin * 1000, 1)},
        }


def _place(entry: Entry, machines: dict[str, int]) -> tuple[int, int] | None:
    """Process and thread of a mark; None for an entry that is none."""
    if entry.source in ("browser", "request"):
        return _SUITE, BROWSER
    if entry.source == "test" or entry.severity < Severity.WARNING:
        return None
    return machines.get(entry.machine, _ORCHESTRATOR), LOGS


def write(view: RunView, timeline: Timeline, path: Path) -> None:
    """Write the trace, packed.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(chrome_trace(view, timeline), ensure_ascii=False, separators=(",", ":"))
    write_atomically(path, gzip.compress(text.encode("utf-8", "replace"), 3, mtime=0), mode=0o644)
