"""Lines of a console or a journal that mean something. Pure.

A fatal sign ends every wait for the machine at once. A failing one makes a run
fail whose tests passed, a suspicious one marks it; the topology may accept
those that are known. One that is only noted explains a failure that follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from orchestrator.patterns import LINE_LIMIT, PatternError, found


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


@dataclass(frozen=True, slots=True)
class Waiver:
    """A sign that is known and does not count, until a day.

    Attributes:
        machine: only there; empty: everywhere.
        matching: only lines in which this regular expression (RE2) is found; empty: all.
        until: the last day it holds.
    """

    sign: str
    reason: str
    until: date
    machine: str = ""
    matching: str = ""

    def holds(self, today: date) -> bool:
        return today <= self.until

    def covers(self, sign: str, machine: str, line: str) -> bool:
        """Whether it is about this line."""
        return self.sign == sign and self.machine in ("", machine) and (not self.matching or self._matches(line))

    def _matches(self, line: str) -> bool:
        try:
            return found(self.matching, line, LINE_LIMIT)
        except PatternError:  # another version wrote it; it accepts nothing now
            return False


def _pattern(
    name: str, pattern: str, explanation: str, weight: Severity, *identifiers: str, console: bool = True
) -> LogPattern:
    return LogPattern(name, re.compile(pattern), explanation, weight, frozenset(identifiers or ("kernel",)), console)


CPU_STALL = "cpu-stall"
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
        "halted",
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
WAIVABLE: tuple[str, ...] = tuple(
    sign.name for sign in LOG_PATTERNS if sign.severity in (Severity.FAILING, Severity.SUSPICIOUS)
)


def find_in_console(line: str) -> LogPattern | None:
    """The first sign a line of a console shows, if any."""
    line = line[:LINE_LIMIT]  # a guest may write what it likes, and as much
    return next((sign for sign in LOG_PATTERNS if sign.console and sign.pattern.search(line)), None)


def find_in_journal(identifier: str, message: str) -> LogPattern | None:
    """The first sign a journal's message shows, if any."""
    message = message[:LINE_LIMIT]
    return next(
        (
            sign
            for sign in LOG_PATTERNS
            if (not sign.identifiers or identifier in sign.identifiers) and sign.pattern.search(message)
        ),
        None,
    )


def waiver_for(sign: LogPattern, machine: str, line: str, known: Iterable[Waiver], today: date) -> Waiver | None:
    """The acceptance that holds today for this line, if any; a fatal sign has none."""
    if sign.fatal:
        return None
    return next((one for one in known if one.holds(today) and one.covers(sign.name, machine, line)), None)
