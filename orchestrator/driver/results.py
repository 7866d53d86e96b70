"""What calls of the driver return, and the errors they raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.errors import MachineError, OrchestratorError
from orchestrator.text import duration_text

Seconds = float | timedelta
SHOWN = 30  # lines of each output in an error


def seconds_of(value: Seconds) -> float:
    """A duration in seconds.

    >>> seconds_of(timedelta(minutes=2))
    120.0
    """
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


@dataclass(frozen=True, slots=True)
class Result:
    """A command that ended in a machine.

    Attributes:
        command: as it was given.
        rc: the exit code; 128+n for a signal n, 124 where its time was over.
        stdout: bytes of standard output.
        stderr: bytes of standard error, as far as they were captured.
        seconds: how long it took, as seen from here.
    """

    command: str
    rc: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def out(self) -> str:
        """stdout as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def err(self) -> str:
        """stderr as text; bytes that are no UTF-8 are replaced."""
        return self.stderr.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line of a machine's journal.

    Attributes:
        at: by the machine's clock, seconds since the epoch.
        unit: the unit that wrote it, or that systemd writes about; may be empty.
        identifier: the program, as syslog has it.
        priority: 0 (emergency) to 7 (debug).
    """

    at: float
    unit: str
    identifier: str
    message: str
    priority: int

    def __str__(self) -> str:
        return f"{self.unit or self.identifier}: {self.message}"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in the life of an environment, from `Environment.moment`.

    Attributes:
        at: on this host's monotonic clock, as events have it.
        journals, consoles: bytes that each machine had written by then.
    """

    at: float
    journals: Mapping[str, int]
    consoles: Mapping[str, int]


class DriverFailed(OrchestratorError, AssertionError):
    """A call whose outcome is not the wanted one. pytest shows it as a failed test, not as an error."""

    exit_code = 1

    def __str__(self) -> str:
        """All four answers of the error, in lines."""
        lines = [self.what]
        lines += [f"  {line}" for line in self.why.splitlines()]
        lines += [f"  {line}" for line in self.evidence]
        lines += [f"  see {place}" for place in self.where]
        if self.hint:
            lines.append(f"  try: {self.hint}")
        return "\n".join(lines)


class CommandFailed(DriverFailed):
    """A command ended with another exit code than the wanted one.

    Attributes:
        result: the command's outcome.
        journal: what the machine's journal got while it ran.
    """

    def __init__(self, what: str, result: Result, journal: Sequence[JournalEntry], *, machine: str, hint: str) -> None:
        evidence = [
            *_shown("stdout", result.out),
            *_shown("stderr", result.err),
            *_shown("journal", "\n".join(map(str, journal))),
        ]
        super().__init__(what, evidence=evidence, hint=hint, subject=machine)
        self.result = result
        self.journal = tuple(journal)


class WaitFailed(DriverFailed):
    """What was waited for did not come within its limit, or cannot come any more."""


class MachineOff(MachineError):
    """The machine is off, and the call needs one that runs."""


def _shown(name: str, text: str) -> list[str]:
    """The last lines of a text, below its name; nothing where it is empty."""
    lines = text.rstrip("\n").splitlines()
    if not lines:
        return []
    left = f" (the last {SHOWN} of {len(lines)} lines)" if len(lines) > SHOWN else ""
    return [f"{name}{left}:", *(f"  {line}" for line in lines[-SHOWN:])]


def ended_text(result: Result) -> str:
    """``exit code 3 after 0.2 s``."""
    return f"exit code {result.rc} after {duration_text(round(result.seconds, 2))}"
