"""When the lines of a console or journal arrived: a file of times beside the log.

QEMU writes the logs without times. Whoever follows one notes after each read how long it is, and when that was by the
host's monotonic clock: ``AT SIZE``. With a third word, ``?``, so much was there already when somebody began to look;
with ``.``, nothing more had come when they ceased to look. A smaller size than before means that the log was emptied.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.events.clock import monotonic_clock

UNKNOWN, CEASED = "?", "."
SUFFIX = ".times"


def times_of(log: Path) -> Path:
    """The file of times that belongs to a log."""
    return log.with_name(log.name + SUFFIX)


class ArrivalLog:
    """Notes how far a log was read, and when. A disk that is full loses times, and nothing else."""

    def __init__(self, log: Path) -> None:
        self._path = times_of(log)
        self._known = 0  # bytes whose times are noted

    def begin(self, size: int) -> None:
        """So many bytes are there as somebody begins to look; what was looked at before keeps its times."""
        self._write(size, f" {UNKNOWN}")

    def note(self, size: int) -> None:
        """The log was read up to here."""
        self._write(size, "")

    def cease(self, size: int) -> None:
        """Nobody looks any more; this is what there was."""
        if size == self._known:
            self._append(size, f" {CEASED}")

    def begin_again(self) -> None:
        """The log was emptied: the times so far are of what is gone, and a log that is written without end has many."""
        self._known = 0
        with suppress(OSError):
            os.truncate(self._path, 0)

    def _write(self, size: int, mark: str) -> None:
        if size <= self._known:
            return  # it is read once more
        self._known = size
        self._append(size, mark)

    def _append(self, size: int, mark: str) -> None:
        with suppress(OSError), self._path.open("a", encoding="ascii") as file:
            file.write(f"{monotonic_clock():.6f} {size}{mark}\n")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Which byte of a log was there when.

    Attributes:
        sizes: they rise; each time belongs to the size of the same place.
        ceased: sizes of which nothing more had come at a time.
    """

    sizes: tuple[int, ...] = ()
    times: tuple[float | None, ...] = ()
    ceased: tuple[tuple[int, float], ...] = ()

    def at(self, end: int) -> float | None:
        """When the bytes up to ``end`` had come, by the host's monotonic clock; None where nobody looked."""
        place = bisect_left(self.sizes, end)
        return self.times[place] if place < len(self.sizes) else None

    def not_before(self, end: int) -> float | None:
        """The last time that somebody looked and these bytes were not all there; None where nobody did before."""
        place = bisect_left(self.sizes, end) - 1
        while place >= 0 and self.times[place] is None:
            place -= 1  # few begin to look at one log
        seen = self.times[place] if place >= 0 else None
        return max((at for size, at in self.ceased if size < end), default=seen)


def parse_arrivals(lines: Iterable[str]) -> Arrivals:
    """The times of a log as it is now. Lines that are none are left out. Pure.

    >>> parse_arrivals(["7.0 100 ?", "8.5 140", "9.0 150"]).at(141)
    9.0
    >>> parse_arrivals(["7.0 100 ?", "8.5 140"]).at(100) is None
    True
    """
    sizes: list[int] = []
    times: list[float | None] = []
    ceased: list[tuple[int, float]] = []
    for line in lines:
        try:
            at, size, *mark = line.split()
            moment, end = float(at), int(size)
        except ValueError:
            continue
        if sizes and end < sizes[-1]:
            sizes, times, ceased = [], [], []  # begun again
        if CEASED in mark:
            ceased.append((end, moment))
        elif not sizes or end > sizes[-1]:
            sizes.append(end)
            times.append(None if mark else moment)
    return Arrivals(tuple(sizes), tuple(times), tuple(ceased))


def read_arrivals(log: Path) -> Arrivals:
    """Those of a log; none where nobody has noted any."""
    try:
        with times_of(log).open(encoding="ascii", errors="replace") as file:
            return parse_arrivals(file)
    except OSError:
        return Arrivals()


def shifted(lines: Iterable[str], start: int) -> list[str]:
    """The times of what a log holds from byte ``start`` on, for a copy of that part. Pure.

    >>> shifted(["7.0 100", "8.5 140", "9.0 150 ?"], 120)
    ['8.5 20', '9.0 30 ?']
    """
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[1].isdigit() and int(words[1]) > start:
            found.append(" ".join([words[0], str(int(words[1]) - start), *words[2:]]))
    return found
