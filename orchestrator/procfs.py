"""What the kernel tells of a process in ``/proc/PID/stat``.

`orchestrator.environment.reaper` reads the same file by itself: it runs isolated (``python -I -S``), without this
package on its path.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

ENDED = frozenset("ZX")  # a zombie, and a process that is just being removed


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """A process at one moment.

    Attributes:
        state: one letter, as ``ps`` shows it.
        start_ticks: when it started, in clock ticks since the boot of the host.
    """

    state: str
    start_ticks: int

    @property
    def running(self) -> bool:
        """Whether it has not ended; a zombie has."""
        return self.state not in ENDED


def read_stat(pid: int) -> ProcessStat | None:
    """The process with this pid; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # a name may be any bytes
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse_stat(text)


def user_of(pid: int) -> str:
    """Who a process is, as ``uid:gid``; empty where that is who we are, or it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    found = {
        name: rest.split()[1] for name, _, rest in (line.partition(":") for line in lines) if name in ("Uid", "Gid")
    }
    return "" if found["Uid"] == str(os.geteuid()) else f"{found['Uid']}:{found['Gid']}"


def parse_stat(text: str) -> ProcessStat:
    """The fields behind the name, which may hold blanks and parentheses. Pure.

    >>> parse_stat("7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9")
    ProcessStat(state='S', start_ticks=4242)
    """
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(fields[0], int(fields[19]))


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
