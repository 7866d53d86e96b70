"""What the page draws on its axis, as compact JSON: lanes of bars, lines of all machines, failures, screens. Pure.

All times are milliseconds since the run began. A page must open at once, however much a run printed: of a long run it
has the lines around its failures and those of trouble, and says how many are only in the files beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from orchestrator.report.critical import critical_path
from orchestrator.report.model import Failure, RunView, Timed
from orchestrator.report.model_tests import PhaseView, TestView
from orchestrator.report.sections import failed_tests, test_id
from orchestrator.report.sections import failures as told_failures
from orchestrator.text import clean
from orchestrator.timeline.model import SOURCES, Entry, Severity, Timeline
from orchestrator.timeline.parts import Parts
from orchestrator.timeline.story import Story

LINES = 30_000  # in the page
TEXT = 300  # characters of one of them
AROUND = 30.0  # seconds around a failure whose lines are in the page, as long as there is room
FAILURES = 300
SAMPLES = 2_000  # of one machine
LANES = 8  # of tests that overlap
_HIDDEN = frozenset({"pending", "skipped"})
Milliseconds = Callable[[float], int]
Data = dict[str, Any]


def axis_data(view: RunView, timeline: Timeline, story: Story) -> Data:
    """The data of the page.

    Args:
        view: of events whose times are on the axis.
    """
    zero = timeline.started

    def ms(at: float) -> int:
        return round((at - zero) * 1000)

    moments = [attempt.end for _, attempt, _ in failed_tests(view)[:FAILURES]]
    moments += [failure.at for failure in view.failures]
    moments += [story.cause.entry.at] if story.cause.entry is not None else []
    lines = [entry for entry in timeline.entries if entry.source != "test"]  # those have a lane
    chosen = chosen_lines(lines, moments, keep=story.lines)
    told = {id(entry) for entry in story.lines}
    return {
        "origin": round(zero * 1000),
        "end": max(1, ms(max(timeline.ended, view.ended))),
        "ready": None if view.ready_at is None else ms(view.ready_at),
        "finished": view.finished,
        "outcome": view.outcome,
        "machines": [machine.name for machine in view.machines],
        "sources": list(SOURCES),
        "lanes": list(_lanes(view, timeline, ms)),
        "samples": dict(_samples(view, timeline, ms)),
        "lines": _columns(chosen, [machine.name for machine in view.machines], ms),
        "marks": [number for number, entry in enumerate(chosen) if id(entry) in told],
        "cause": _cause(story, ms),
        "failures": list(_failures(view, ms)),
        "shots": [{"m": s.machine, "t": ms(s.at), "path": s.path, "step": s.step} for s in view.screenshots],
        "left_out": len(lines) - len(chosen) + timeline.left_out,
    }


def axis_text(data: Data) -> str:
    """JSON that can stand in a page: no character of it ends an element or begins a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def chosen_lines(entries: Sequence[Entry], moments: Iterable[float], keep: Iterable[Entry] = ()) -> list[Entry]:
    """The lines of a page: all where they are few, else those near the moments, and those of trouble. By time."""
    if len(entries) <= LINES:
        return list(entries)
    kept = {id(entry) for entry in keep}
    near = sorted(moments)

    def worth(entry: Entry) -> tuple[bool, bool, int]:
        return id(entry) not in kept, not _near(entry.at, near), -int(entry.severity)

    return sorted(sorted(entries, key=worth)[:LINES], key=lambda entry: entry.at)


def _near(at: float, moments: Sequence[float]) -> bool:
    return any(abs(at - moment) <= AROUND for moment in moments)


def _columns(entries: Sequence[Entry], machines: Sequence[str], ms: Milliseconds) -> Data:
    """Lines as columns: numbers for what repeats."""
    names: dict[str, int] = {}
    number = {name: index for index, name in enumerate(machines)}
    sources = {name: index for index, name in enumerate(SOURCES)}
    return {
        "t": [ms(entry.at) for entry in entries],
        "m": [number.get(entry.machine, -1) for entry in entries],
        "s": [sources[entry.source] for entry in entries],
        "v": [int(entry.severity) for entry in entries],
        "n": [names.setdefault(entry.name, len(names)) for entry in entries],
        "g": [round(entry.margin * 1000) for entry in entries],
        "x": [clean(entry.text, TEXT) for entry in entries],
        "names": list(names),
    }


def _cause(story: Story, ms: Milliseconds) -> Data | None:
    entry, trouble = story.cause.entry, story.trouble
    if trouble is None:
        return None
    return {
        "t": ms(entry.at if entry is not None else trouble.noticed),
        "noticed": ms(trouble.noticed),
        "text": entry.text if entry is not None else trouble.text,
        "sure": story.cause.sure,
    }


def _failures(view: RunView, ms: Milliseconds) -> Iterator[Data]:
    """Failures by time; each has the anchor of its card or test."""
    found: list[tuple[float, str, str]] = []
    own: list[Failure] = told_failures(view)
    found += [(failure.at, failure.what, f"failure-{number + 1}") for number, failure in enumerate(own)]
    found += [(attempt.end, test.title, f"failed-{anchor}") for test, attempt, anchor in failed_tests(view)]
    for at, title, anchor in sorted(found)[:FAILURES]:
        yield {"t": ms(at), "title": clean(title, TEXT), "anchor": anchor}


def _samples(view: RunView, timeline: Timeline, ms: Milliseconds) -> Iterator[tuple[str, Data]]:
    """For each machine the parts of its processors and of its memory that it used, at most `SAMPLES` of them."""
    for machine in view.machines:
        usage = timeline.usage.get(machine.name)
        if usage is None or not usage.times or not machine.cpus or not machine.memory:
            continue
        step = max(1, len(usage.times) // SAMPLES)
        memory = machine.memory * 1024 * 1024
        yield (
            machine.name,
            {
                "t": [ms(timeline.axis.of_monotonic(at)) for at in usage.times[::step]],
                "cpu": [round(one / machine.cpus, 3) for one in usage.cpu[::step]],
                "mem": [round(one / memory, 3) for one in usage.memory[::step]],
            },
        )


# ---------------------------------------------------------------------- lanes


def _lanes(view: RunView, timeline: Timeline, ms: Milliseconds) -> Iterator[Data]:
    """Each a label, a group, and bars: start, end, state, words."""
    down = _down(timeline, ms)
    bars = [[ms(view.started), ms(view.ready_at or view.ended), "starting", "start"]]
    bars += [[ms(p.start), ms(p.end), "suite", f"phase {p.name}"] for p in view.phases]
    yield {"label": "run", "group": "", "bars": bars}
    if path := critical_path(view):
        legs = [[ms(leg.start), ms(leg.end), "waited", f"waited for {leg.what}"] for leg in path]
        yield {"label": "waited for", "group": "", "bars": legs}
    for machine in view.machines:
        yield {"label": machine.name, "group": "Machines", "machine": machine.name, "bars": _states(machine, ms)}
    for service in view.services:
        if service.intervals or not view.finished:  # what is still to come is shown too
            lane = {"label": service.name, "group": "Services", "machine": service.machine}
            yield {**lane, "bars": _states(service, ms) + down.get(service.name, [])}
    for number, phase in enumerate(view.phases):
        for index, tests in enumerate(_rows(phase)):
            label = phase.name if index == 0 else ""
            bars = [bar for test, place in tests for bar in _attempts(test, test_id(number, place), ms)]
            yield {"label": label, "group": "Tests", "bars": bars}
    did = [entry for entry in timeline.entries if entry.source == "browser" and entry.until]
    if did:
        bars = [[ms(e.at), ms(e.until), "failed" if e.severity >= Severity.ERROR else "step", e.text] for e in did]
        yield {"label": "browser", "group": "Tests", "bars": bars}
    asked = [entry for entry in timeline.entries if entry.source == "request"]
    if asked:
        states = {True: "failed", False: "slow"}
        bars = [[ms(e.at), ms(e.until or e.at), states[e.severity >= Severity.ERROR], e.text] for e in asked]
        yield {"label": "requests", "group": "Tests", "bars": bars}


def _down(timeline: Timeline, ms: Milliseconds) -> dict[str, list[list[Any]]]:
    """When units of services were down according to systemd, until it started them again; by service."""
    parts = Parts.of(timeline.events)
    found: dict[str, list[list[Any]]] = {}
    open_: set[str] = set()
    for entry in timeline.entries:
        begins = entry.source == "journal" and entry.text.startswith(("systemd: Started ", "systemd: Finished "))
        name = parts.service_of(entry.machine, entry.name) if entry.ended or begins else ""
        if not name or parts.services[name].oneshot:
            continue
        if begins and name in open_:
            found[name][-1][1] = ms(entry.at)
            open_.discard(name)
        elif entry.ended and name not in open_:
            found.setdefault(name, []).append([ms(entry.at), ms(timeline.ended), "ended", entry.text])
            open_.add(name)
    return found


def _states(part: Timed, ms: Milliseconds) -> list[list[Any]]:
    return [
        [ms(one.start), ms(one.end), one.state, f"{part.name}: {one.state}" + (f": {one.detail}" if one.detail else "")]
        for one in part.intervals
        if one.state not in _HIDDEN
    ]


def _rows(phase: PhaseView) -> list[list[tuple[TestView, int]]]:
    """Tests in rows so that none overlaps another, as long as the rows are enough."""
    rows: list[list[tuple[TestView, int]]] = []
    free: list[float] = []
    ran = [(test, index) for index, test in enumerate(phase.tests) if test.attempts]
    for test, index in sorted(ran, key=lambda pair: pair[0].attempts[0].start):
        start, end = test.attempts[0].start, test.attempts[-1].end
        lane = next((n for n, until in enumerate(free) if until <= start + 0.01), len(free))
        if lane == len(free):
            if lane >= LANES:
                lane -= 1
            else:
                rows.append([])
                free.append(end)
        rows[lane].append((test, index))
        free[lane] = max(free[lane], end)
    return rows


def _attempts(test: TestView, anchor: str, ms: Milliseconds) -> Iterator[list[Any]]:
    for one in test.attempts:
        state = ("flaky" if test.status == "flaky" else "failed") if one.failed else one.status
        again = f", attempt {one.retry + 1}" if one.retry else ""
        yield [ms(one.start), ms(one.end), state, f"{clean(test.title, TEXT)}: {one.status}{again}", anchor]
