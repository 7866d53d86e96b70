"""The driver beside what it rests on: calls, waits, growth, pytest, imports; all in one environment."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench_rows import NAME, ROOT, Row

from orchestrator.deadline import Deadline
from orchestrator.driver.facade import wait
from orchestrator.sync import Environment, Machine

CALLS = 1000  # for growth
TESTS = 50
OPENER = (
    "import socket, sys, time; time.sleep(1); s = socket.create_server(('', int(sys.argv[1]))); "
    "open('/tmp/opened', 'w').write(str(time.time())); time.sleep(120)"
)
SUITE = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_one(server, number):
    server.succeed("true")
"""


def measure(rounds: int, environment: Mapping[str, str], say: Callable[[str], None]) -> list[Row]:
    """Bring an environment up and measure in it.

    Args:
        rounds: of each side of a comparison, times five.
    """
    rows = [Row("`import orchestrator.sync`", [_import_time() for _ in range(2 * rounds)], [], "≤ 0.15 s")]
    say("up")
    with Environment.load(ROOT / "orchestrator.toml", name=NAME, start="cold") as env:
        server, factor = env.server, env.factor
        say("calls")
        rows.append(_calls(server, 10 * rounds))
        say("ports")
        delays = [_port(server, 21000 + number) for number in range(rounds)]
        rows.append(
            Row("a port that opens, to the wait being over", delays, [], f"≤ {0.2 * max(1, factor / 10):.2f} s")
        )
        say(f"{CALLS} calls")
        rows += _growth(server)
        say("resets")
        resets = []
        for _ in range(rounds):
            begun = time.monotonic()
            env.reset()
            resets.append(time.monotonic() - begun)
        rows.append(Row("`reset`", resets, [], "see warm"))
        say(f"pytest, {TESTS} tests without reset")
    plain = _pytest(environment, "none")
    say(f"pytest, {TESTS} tests with a reset each")
    with_reset = _pytest(environment, "function")
    each = (with_reset - plain) / (TESTS - 1)
    rows.append(
        Row(
            "pytest: each of its tests with a reset, without what the session costs",
            [each],
            resets,
            "≤ reset + 0.1 s × factor",
        )
    )
    return rows


def _import_time() -> float:
    code = "import time; t = time.perf_counter(); import orchestrator.sync; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def _calls(server: Machine, count: int) -> Row:
    """`succeed` against `exec` over the same kept connection, in turn."""
    live = server._core._live

    async def plain() -> None:
        ssh = await live.ssh()
        await ssh.exec(["true"], deadline=Deadline.after(60))

    ours, theirs = [], []
    server.succeed("true")
    for _ in range(count):
        begun = time.monotonic()
        server.succeed("true")
        ours.append(time.monotonic() - begun)
        begun = time.monotonic()
        wait(plain())
        theirs.append(time.monotonic() - begun)
    return Row('`succeed("true")`, against `exec` over the same connection', ours, theirs, "≤ 1.0")


def _port(server: Machine, port: int) -> float:
    """Seconds by the guest's clock from the opening to a command after the wait; that command's time is taken off."""
    server.path("/tmp/opened").unlink()
    with server.spawn(["python3", "-c", OPENER, str(port)]):
        server.wait_for_open_port(port)
        begun = time.monotonic()
        now = float(server.succeed("date +%s.%N"))
        own = time.monotonic() - begun
        return max(0.0, now - float(server.path("/tmp/opened").read_text()) - own / 2)


def _growth(server: Machine) -> list[Row]:
    server.succeed("true")
    before = _resources()
    for _ in range(CALLS):
        server.succeed("true")
    grown = [after - earlier for earlier, after in zip(before, _resources(), strict=True)]
    what = f"after {CALLS} calls: more"
    units = (("threads", "threads"), ("descriptors", "descriptors"), ("resident memory", "MiB"))
    return [
        Row(f"{what} {name}", [value], [], "0" if unit != "MiB" else "≤ 2", unit)
        for (name, unit), value in zip(units, grown, strict=True)
    ]


def _resources() -> tuple[float, float, float]:
    memory = int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), memory


def _pytest(environment: Mapping[str, str], reset: str) -> float:
    """Seconds of a session of our plugin."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        Path(folder, "test_bench.py").write_text(SUITE.format(tests=TESTS))
        options = ["-q", "-p", "no:cacheprovider", f"--orch-file={ROOT / 'orchestrator.toml'}", f"--orch-reset={reset}"]
        argv = [sys.executable, "-m", "pytest", *options, f"--orch-name={NAME}", folder]
        begun = time.monotonic()
        done = subprocess.run(argv, env=dict(environment), cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"pytest exited with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
        return time.monotonic() - begun
