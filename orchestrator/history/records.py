"""A run and a night as the history has them, read from their folders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.events.read import load_events
from orchestrator.fields import SENTENCE, number, tables, text
from orchestrator.report.clones import FOLDER as CLONES
from orchestrator.report.clones import read_parts, worst
from orchestrator.report.fold import fold
from orchestrator.report.model import Revision, RunView
from orchestrator.text import clean

EVENTS = "events.jsonl"
NIGHT = "night.json"
PINNED = "pinned"  # in a run folder: somebody wants it kept
SET_LENGTH = 16
MOST_FAILED = 0.5  # of the tests of a run: where more failed, it was not the tests
FEW_TESTS = 4  # with fewer nothing can be said of the share that failed
_PLACEHOLDERS = ((r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b", "HEX"), (r"(/[\w.+-]+){2,}", "PATH"), (r"\d+(\.\d+)?", "N"))


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One execution of a test; ``seconds`` it took."""

    status: str
    retry: int
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class TestRecord:
    """A test of one run; ``status`` is a word of `orchestrator.report.model_tests.STATUSES`."""

    __test__ = False  # pytest collects classes by name

    phase: str
    file: str
    title: str
    status: str
    seconds: float
    attempts: tuple[AttemptRecord, ...]

    @property
    def error(self) -> str:
        """The first line of its first failure."""
        return next((one.error for one in self.attempts if one.error), "")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run.

    Attributes:
        started, ended: seconds since the epoch.
        seconds: of the monotonic clock, as the run itself measured them.
        ready: seconds until every service was proven; None: never.
        revisions: what it was made of.
        services: name, last state, seconds from its start to up or None.
        matches: machine, log pattern, severity, of those that nobody waived.
        partial: only chosen tests ran.
    """

    run_id: str
    folder: str
    environment: str
    command: str
    variant: str
    provider: str
    accelerator: str
    started: float
    ended: float
    seconds: float
    ready: float | None
    outcome: str
    exit_code: int | None
    cause: str
    revisions: tuple[Revision, ...] = ()
    tests: tuple[TestRecord, ...] = ()
    services: tuple[tuple[str, str, float | None], ...] = ()
    matches: tuple[tuple[str, str, str], ...] = ()
    partial: bool = False
    pinned: bool = False

    @property
    def revision_set(self) -> str:
        """One name for everything that it was made of; the order does not matter."""
        parts = sorted((one.kind, one.digest) for one in self.revisions)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:SET_LENGTH]

    @property
    def infrastructure(self) -> str:
        """Why its tests say nothing about the tests; empty: they do. Pure."""
        if self.outcome in ("error", "interrupted"):
            return f"the run ended as {self.outcome}"
        if failing := [one for one in self.matches if one[2] in ("failing", "fatal")]:
            return f"machine {failing[0][0]}: {failing[0][1]}"
        ran = [one for one in self.tests if one.status != "skipped"]
        failed = sum(one.status in ("failed", "did_not_run") for one in ran)
        if not self.partial and len(ran) >= FEW_TESTS and failed > MOST_FAILED * len(ran):
            return f"{failed} of {len(ran)} tests failed"
        return ""


@dataclass(frozen=True, slots=True)
class NightRun:
    """A run of a night; ``role`` is ``first``, or why it ran again: ``rerun``, ``new``, ``bisect``."""

    run_id: str
    cell: str
    role: str


@dataclass(frozen=True, slots=True)
class NightRecord:
    """A night: what it came to, or why there was none.

    Attributes:
        started, ended: seconds since the epoch.
        outcome: a word of docs/nightly.md, such as ``passed``, ``failed``, ``flaky``, ``skipped``, ``missed``.
        reason: one sentence; empty: it passed.
    """

    night_id: str
    folder: str
    topology: str
    started: float
    ended: float
    outcome: str
    reason: str
    runs: tuple[NightRun, ...] = ()


def error_key(line: str) -> str:
    """What errors of one cause have in common: their first line without numbers, hex digits and paths. Pure.

    >>> error_key("Timeout 5000ms exceeded at /tmp/a/b.ts:14")
    'Timeout Nms exceeded at PATH:N'
    """
    for pattern, word in _PLACEHOLDERS:
        line = re.sub(pattern, word, line)
    return line.strip()[:200]


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a run, or one that was divided among clones."""
    return (folder / EVENTS).is_file() or (folder / CLONES).is_dir()


def read_run(folder: Path) -> RunRecord:
    """The record of a run folder; odd content gives an odd record and never raises.

    Raises:
        OSError: it cannot be read.
    """
    if (folder / EVENTS).is_file():
        return record_of(fold(load_events(folder / EVENTS)), folder)
    return _of_clones(folder)


def record_of(view: RunView, folder: Path) -> RunRecord:
    """The record of a run that was read already."""
    return RunRecord(
        run_id=view.run_id or folder.name,
        folder=str(folder),
        environment=view.environment,
        command=view.command,
        variant=view.variant,
        provider=view.provider,
        accelerator=view.accelerator,
        started=view.started,
        ended=view.ended,
        seconds=view.elapsed,
        ready=view.ready_after,
        outcome=view.outcome,
        exit_code=view.exit_code,
        cause=clean(view.cause, SENTENCE),
        revisions=view.revisions,
        tests=tuple(
            TestRecord(
                phase=test.phase,
                file=test.file,
                title=test.title,
                status=test.status,
                seconds=round(test.duration, 3),
                attempts=tuple(
                    AttemptRecord(one.status, one.retry, round(one.duration, 3), _first_line(one.error))
                    for one in test.attempts
                ),
            )
            for test in view.tests
        ),
        services=tuple((one.name, one.state, one.seconds) for one in view.services),
        matches=tuple((one.machine, one.pattern, one.severity) for one in view.log_matches if not one.waiver),
        partial=" --grep" in view.command,
        pinned=(folder / PINNED).exists(),
    )


def _of_clones(folder: Path) -> RunRecord:
    """A run that was divided among clones, as one."""
    parts = read_parts(folder)
    records = [read_run(part.folder) for part in parts if part.folder is not None]
    outcome, code = worst(parts)
    first = records[0] if records else None
    started = min((one.started for one in records), default=0.0)
    ended = max((one.ended for one in records), default=0.0)
    return RunRecord(
        run_id=folder.name,
        folder=str(folder),
        environment=first.environment.rpartition("-")[0] if first else "",
        command="orchestrator run --clones",
        variant=first.variant if first else "",
        provider=first.provider if first else "",
        accelerator=first.accelerator if first else "",
        started=started,
        ended=ended,
        seconds=ended - started,
        ready=first.ready if first else None,
        outcome=outcome,
        exit_code=code,
        cause=next((one.cause for one in records if one.cause), ""),
        revisions=first.revisions if first else (),
        tests=tuple(test for one in records for test in one.tests),
        services=first.services if first else (),
        matches=tuple(match for one in records for match in one.matches),
        pinned=(folder / PINNED).exists(),
    )


def read_night(folder: Path) -> NightRecord | None:
    """The record of a night's folder; None where ``night.json`` cannot be read."""
    try:
        data = json.loads((folder / NIGHT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return night_of(data, folder) if isinstance(data, Mapping) else None


def night_of(data: Mapping[str, object], folder: Path) -> NightRecord:
    """The record of what ``night.json`` holds. Pure."""
    runs = [
        NightRun(run_id, text(cell, "name"), text(run, "role") or "first")
        for cell in tables(data, "cells")
        for run in tables(cell, "runs")
        if (run_id := text(run, "run_id"))
    ]
    return NightRecord(
        night_id=text(data, "night_id") or folder.name,
        folder=str(folder),
        topology=text(data, "topology"),
        started=number(data, "started") or 0.0,
        ended=number(data, "ended") or 0.0,
        outcome=text(data, "outcome") or "interrupted",
        reason=text(data, "reason", SENTENCE),
        runs=tuple(runs),
    )


def _first_line(error: str) -> str:
    return next((line.strip()[:500] for line in error.splitlines() if line.strip()), "")
