"""Lines of a console or a journal that mean something. Pure.

A fatal pattern ends every wait for the machine at once. A failing one makes a run
fail whose tests passed, a suspicious one marks it; the topology may waive
those that are known. One that is only noted explains a failure that follows.
Another package adds its own by an entry point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from typing import Final

from orchestrator.patterns import LINE_LIMIT
from orchestrator.plugins import extensions
from orchestrator.waivers import Waiver

GROUP: Final = "orchestrator.log_patterns"


class Severity(StrEnum):
    FATAL = "fatal"
    FAILING = "failing"
    SUSPICIOUS = "suspicious"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A pattern with a name, what it means, and what it does to a run.

    Attributes:
        identifiers: the programs of a journal whose messages may show it; none: any.
        console: whether lines of the console may show it.
    """

    name: str
    pattern: re.Pattern[str]
    explanation: str
    severity: Severity
    identifiers: frozenset[str] = frozenset({"kernel"})
    console: bool = True

    @property
    def fatal(self) -> bool:
        return self.severity is Severity.FATAL


def _pattern(
    name: str, pattern: str, explanation: str, weight: Severity, *identifiers: str, console: bool = True
) -> LogPattern:
    return LogPattern(name, re.compile(pattern), explanation, weight, frozenset(identifiers or ("kernel",)), console)


CPU_STALL = "cpu-stall"
HALTED = "halted"
ANYBODY: frozenset[str] = frozenset()
LOG_PATTERNS: tuple[LogPattern, ...] = (
    _pattern("kernel-panic", r"Kernel panic - not syncing", "the guest's kernel panicked", Severity.FATAL),
    _pattern(
        "emergency-mode",
        r"You are in emergency mode|Entering emergency mode|Cannot open access to console, the root account",
        "systemd could not finish the boot and stopped in emergency mode",
        Severity.FATAL,
    ),
    _pattern(
        "no-root",
        r"Gave up waiting for root|ALERT! .{0,200} does not exist|VFS: Unable to mount root fs",
        "the kernel did not find its root disk",
        Severity.FATAL,
    ),
    _pattern(
        HALTED,
        r"reboot: System halted|reboot: Power down|No init found",
        "the guest stopped itself",
        Severity.FATAL,
    ),
    _pattern(
        CPU_STALL,
        r"\brcu: INFO: rcu_\w+ (self-)?detected (expedited )?stall|watchdog: BUG: soft lockup",
        "a CPU of the guest made no progress for half a minute, or the host gave it no time",
        Severity.NOTED,  # a busy host makes it, above all an emulating one
    ),
    _pattern(
        "workqueue-lockup", r"BUG: workqueue lockup", "the guest's kernel got no time for its own work", Severity.NOTED
    ),
    _pattern(
        "oops",
        r"\bBUG: |\bOops:|general protection fault|kernel BUG at",
        "the guest's kernel hit a bug",
        Severity.FAILING,
    ),
    _pattern(
        "oom-kill",
        r"Out of memory: Killed process|oom-kill:",
        "the guest ran out of memory and killed a process",
        Severity.FAILING,
    ),
    _pattern(
        "hung-task", r"INFO: task .{0,200} blocked for more than", "a task of the guest hung", Severity.SUSPICIOUS
    ),
    _pattern("disk-error", r"I/O error, dev|EXT4-fs error", "the guest's disk fails", Severity.FAILING),
    _pattern("segfault", r"\bsegfault at\b", "a program of the guest crashed", Severity.SUSPICIOUS),
    _pattern("core-dump", r"code=dumped", "a unit of the guest crashed", Severity.SUSPICIOUS, "systemd", console=False),
    _pattern(
        "unit-loop",
        r"restart counter is at ([3-9]|\d{2,})\.|Start request repeated too quickly",
        "a unit of the guest fails and is restarted again and again",
        Severity.SUSPICIOUS,
        "systemd",
        console=False,
    ),
    _pattern(
        "database-panic",
        r"\bPANIC: ",
        "PostgreSQL panicked and restarted",
        Severity.FAILING,
        "postgres",
        "postgresql",
        console=False,
    ),
    LogPattern(
        "disk-full",
        re.compile(r"No space left on device"),
        "a file system of the guest is full",
        Severity.SUSPICIOUS,
        ANYBODY,
    ),
)


@cache
def log_patterns() -> tuple[LogPattern, ...]:
    """All patterns: ours, then those of other packages (entry points ``orchestrator.log_patterns``).

    An entry point names a `LogPattern`, or an iterable of them.

    Raises:
        HostError: a package adds something else, or a name that is taken.
    """
    every = {pattern.name: pattern for pattern in LOG_PATTERNS}
    for extension in extensions(GROUP):
        added = [extension.value] if isinstance(extension.value, LogPattern) else extension.value
        if not isinstance(added, Iterable):
            raise extension.refused(f"{added!r} is neither a LogPattern nor a list of them")
        for pattern in added:
            if not isinstance(pattern, LogPattern):
                raise extension.refused(f"{pattern!r} is no LogPattern")
            if pattern.name in every:
                raise extension.refused(f"there is a log pattern {pattern.name} already")
            every[pattern.name] = pattern
    return tuple(every.values())


def waivable() -> tuple[str, ...]:
    """The names of the patterns that a topology may waive."""
    return tuple(p.name for p in log_patterns() if p.severity in (Severity.FAILING, Severity.SUSPICIOUS))


def find_in_console(line: str) -> LogPattern | None:
    """The first pattern that a line of a console shows, if any."""
    line = line[:LINE_LIMIT]  # a guest may write what it likes, and as much
    return next((pattern for pattern in log_patterns() if pattern.console and pattern.pattern.search(line)), None)


def find_in_journal(identifier: str, message: str) -> LogPattern | None:
    """The first pattern that a journal's message shows, if any."""
    message = message[:LINE_LIMIT]
    return next(
        (
            pattern
            for pattern in log_patterns()
            if (not pattern.identifiers or identifier in pattern.identifiers) and pattern.pattern.search(message)
        ),
        None,
    )


def waiver_for(pattern: LogPattern, machine: str, line: str, known: Iterable[Waiver], today: date) -> Waiver | None:
    """The waiver that holds today for this line, if any; a fatal pattern has none."""
    if pattern.fatal:
        return None
    return next(
        (waiver for waiver in known if waiver.holds(today) and waiver.covers(pattern.name, machine, line)), None
    )
