"""Machines die with their owner, even when it is killed with SIGKILL.

A small process holds the read end of a pipe. Until the owner says ``release``,
the end of the pipe means that the owner is gone, and what was registered is
ended. A pipe knows no thread or exec traps, unlike PR_SET_PDEATHSIG.

This file is also that process's program; it imports nothing but the standard
library and is run with ``python -I -S``.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def main() -> None:
    """Read ``pid ticks`` lines from stdin until ``release`` or the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    processes: list[tuple[int, str]] = []
    for line in sys.stdin:
        words = line.split()
        if words == ["release"]:
            return
        if len(words) == 2:
            processes.append((int(words[0]), words[1]))
    for number, grace in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0)):
        for pid, ticks in processes:
            if _ticks(pid) == ticks:
                try:
                    os.killpg(pid, number)
                    os.killpg(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        end = time.monotonic() + grace
        while time.monotonic() < end and any(_ticks(pid) == ticks for pid, ticks in processes):
            time.sleep(0.02)


def _ticks(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - pathlib is not worth its import here
            text = file.read()
    except OSError:
        return ""
    fields = text[text.rindex(")") + 2 :].split()
    return "" if fields[0] in "ZX" else fields[19]


if __name__ == "__main__":
    main()
