"""The guest's journal, followed on the host.

The guest pushes it through a virtio port into ``journal.jsonl``; it needs no
network, and it is written as long as the machine lives, whoever watches. Here
it wakes the waits: a line about a unit makes its service look again at once.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.vm.arrivals import ArrivalLog
from orchestrator.vm.follow import follow_lines

MESSAGE_LIMIT = 4000
INVOCATION_LENGTH = 32
DELAY = 60_000_000  # µs that a line waits for journald at most; more is a step of the time of day
RUNS_LIMIT = 50  # runs of one unit that are remembered: the first two tell all

# systemd's message ids (systemd.messages in its catalogue) for a unit that ended, failed, or is started again.
ENDED = frozenset(
    {
        "98e322203f7a4ed290d09fe03c09fe15",  # its process exited
        "d9b373ed55a64feb8242e02dbe79a49c",  # it failed with a result
        "be02cf6855d2428ba40df7e9d022f03d",  # its start job failed
        "5eb03494b6584870a536b337290809b3",  # a restart is scheduled
        "7ad2d189f7e94e70a38c781354912448",  # it was deactivated in order
        "9d1aaa27d60140bd96365438aad20286",  # it was stopped
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal line.

    Attributes:
        at: by the guest's clock, seconds since the epoch.
        ended: systemd says that its unit did.
        invocation: of which run of the unit systemd speaks, else empty.
        monotonic: when it was said, by the guest's monotonic clock, seconds; 0: not told.
        boot: which boot of the guest.
    """

    at: float
    unit: str
    identifier: str
    message: str
    priority: int
    ended: bool = False
    invocation: str = ""
    monotonic: float = 0.0
    boot: str = ""


def parse_entry(line: str) -> Entry | None:
    """A line of ``journalctl -o json``; None for anything else (it comes from a guest)."""
    try:
        data = json.loads(line)
        at = int(data.get("__REALTIME_TIMESTAMP", 0)) / 1e6
        monotonic = _monotonic(data)
        priority = int(data.get("PRIORITY", 6))
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return None
    message = data.get("MESSAGE", "")
    if isinstance(message, list):  # bytes that are no UTF-8 come as numbers
        message = bytes(n for n in message if isinstance(n, int) and 0 <= n < 256).decode("utf-8", "replace")
    # UNIT: what systemd says about a unit; _SYSTEMD_UNIT: what the unit says itself.
    unit = data.get("UNIT") or data.get("_SYSTEMD_UNIT") or ""
    ended = data.get("MESSAGE_ID") in ENDED if "UNIT" in data and isinstance(data.get("MESSAGE_ID"), str) else False
    identifier = str(data.get("SYSLOG_IDENTIFIER", ""))
    invocation = str(data.get("INVOCATION_ID", ""))[:INVOCATION_LENGTH] if "UNIT" in data else ""
    boot = str(data.get("_BOOT_ID", ""))[:INVOCATION_LENGTH]
    return Entry(at, str(unit), identifier, str(message)[:MESSAGE_LIMIT], priority, ended, invocation, monotonic, boot)


def _monotonic(data: Mapping[str, object]) -> float:
    """When a line was said, which may be long before journald took it: at a boot, or when the guest is busy."""

    if "_SOURCE_MONOTONIC_TIMESTAMP" in data and (said := _whole(data["_SOURCE_MONOTONIC_TIMESTAMP"])):
        return said / 1e6  # the kernel's own
    taken, delay = _whole(data.get("__MONOTONIC_TIMESTAMP", 0)), 0
    if "_SOURCE_REALTIME_TIMESTAMP" in data:  # of a datagram, by the time of day
        delay = _whole(data.get("__REALTIME_TIMESTAMP", 0)) - _whole(data["_SOURCE_REALTIME_TIMESTAMP"])
    return (taken - (delay if 0 < delay < DELAY else 0)) / 1e6


def _whole(value: object) -> int:
    return int(value) if isinstance(value, str | int) else 0


class Journal:
    """One machine's journal as it is read, and who waits for what in it."""

    def __init__(self, path: Path, on_entry: Callable[[Entry], None] | None = None) -> None:
        self.path = path
        self.heard = False  # whether it told anything yet
        self.start = 0  # bytes of the file that were read by others, or are of before a restore
        self._news: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._ended: dict[str, asyncio.Event] = {}
        self._runs: dict[str, set[str]] = {}
        self._real: dict[str, str] = {}  # name in the topology → the name under which lines come
        self._on_entry = on_entry
        self._arrivals = ArrivalLog(path)

    def skip(self) -> None:
        """Begin with what comes from now on: what was told before was told to others."""
        self.start = self.path.stat().st_size if self.path.exists() else 0
        self.heard = self.start > 0

    async def follow(self) -> None:
        """Read for ever; run it as a guard."""
        async for line in follow_lines(self.path, start=self.start, arrivals=self._arrivals):
            entry = parse_entry(line)
            if entry is None:
                continue
            self.heard = True
            if entry.unit in self._news:
                self._news[entry.unit].set()
            if entry.ended and entry.unit in self._ended:
                self._ended[entry.unit].set()
            runs = self._runs.get(entry.unit)
            if entry.invocation and runs is not None and len(runs) < RUNS_LIMIT:
                runs.add(entry.invocation)
            if self._on_entry is not None:
                self._on_entry(entry)

    def know(self, unit: str, real: str) -> None:
        """Lines about this unit come under its own name; the topology may call it by an alias."""
        if unit != real:
            self._real[unit] = real

    async def wait_for_entry(self, unit: str) -> None:
        """Return at the next line of this unit."""
        event = self._news[self._real.get(unit, unit)]
        event.clear()
        await event.wait()

    def await_end(self, unit: str) -> asyncio.Event:
        """An event, unset now, which is set when systemd says that the unit ended. Ask for it before the start."""
        real = self._real.get(unit, unit)
        event = self._ended[real] = asyncio.Event()
        self._runs[real] = set()
        return event

    def runs(self, unit: str) -> frozenset[str]:
        """The runs of the unit that systemd told of since `await_end`."""
        return frozenset(self._runs.get(self._real.get(unit, unit), ()))
