"""Reads a run folder into a timeline: it may be of a run that is under way, was killed, or is complete."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.events import Event
from orchestrator.events.machines import MachineClock
from orchestrator.events.read import load_events
from orchestrator.events.run import RunFinished, RunStarted
from orchestrator.events.suite import TestEnded
from orchestrator.timeline.browser import browser_entries
from orchestrator.timeline.clocks import GuestClocks
from orchestrator.timeline.describe import FAILED, entry_of
from orchestrator.timeline.lines import console_lines, journal_lines, log_lines
from orchestrator.timeline.model import Axis, Entry, Timeline
from orchestrator.vm.samples import read_usage

BEFORE = 1.0  # seconds before the first event from which lines belong to the run
ENTRIES = 1_000_000  # of one run
TRACES = 100  # of failed tests that are read
LOGS = 50  # of one machine


def read_timeline(run_folder: Path, *, logs: Path | None = None) -> Timeline:
    """Everything of a run, by time.

    Args:
        logs: where the machines write meanwhile; None: in the run folder.

    Raises:
        OSError: the events cannot be read. A log that cannot is as if it were not there.
    """
    events = tuple(load_events(run_folder / "events.jsonl"))
    axis = Axis.of(events)
    own = [entry for event in events if (entry := entry_of(event, axis)) is not None]
    own.sort(key=lambda entry: entry.at)
    started = min((axis.place(event) for event in events), default=0.0)
    ended = max((axis.place(event) for event in events), default=0.0)
    clocks = clocks_of(events, axis)
    streams: list[Iterable[Entry]] = [own]
    machines = sorted({*clocks, *_machines(run_folder)})
    logs = run_folder if logs is None or any(run_folder.glob("machines/*/journal.jsonl")) else logs
    for machine in machines:
        of_it = clocks.get(machine, GuestClocks((), axis))
        streams += [_by_time(one) for one in _printed(logs / "machines" / machine, machine, of_it, axis, events)]
    streams.append(_by_time(_browsers(run_folder, events, clocks, axis)))
    entries: list[Entry] = []
    left_out = 0
    for entry in heapq.merge(*streams, key=lambda entry: entry.at):
        if entry.at < started - BEFORE:
            continue  # of an earlier run: a saved state brings its logs with it
        if len(entries) < ENTRIES:
            entries.append(entry)
        else:
            left_out += 1
    usage = {machine: read_usage(logs / "machines" / machine / "samples.csv") for machine in machines}
    return Timeline(axis, started, max(ended, _last(entries, events)), tuple(entries), events, usage, left_out)


def on_axis(timeline: Timeline) -> Iterator[Event]:
    """The events, whose times of day are their places on the axis."""
    for event in timeline.events:
        yield replace(event, time=timeline.axis.place(event))


def clocks_of(events: Iterable[Event], axis: Axis) -> dict[str, GuestClocks]:
    """The clocks of all machines that a run compared."""
    found: dict[str, list[MachineClock]] = {}
    for event in events:
        if isinstance(event, MachineClock):
            found.setdefault(event.subject, []).append(event)
    return {machine: GuestClocks(clocks, axis) for machine, clocks in found.items()}


def _machines(run_folder: Path) -> list[str]:
    folder = run_folder / "machines"
    return (
        [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()] if folder.is_dir() else []
    )


def _printed(
    folder: Path, machine: str, clocks: GuestClocks, axis: Axis, events: Iterable[Event]
) -> Iterator[Iterator[Entry]]:
    """The streams of what a machine printed."""
    if (journal := folder / "journal.jsonl").is_file():
        yield journal_lines(journal, machine, clocks, axis)
    if (console := folder / "serial.log").is_file():
        yield console_lines(console, machine, axis)
    in_journal = {
        f"{(service.unit or '').removesuffix('.service')}.log"
        for event in events
        if isinstance(event, RunStarted)
        for service in event.services
    }
    logs = sorted(path for path in (folder / "services").glob("*") if path.is_file() and not path.is_symlink())
    for path in [one for one in logs if one.name not in in_journal][:LOGS]:
        yield log_lines(path, machine, clocks)


def _browsers(run_folder: Path, events: Iterable[Event], clocks: dict[str, GuestClocks], axis: Axis) -> Iterator[Entry]:
    """What the browser did in tests that failed."""
    machine, left = "", TRACES
    for event in events:
        if isinstance(event, RunStarted):
            machine = event.suite_machine
        if not isinstance(event, TestEnded) or event.status not in FAILED:
            continue
        for attachment in event.attachments:
            path = run_folder / attachment.path
            if not attachment.path.endswith(".zip") or left <= 0 or not path.is_file() or path.is_symlink():
                continue
            left -= 1
            yield from browser_entries(path, machine, event.subject, clocks.get(machine, GuestClocks((), axis)))


def _by_time(entries: Iterator[Entry]) -> list[Entry]:
    found: list[Entry] = []
    with suppress(OSError):
        found.extend(entries)
    found.sort(key=lambda entry: entry.at)
    return found


def _last(entries: list[Entry], events: Iterable[Event]) -> float:
    """A run that is under way goes on until its last line."""
    finished = any(isinstance(event, RunFinished) for event in events)
    return 0.0 if finished or not entries else entries[-1].at
