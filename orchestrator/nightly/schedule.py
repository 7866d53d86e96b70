"""The texts that make a night begin by itself: a systemd timer with its service, or a line of cron. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DELAY = "10min"  # RandomizedDelaySec: several hosts do not begin at one moment
ENDING = 1800  # seconds that a night has beyond its budget to end in order
KEPT = re.compile(r"ORCH_\w+|XDG_(STATE|CACHE)_HOME")
PORTABLE = re.compile(r"[\w@%+=:,./-]+")


@dataclass(frozen=True, slots=True)
class Schedule:
    """What begins, where and when.

    Attributes:
        name: of the environment; it names the units.
        at: the time of day.
        argv: the command, absolute.
        folder: where it runs.
        environment: variables that it needs.
        budget: seconds.
        log: where cron's output goes.
    """

    name: str
    at: str
    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    budget: float
    log: Path

    @property
    def unit(self) -> str:
        """The name of its units, without a suffix."""
        return f"orchestrator-{self.name}"

    def service(self) -> str:
        """The service; it stays failed where the night has, so that ``systemctl --failed`` shows it."""
        environment = "".join(
            f"Environment={_quoted(f'{name}={value}')}\n" for name, value in sorted(self.environment.items())
        )
        return (
            f"[Unit]\nDescription=Night of {self.name} (orchestrator)\n"
            f"\n[Service]\nType=oneshot\nWorkingDirectory={_percent(str(self.folder))}\n{environment}"
            f"ExecStart={' '.join(_quoted(word) for word in self.argv)}\n"
            f"TimeoutStartSec={self.budget + ENDING:.0f}\nTimeoutStopSec=300\nKillMode=mixed\nNice=10\n"
        )

    def timer(self) -> str:
        """The timer; a night that the host slept through begins when it is up again."""
        return (
            f"[Unit]\nDescription=Every night at {self.at}: {self.name} (orchestrator)\n"
            f"\n[Timer]\nOnCalendar=*-*-* {self.at}:00\nPersistent=true\nRandomizedDelaySec={DELAY}\n"
            f"\n[Install]\nWantedBy=timers.target\n"
        )

    @property
    def mark(self) -> str:
        """What its lines in a crontab begin with."""
        return f"# {self.unit}"

    def cron(self) -> str:
        """Its lines of a crontab: what it is, and the command."""
        hour, minute = self.at.split(":")
        variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        words = " ".join([*variables, *(shlex.quote(word) for word in self.argv)])
        command = f"cd {shlex.quote(str(self.folder))} && {words} >>{shlex.quote(str(self.log))} 2>&1"
        # In a crontab a percent sign is the end of the command.
        return f"{self.mark}\n{int(minute)} {int(hour)} * * * {command.replace('%', chr(92) + '%')}\n"


def kept_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a shell that say where this program keeps its files, and how it runs. Pure."""
    return {name: value for name, value in environment.items() if KEPT.fullmatch(name) and "\n" not in value}


def with_lines(crontab: str, schedule: Schedule) -> str:
    """A crontab with our lines, in place of those that it had. Pure."""
    rest = without_lines(crontab, schedule)
    return f"{rest}{'' if rest.endswith(chr(10)) or not rest else chr(10)}{schedule.cron()}"


def without_lines(crontab: str, schedule: Schedule) -> str:
    """A crontab without our lines; all others as they were. Pure."""
    lines = crontab.splitlines(keepends=True)
    while schedule.mark in (bare := [line.rstrip("\n") for line in lines]):
        at = bare.index(schedule.mark)
        del lines[at : at + 2]
    return "".join(lines)


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a unit file: neither specifiers nor variables are expanded in it.

    >>> print(_quoted("plain"), _quoted('a "b" $c 100%'))
    plain "a \\"b\\" $$c 100%%"
    """
    word = _percent(word).replace("$", "$$")
    if PORTABLE.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
