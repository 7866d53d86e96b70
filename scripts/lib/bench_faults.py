"""The frame filter by itself: frames and bits a second, and how much later a frame comes. No machine is needed."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench_rows import Row

from orchestrator.faults import frame_filter

FRAMES = 60_000
ROUND_TRIPS = 2_000
WINDOW = 8 << 20  # bytes
SETTINGS: dict[str, dict[str, object]] = {
    "nothing": {},
    "a delay": {"delay": 0.01},
    "a partition": {"unreached": ["02:00:00:00:00:01"]},
}


def measure(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Measure each setting with small and full frames.

    Args:
        rounds: of each.
    """
    rows = []
    for name, settings in SETTINGS.items():
        for size in (64, 1500):
            say(f"{name}, {size} bytes")
            rates = [_rate(settings, size) for _ in range(rounds)]
            rows.append(Row(f"frame filter, {name}, {size} bytes", rates, [], "≥ 10000", "frames/s"))
            mbits = [rate * size * 8 / 1e6 for rate in rates]
            rows.append(Row(f"the same in bits, {size} bytes", mbits, [], "≥ 200 with 1500 bytes", "Mbit/s"))
    say("added latency")
    rows.append(Row("a frame comes later by", [_latency() for _ in range(rounds)], [], "≤ 1", "ms"))
    return rows


@contextmanager
def _filter(settings: dict[str, object]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A filter, with QEMU's ends of its sockets: what goes in, what comes back."""
    going, source = socket.socketpair()
    target, coming = socket.socketpair()
    ends = (source.fileno(), target.fileno())
    argv = [sys.executable, "-I", "-S", frame_filter.__file__, *map(str, ends), "", json.dumps(settings)]
    process = subprocess.Popen(argv, pass_fds=ends, stdout=subprocess.DEVNULL)
    source.close()
    target.close()
    try:
        yield going, coming
    finally:
        going.close()
        process.wait(10)
        coming.close()


def _rate(settings: dict[str, object], size: int) -> float:
    frame = size.to_bytes(4, "big") + bytes(size)
    count = max(1, 65536 // len(frame))
    with _filter(settings) as (going, coming):
        # A filter drops what nobody takes, as a full network does: so much is on its way, and no more.
        room = threading.Semaphore(WINDOW // (count * len(frame)))

        def send() -> None:
            for _ in range(FRAMES // count):
                room.acquire()
                going.sendall(frame * count)

        thread = threading.Thread(target=send)
        begun = time.perf_counter()
        thread.start()
        left, taken = FRAMES // count * count * len(frame), 0
        while left > 0:
            got = len(coming.recv(1 << 20))
            left, taken = left - got, taken + got
            while taken >= count * len(frame):
                taken -= count * len(frame)
                room.release()
        took = time.perf_counter() - begun
        thread.join()
    return FRAMES / took


def _latency() -> float:
    """The median over many frames, one at a time, in milliseconds."""
    frame = (100).to_bytes(4, "big") + bytes(100)
    found = []
    with _filter({}) as (going, coming):
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            going.sendall(frame)
            coming.recv(200)
            found.append((time.perf_counter() - begun) * 1000)
    return statistics.median(found)
