"""Lines of a console or a journal that mean something. Pure.

A fatal sign ends every wait for the machine at once; the others are noted, and
explain a failure that follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern with a name, what it means, and whether the machine is done for."""

    name: str
    pattern: re.Pattern[str]
    explanation: str
    fatal: bool = False


def _sign(name: str, pattern: str, explanation: str, *, fatal: bool = False) -> Sign:
    return Sign(name, re.compile(pattern), explanation, fatal)


CPU_STALL = "cpu-stall"
CONSOLE_SIGNS: tuple[Sign, ...] = (
    _sign("kernel-panic", r"Kernel panic - not syncing", "the guest's kernel panicked", fatal=True),
    _sign(
        "emergency-mode",
        r"You are in emergency mode|Entering emergency mode|Cannot open access to console, the root account",
        "systemd could not finish the boot and stopped in emergency mode",
        fatal=True,
    ),
    _sign(
        "no-root",
        r"Gave up waiting for root|ALERT! .* does not exist|VFS: Unable to mount root fs",
        "the kernel did not find its root disk",
        fatal=True,
    ),
    _sign(
        "halted",
        r"reboot: System halted|reboot: Power down|No init found",
        "the guest stopped itself",
        fatal=True,
    ),
    _sign(
        CPU_STALL,
        r"\brcu: INFO: rcu_\w+ (self-)?detected (expedited )?stall|watchdog: BUG: soft lockup",
        "a CPU of the guest stands still, or the host gave it no time for half a minute",
    ),
    _sign("oops", r"\bBUG: |\bOops:|general protection fault|kernel BUG at", "the guest's kernel hit a bug"),
    _sign("oom-kill", r"Out of memory: Killed process|oom-kill:", "the guest ran out of memory and killed a process"),
    _sign("hung-task", r"INFO: task .* blocked for more than", "a task of the guest hung"),
    _sign("disk-error", r"I/O error, dev|EXT4-fs error", "the guest's disk fails"),
    _sign("disk-full", r"No space left on device", "a file system of the guest is full"),
    _sign("segfault", r"\bsegfault at\b", "a program of the guest crashed"),
)


def find_sign(line: str) -> Sign | None:
    """The first sign a line shows, if any."""
    for sign in CONSOLE_SIGNS:
        if sign.pattern.search(line):
            return sign
    return None
