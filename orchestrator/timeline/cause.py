"""Finds what went wrong first, by time and by dependency. Pure.

A failure has a subject: a test, a service, a machine. Looked at is what it rests on, from a while before it began until
it was noticed. Of what is seen there, some entries leave no doubt (a machine that died, a unit that ended, a process
that was killed for memory): the first of them is the cause. Where there is none it is the first line of trouble of what
is needed, and where there is none either, the failure speaks for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.events import Event
from orchestrator.events.machines import LogMatched, MachineStateChanged
from orchestrator.events.run import Failure
from orchestrator.events.services import ServiceStateChanged
from orchestrator.events.suite import TestEnded
from orchestrator.timeline.describe import FAILED
from orchestrator.timeline.model import Entry, Severity, Timeline
from orchestrator.timeline.parts import Parts

BEFORE_TEST = 30.0  # seconds before a test in which its cause may lie
BEFORE_START = 5.0  # seconds before the start of a service or machine
# Trouble that says little: what follows of a stop or a restore, or of a client that went away.
_WEAK = re.compile(r"terminating connection due to administrator command|Connection (closed|reset) by", re.IGNORECASE)
_STOPPED = re.compile(r"(Deactivated successfully|^Stopp(ed|ing) |Stopped target )")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What failed.

    Attributes:
        text: what was noticed, one line.
        began, noticed: when, on the axis.
        services: what it rests on, with the distance of each.
        machines: that it concerns.
        test: its title, where it is a test.
        direct: the services that failed themselves.
    """

    text: str
    began: float
    noticed: float
    services: dict[str, int]
    machines: frozenset[str]
    test: str = ""
    direct: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """What went wrong first.

    Attributes:
        entry: the line that shows it; None: only the failure is known.
        service: whose it is; empty: the machine's, or nobody's.
        sure: it leaves no doubt.
    """

    entry: Entry | None
    service: str = ""
    sure: bool = False


def trouble_of(timeline: Timeline, parts: Parts) -> Trouble | None:
    """The first failure of a run; None where nothing failed."""
    place, events = timeline.axis.place, timeline.events
    failed = next((event for event in events if isinstance(event, TestEnded) and event.status in FAILED), None)
    told = next((event for event in events if isinstance(event, Failure)), None)
    if failed is not None:
        noticed = place(failed)
        began = max(noticed - failed.duration, timeline.started)
        error = failed.error.strip().splitlines()
        text = f"test failed: {failed.subject}" + (f": {error[0]}" if error else "")
        machines = frozenset(parts.machines)
        needed = parts.needed_by(parts.last())
        return Trouble(text, began - BEFORE_TEST, noticed, needed, machines, test=failed.subject)
    if told is None:
        return None
    noticed = place(told)
    names = _subjects(told, events, parts)
    needed = parts.needed_by(names)
    concerned = {parts.services[name].machine for name in needed} | ({told.subject} & set(parts.machines))
    began = _began(timeline, names, told.subject) - BEFORE_START
    machines = frozenset(concerned or parts.machines)
    return Trouble(told.what, began, noticed, needed, machines, direct=tuple(names))


def _subjects(told: Failure, events: Sequence[Event], parts: Parts) -> list[str]:
    """The services that a failure is about."""
    if told.subject in parts.services:
        return [told.subject]
    if told.subject in parts.machines:
        return [part.name for part in parts.services.values() if part.machine == told.subject]
    failed = [e.subject for e in events if isinstance(e, ServiceStateChanged) and e.state == "failed"]
    return [name for name in dict.fromkeys(failed) if name in parts.services] or parts.last()


def _began(timeline: Timeline, names: Sequence[str], subject: str) -> float:
    """When what failed was started last."""
    found = timeline.started
    for event in timeline.events:
        service = isinstance(event, ServiceStateChanged) and event.subject in names and event.state == "starting"
        machine = isinstance(event, MachineStateChanged) and event.subject == subject and event.state == "starting"
        if service or machine:
            found = max(found, timeline.axis.place(event))
    return found


def find_cause(timeline: Timeline, parts: Parts, trouble: Trouble) -> Cause:
    """What went wrong first of what a failure rests on."""
    window = [one for one in timeline.between(trouble.began, trouble.noticed) if _concerns(one, trouble, parts)]
    down = list(_on_purpose(timeline))
    sure = [entry for entry in window if _leaves_no_doubt(entry, parts, down, timeline)]
    if sure:
        first = min(sure, key=lambda entry: (round(entry.at, 1), -_distance(entry, trouble, parts)))
        return Cause(first, service_of(first, parts), sure=True)
    lines = [entry for entry in window if entry.source in ("journal", "console", "log", "request", "browser")]
    for least in (Severity.ERROR, Severity.WARNING):
        told = [one for one in lines if one.severity >= least and not _WEAK.search(one.text)]
        # A browser's error is what is to be explained, not what explains it, as long as there is anything else.
        inside = [one for one in told if one.source not in ("browser", "request")]
        own = [one for one in inside if service_of(one, parts) in trouble.services]
        for chosen in (own, [one for one in inside if one.severity >= Severity.ERROR], told):
            if chosen and (least is Severity.ERROR or chosen is own):
                return Cause(chosen[0], service_of(chosen[0], parts))
    return Cause(None)


def service_of(entry: Entry, parts: Parts) -> str:
    """The service that an entry is about; empty: none."""
    if entry.key in parts.services and entry.source == "event":
        return entry.key
    if entry.source == "journal":
        return parts.service_of(entry.machine, entry.name)
    return ""


def _concerns(entry: Entry, trouble: Trouble, parts: Parts) -> bool:
    if entry.source in ("browser", "request"):
        return bool(trouble.test) and entry.key == trouble.test
    service = service_of(entry, parts)
    if service:
        return service in trouble.services
    return not entry.machine or entry.machine in trouble.machines


def _distance(entry: Entry, trouble: Trouble, parts: Parts) -> int:
    """How far below the failure it is; what happens to a whole machine is below all of its services."""
    service = service_of(entry, parts)
    return trouble.services.get(service, 0) if service else max(trouble.services.values(), default=0) + 1


def _leaves_no_doubt(entry: Entry, parts: Parts, down: Sequence[tuple[str, float, float]], timeline: Timeline) -> bool:
    if entry.source == "event":
        if entry.name in ("machine.state", LogMatched.kind):
            return entry.severity >= Severity.ERROR
        # QEMU tells of a reset, a shutdown or a disk that fails; a person may have paused the machine.
        return entry.name == "note" and entry.severity >= Severity.WARNING and "QMP event" in entry.text
    if entry.source != "journal" or entry.machine == "":
        return entry.source == "console" and entry.severity >= Severity.ERROR
    if not entry.ended:
        return False
    name = parts.service_of(entry.machine, entry.name)
    if not name or any(who == name and start <= entry.at <= end for who, start, end in down):
        return False
    failed = entry.severity >= Severity.WARNING or "Main process exited" in entry.text
    stopped = bool(_STOPPED.search(entry.text)) and not parts.services[name].oneshot
    return (failed or stopped) and entry.at < timeline.ended


def _on_purpose(timeline: Timeline) -> Iterator[tuple[str, float, float]]:
    """When which services were stopped on purpose: from a little before it was told until they start again."""
    place = timeline.axis.place
    since: dict[str, float] = {}
    for event in timeline.events:
        if isinstance(event, ServiceStateChanged):
            if event.state == "stopped":
                since[event.subject] = place(event) - 15.0
            elif event.subject in since:
                yield event.subject, since.pop(event.subject), place(event)
    for name, start in since.items():
        yield name, start, timeline.ended
