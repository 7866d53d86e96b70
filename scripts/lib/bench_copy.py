"""Copies into and out of a machine: `cp` beside scp and `exec`, in turn, on the same machine and the same file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench_rows import NAME, ROOT, Row, orchestrator

SIZE = 64 << 20  # bytes that do not compress
IN_GUEST = "/var/tmp/bench-copy"  # in the guest
AIM = "≤ 1.25 × the other"  # 0.8 of its rate


def measure(rounds: int, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> list[Row]:
    """Start a machine, copy both ways, take it down.

    Args:
        rounds: copies of each side and direction.
        folder: of this bench, for the file and its copies.
    """
    data = folder / "data"
    with data.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    say("up")
    orchestrator("-n", NAME, "up", "--fresh", environment=environment)
    try:
        config = _output(["-n", NAME, "ssh-config", "--path"], environment).strip()
        scp = ["scp", "-q", "-F", config]
        into: dict[str, list[float]] = {"cp": [], "scp": [], "exec": []}
        out: dict[str, list[float]] = {"cp": [], "scp": [], "exec": []}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            into["cp"].append(orchestrator("-n", NAME, "cp", str(data), f"server:{IN_GUEST}", environment=environment))
            into["scp"].append(_seconds([*scp, str(data), f"server:{IN_GUEST}"]))
            into["exec"].append(_exec(["sh", "-c", f"cat > {IN_GUEST}"], environment, stdin=data))
            target = folder / "target"
            out["cp"].append(orchestrator("-n", NAME, "cp", f"server:{IN_GUEST}", str(target), environment=environment))
            if target.read_bytes() != data.read_bytes():
                sys.exit("what cp brought is not what it took")
            out["scp"].append(_seconds([*scp, f"server:{IN_GUEST}", str(target)]))
            out["exec"].append(_exec(["cat", IN_GUEST], environment, stdout=target))
    finally:
        orchestrator("down", "-q", "--name", NAME, environment=environment)
    return [
        Row(f"{SIZE >> 20} MiB {way}, `cp` against {other}", times["cp"], times[other], AIM)
        for way, times in (("into a machine", into), ("out of a machine", out))
        for other in ("scp", "exec")
    ]


def _seconds(argv: list[str]) -> float:
    begun = time.monotonic()
    subprocess.run(argv, check=True)
    return time.monotonic() - begun


def _exec(
    command: list[str], environment: Mapping[str, str], *, stdin: Path | None = None, stdout: Path | None = None
) -> float:
    argv = [sys.executable, "-m", "orchestrator", "-n", NAME, "exec", "server", "--", *command]
    begun = time.monotonic()
    with (stdin or Path(os.devnull)).open("rb") as source, (stdout or Path(os.devnull)).open("wb") as sink:
        subprocess.run(argv, env=dict(environment), cwd=ROOT, stdin=source, stdout=sink, check=True)
    return time.monotonic() - begun


def _output(arguments: list[str], environment: Mapping[str, str]) -> str:
    argv = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.run(argv, env=dict(environment), cwd=ROOT, capture_output=True, text=True, check=True).stdout
