"""What a machine's QEMU uses of the host, looked at once a second from outside: the guest notices nothing.

``samples.csv`` has one line for each look: the host's monotonic clock, and since QEMU began the seconds of processor
time, bytes of memory now, bytes read and bytes written. Reading three small files costs the host some 0.1 ms.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.events.clock import monotonic_clock

INTERVAL = 1.0  # seconds
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at a process.

    Attributes:
        at: by the host's monotonic clock.
        cpu: seconds of processor time since it began.
        memory: bytes that it has in memory.
        read, written: bytes since it began; 0 where the host does not tell.
    """

    at: float
    cpu: float
    memory: int
    read: int
    written: int

    def line(self) -> str:
        return f"{self.at:.3f},{self.cpu:.2f},{self.memory},{self.read},{self.written}\n"


async def take_samples(pid: int, path: Path) -> None:
    """Write a sample a second, for ever; a disk that is full loses some, and nothing else."""
    while True:
        sample = look(pid)
        if sample is not None:
            with suppress(OSError), path.open("a", encoding="ascii") as file:
                file.write(sample.line())
        await asyncio.sleep(INTERVAL)


def look(pid: int, proc: Path = Path("/proc")) -> Sample | None:
    """A sample of a process; None when it is gone."""
    folder = proc / str(pid)
    try:
        words = (folder / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(words[11]) + int(words[12])) / _TICKS  # utime and stime
        memory = int((folder / "statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None
    moved = {"rchar": 0, "wchar": 0}
    with suppress(OSError, ValueError):
        for line in (folder / "io").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in moved:
                moved[key] = int(value)
    return Sample(monotonic_clock(), cpu, memory, moved["rchar"], moved["wchar"])


@dataclass(frozen=True, slots=True)
class Usage:
    """What a machine used over a run, between one sample and the next; all lists have the same length.

    Attributes:
        times: of the later sample, by the host's monotonic clock.
        cpu: processors.
        memory: bytes.
        read, written: bytes in a second.
    """

    times: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    memory: tuple[int, ...] = ()
    read: tuple[float, ...] = ()
    written: tuple[float, ...] = ()


def usage_of(samples: Sequence[Sample]) -> Usage:
    """Rates of what counts up. A machine that was started again counts from zero. Pure.

    >>> usage_of([Sample(1.0, 0.0, 9, 0, 0), Sample(3.0, 3.0, 10, 4, 0), Sample(4.0, 0.1, 5, 0, 0)]).cpu
    (1.5,)
    """
    found = []
    for before, now in itertools.pairwise(samples):
        seconds = now.at - before.at
        if seconds > 0 and now.cpu >= before.cpu and now.written >= before.written:
            rates = [(now.cpu - before.cpu) / seconds, (now.read - before.read) / seconds]
            found.append((now.at, rates[0], now.memory, rates[1], (now.written - before.written) / seconds))
    return Usage(*(tuple(column) for column in zip(*found, strict=True))) if found else Usage()


def parse_samples(lines: Iterable[str]) -> list[Sample]:
    """The samples of a file; lines that are none are left out. Pure."""
    found = []
    for line in lines:
        with suppress(ValueError):
            at, cpu, memory, read, written = line.split(",")
            found.append(Sample(float(at), float(cpu), int(memory), int(read), int(written)))
    return found


def read_usage(path: Path) -> Usage:
    """That of a file of samples; nothing where there is none."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return usage_of(parse_samples(file))
    except OSError:
        return Usage()
