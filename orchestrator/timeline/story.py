"""The story of a failure, as short as it can be told: what came first, what was seen around it, what to type. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.events.run import RunFinished, RunStarted
from orchestrator.events.suite import TestEnded
from orchestrator.text import clean
from orchestrator.timeline.cause import Cause, Trouble, find_cause, trouble_of
from orchestrator.timeline.describe import FAILED
from orchestrator.timeline.model import Entry, Severity, Timeline
from orchestrator.timeline.parts import Parts

LINES = 10  # of the story between cause and failure
AROUND = 3.0  # seconds around the cause, and before the failure, that are looked at
_FEW = 3  # lines of one machine and source


@dataclass(frozen=True, slots=True)
class Story:
    """What is told of a run.

    Attributes:
        outcome: in a word or two.
        failures: how many tests failed.
        trouble: what failed; None: nothing.
        cause: what went wrong first.
        way: services from what failed down to the cause.
        lines: by time; the cause is among them.
        commands: to go on.
    """

    run_folder: str
    outcome: str
    failures: int
    trouble: Trouble | None
    cause: Cause
    way: tuple[str, ...]
    lines: tuple[Entry, ...]
    commands: tuple[str, ...]


NO_STORY = Story("", "", 0, None, Cause(None), (), (), ())


def tell(timeline: Timeline, run_folder: str) -> Story:
    """The story of a run, from everything that is known of it."""
    parts = Parts.of(timeline.events)
    trouble = trouble_of(timeline, parts)
    finished = next((event for event in reversed(timeline.events) if isinstance(event, RunFinished)), None)
    failed = {event.id: event.status in FAILED for event in timeline.events if isinstance(event, TestEnded)}
    outcome = finished.outcome if finished is not None else "not finished"
    if trouble is None:
        return Story(run_folder, outcome, 0, None, Cause(None), (), (), ())
    cause = find_cause(timeline, parts, trouble)
    return Story(
        run_folder,
        outcome,
        sum(failed.values()),
        trouble,
        cause,
        tuple(_way(cause, trouble, parts)),
        tuple(_lines(timeline, trouble, cause)),
        tuple(_commands(timeline, trouble, cause, parts, run_folder)),
    )


def _way(cause: Cause, trouble: Trouble, parts: Parts) -> list[str]:
    """The longest telling way from what failed to the service of the cause."""
    starts = trouble.direct or parts.last()
    ways = [way for start in starts if (way := parts.way(start, cause.service))]
    return min(ways, key=len, default=[])


def _lines(timeline: Timeline, trouble: Trouble, cause: Cause) -> list[Entry]:
    """What matters most around the cause and before the failure: few of each source, the cause always."""
    first = cause.entry
    near = list(timeline.between(first.at - AROUND, first.at + AROUND)) if first is not None else []
    near += timeline.between(trouble.noticed - AROUND, trouble.noticed)
    if trouble.test:
        near += [e for e in timeline.entries if e.key == trouble.test and e.source in ("browser", "request")]
    chosen: list[Entry] = [] if first is None else [first]
    counted: dict[tuple[str, str], int] = {}
    seen = {_words(entry) for entry in chosen}

    def worth(entry: Entry) -> tuple[int, float]:
        away = min(abs(entry.at - moment) for moment in (first.at if first else trouble.noticed, trouble.noticed))
        return (-int(entry.severity), away)

    for entry in sorted(dict.fromkeys(near), key=worth):
        place = (entry.machine, entry.source)
        context = first is not None and entry.source == "journal" and entry.name == first.name != ""
        least = Severity.INFO if context else Severity.WARNING
        if entry.severity < least or counted.get(place, 0) >= _FEW or _words(entry) in seen:
            continue
        said = entry.source == "test" or (entry.source == "event" and entry.name in ("failure", "service.state"))
        if said and entry is not first:
            continue  # the headline says so
        chosen.append(entry)
        seen.add(_words(entry))
        counted[place] = counted.get(place, 0) + 1
        if len(chosen) >= LINES:
            break
    return sorted(chosen, key=lambda entry: entry.at)


def _words(entry: Entry) -> tuple[str, str]:
    return entry.machine, entry.text


def _commands(timeline: Timeline, trouble: Trouble, cause: Cause, parts: Parts, run_folder: str) -> Sequence[str]:
    started = next((event for event in timeline.events if isinstance(event, RunStarted)), None)
    name = clean(started.subject, 100) if started is not None else ""
    at = cause.entry.at if cause.entry is not None else trouble.noticed
    found = [f"orchestrator report {run_folder}   # the page, at #t={at - timeline.started:.3f}"]
    machine = cause.entry.machine if cause.entry is not None else ""
    part = parts.services.get(cause.service)
    if part is not None and part.unit:
        found.append(f"less {run_folder}/machines/{part.machine}/services/{part.unit.removesuffix('.service')}.log")
    elif machine:
        found.append(f"less {run_folder}/machines/{machine}/serial.log")
    if trouble.test:
        found.append(f"orchestrator -n {name} run --keep failure --grep {_quoted(trouble.test)}")
    else:
        found.append(f"orchestrator -n {name} shell {machine or next(iter(parts.machines), 'MACHINE')}")
    return found


def _quoted(title: str) -> str:
    """The last part of a test's title, for a shell; what a regular expression reads otherwise is any character."""
    last = title.rsplit("›", 1)[-1].strip()
    return "'" + "".join(one if one.isalnum() or one in " -_,:/" else "." for one in last) + "'"
