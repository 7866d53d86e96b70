"""The frame filter: what the frames of one direction of a link go through while a fault of the network is on.

QEMU's filter-redirector gives this process every frame of the direction, and takes back those that go on, at their
time: the shape of `orchestrator.net.egress_filter`. QEMU's arguments stay as they are, and without a fault there is
no such process and no cost.

`Shaper` decides; it is pure. Every random choice is drawn from the seed, frame by frame in a fixed order: the same
seed and the same frames give the same losses.

This file is also the process's program; it imports nothing but the standard library and is run with ``python -I -S``.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

LONGEST_FRAME = 1 << 20
HELD_LIMIT = 32 << 20  # bytes that wait for their time, or for QEMU
LONG_WAIT = 3600.0  # seconds
PIECE = 1 << 18


@dataclass(frozen=True)
class Settings:
    """What happens to frames. Everything is off by default.

    Attributes:
        seed: what random choices are drawn from.
        delay: seconds that each frame comes later; ``jitter``: how much that varies, in seconds; ``normal``: by a
            normal distribution with jitter as its standard deviation, else evenly in delay ± jitter.
        loss: of 100 frames so many are lost; ``burst``: the mean of how many in a row.
        duplicate: of 100 frames so many come twice.
        corrupt: in so many of 100 frames one bit is another.
        reorder: so many of 100 frames are held for ``gap`` seconds, and overtaken meanwhile.
        rate: bits per second, Ethernet header included; 0: no limit; ``queue``: seconds that a frame may wait.
        unreached: addresses, in hexadecimal digits, that nothing comes from or goes to.
    """

    seed: int = 1
    delay: float = 0.0
    jitter: float = 0.0
    normal: bool = False
    loss: float = 0.0
    burst: int = 1
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    gap: float = 0.02
    rate: float = 0.0
    queue: float = 0.5
    unreached: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, data: dict[str, object]) -> Settings:
        """Settings of JSON data."""
        addresses = frozenset(bytes.fromhex(str(mac).replace(":", "")) for mac in data.pop("unreached", ()))  # type: ignore[attr-defined]
        return cls(**data, unreached=addresses)  # type: ignore[arg-type]


@dataclass
class Counts:
    """What became of frames so far."""

    frames: int = 0
    lost: int = 0
    full: int = 0
    cut: int = 0
    doubled: int = 0
    corrupted: int = 0
    held: int = 0

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in vars(self).items() if value or name == "frames")


@dataclass
class Shaper:
    """Decides for each frame when it goes on, how often, and as what. Times are seconds of any one clock."""

    settings: Settings
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._random = random.Random(self.settings.seed)  # noqa: S311 - the same every time
        self._losing = False
        self._free = 0.0  # when the line is free again, under a rate
        self._last = 0.0  # when the last frame that keeps its place goes on

    def pass_on(self, frame: bytes, now: float) -> list[tuple[float, bytes]]:
        """When a frame that comes now goes on: a time and the frame, for each copy; empty where it is lost."""
        wanted, draw, counts = self.settings, self._random.random, self.counts
        counts.frames += 1
        if wanted.unreached and (frame[:6] in wanted.unreached or frame[6:12] in wanted.unreached):
            counts.cut += 1
            return []
        if wanted.loss and self._loses():
            counts.lost += 1
            return []
        if wanted.corrupt and draw() * 100 < wanted.corrupt:
            counts.corrupted += 1
            frame = _corrupted(frame, self._random)
        copies = 1
        if wanted.duplicate and draw() * 100 < wanted.duplicate:
            counts.doubled += 1
            copies = 2
        held = bool(wanted.reorder) and draw() * 100 < wanted.reorder
        due = now
        if wanted.rate:
            begin = max(now, self._free)
            if begin - now > wanted.queue:
                counts.full += 1
                return []
            self._free = due = begin + len(frame) * 8 * copies / wanted.rate
        if wanted.delay:
            due += self._delay()
        if held:
            counts.held += 1
            due += wanted.gap
        else:
            due = self._last = max(due, self._last)
        return [(due, frame)] * copies

    def _loses(self) -> bool:
        """Whether this frame is lost: two states, so that losses come in bursts of a mean length."""
        share, burst = self.settings.loss / 100, self.settings.burst
        if share >= 1:
            return True
        if burst <= 1:
            return self._random.random() < share
        change = 1 / burst if self._losing else share / (burst * (1 - share))
        if self._random.random() < change:
            self._losing = not self._losing
        return self._losing

    def _delay(self) -> float:
        wanted = self.settings
        if not wanted.jitter:
            return wanted.delay
        if wanted.normal:
            return max(0.0, self._random.gauss(wanted.delay, wanted.jitter))
        return wanted.delay + wanted.jitter * (2 * self._random.random() - 1)


def _corrupted(frame: bytes, source: random.Random) -> bytes:
    """The frame with another bit behind its header, where checksums look."""
    if len(frame) <= 14:
        return frame
    bit = source.randrange(14 * 8, len(frame) * 8)
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Frames:
    """Takes apart what QEMU sends: each frame comes after its length, four bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The frames that are whole now.

        Raises:
            ValueError: no frame is so long; this is no stream of frames.
        """
        data, at = self._rest + piece, 0
        while len(data) - at >= 4:
            length = int.from_bytes(data[at : at + 4], "big")
            if length > LONGEST_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(data) - at < 4 + length:
                break
            yield data[at + 4 : at + 4 + length]
            at += 4 + length
        self._rest = data[at:]


def relay(source: socket.socket, target: socket.socket, shaper: Shaper) -> None:
    """Take frames from one socket and put them into the other at their time, until the first one's end.

    QEMU waits with everything until it got rid of a frame: so this always reads, and drops what is too much.
    """
    frames, waiting, number, held = Frames(), list[tuple[float, int, bytes]](), 0, 0
    ready = bytearray()
    for one in (source, target):
        one.setblocking(False)
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else LONG_WAIT
        readable, writable, _ = select.select([source], [target] if ready else [], [], wait)
        if readable:
            piece = source.recv(PIECE)
            if not piece:
                return
            now = time.monotonic()
            for frame in frames.feed(piece):
                for due, changed in shaper.pass_on(frame, now):
                    if held + len(ready) > HELD_LIMIT:
                        shaper.counts.full += 1
                    elif due <= now and not waiting:
                        ready += len(changed).to_bytes(4, "big") + changed
                    else:
                        heapq.heappush(waiting, (due, number, changed))
                        number, held = number + 1, held + len(changed)
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            frame = heapq.heappop(waiting)[2]
            held -= len(frame)
            ready += len(frame).to_bytes(4, "big") + frame
        if ready and (writable or not readable):
            with suppress(BlockingIOError):
                del ready[: target.send(ready)]


def main(argv: list[str]) -> int:
    """Run until QEMU closes its side.

    Args:
        argv: the descriptors of frames that come and of those that go on, ``uid:gid`` to become or nothing, settings
            as JSON.
    """
    source, target = socket.socket(fileno=int(argv[0])), socket.socket(fileno=int(argv[1]))
    if argv[2]:
        user, group = argv[2].split(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    shaper = Shaper(Settings.of(json.loads(argv[3])))

    sys.stdout.write(f"begins with {argv[3]}\n")
    sys.stdout.flush()
    with suppress(ConnectionError):  # QEMU ended
        relay(source, target, shaper)
    with suppress(OSError):  # a full disk
        sys.stdout.write(f"{shaper.counts}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
