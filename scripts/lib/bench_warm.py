"""Cold start against warm start, reset and clones, on this machine; against the plain QEMU limit.

``scripts/bench warm``. The limit is a bare script: spawn the saved machines, load, go on, and the first HTTP answer
that needed the database. It makes no check, opens no SSH, sets no clock.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from bench_rows import NAME, ROOT, Row, orchestrator

from orchestrator.deadline import Deadline
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.saving import default_store
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.environment.teardown import orphans
from orchestrator.events.read import load_events
from orchestrator.events.suite import IsolationStateChanged, SuiteStateChanged, TestBegan, TestEnded
from orchestrator.images.contract import find_run_script
from orchestrator.net.networks import NetworkPaths, nics_of, start_switch
from orchestrator.process import launch
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.manifest import files_of
from orchestrator.snapshots.restore import load, stage_files
from orchestrator.snapshots.save import cont
from orchestrator.tasks import run_all
from orchestrator.topology.model import Topology
from orchestrator.vm.arguments import MachinePaths, QemuSettings, script_arguments, script_environment
from orchestrator.vm.qmp import Monitor, connect

Say = Callable[[str], None]
ISOLATED_TESTS = "assets may|page itself|config.json|/health answers|start page|deep link|fits the screen"


def measure(count: int, clones: int, topology: Topology, environment: Mapping[str, str], say: Say) -> list[Row]:
    """All rows; the environment is down afterwards."""
    cold, ready, back = [], [], []
    for number in range(1, count + 1):
        if number > 1:
            orchestrator("down", "-q", "--name", NAME, environment=environment)
        cold.append(orchestrator("up", "-q", "--fresh", "--name", NAME, environment=environment))
        say(f"cold {number}/{count}: {cold[-1]:.1f} s")
    state = read_state(EnvironmentPaths.of(NAME).state)
    assert state is not None
    paused = paused_seconds(state)
    for number in range(1, count + 1):
        back.append(orchestrator("reset", "-q", "--name", NAME, environment=environment))
        say(f"reset {number}/{count}: {back[-1]:.2f} s")
    orchestrator("down", "-q", "--name", NAME, environment=environment)
    for number in range(1, count + 1):
        ready.append(orchestrator("up", "-q", "--warm", "--name", NAME, environment=environment))
        say(f"warm {number}/{count}: {ready[-1]:.2f} s")
        orchestrator("down", "-q", "--name", NAME, environment=environment)
    bare = []
    for number in range(1, count + 1):
        with tempfile.TemporaryDirectory(prefix="ob-") as folder:
            bare.append(asyncio.run(bare_restore(topology, state, Path(folder))))
        say(f"bare restore {number}/{count}: {bare[-1]:.2f} s")
    rows = [
        Row("warm `up` to READY, against cold", ready, cold, "≤ 0.033"),
        Row("warm `up` to READY, against the bare restore to its first answer", ready, bare, "≤ 2"),
        Row("`reset` to READY, against the bare restore", back, bare, "≤ 1.5 s, ≤ 2"),
        Row("machines were paused while their state was saved", [paused], [], "≤ 0.5 s"),
    ]
    rows += isolated_rows(environment, say)
    number = 1
    while number <= clones:
        rows += clone_rows(number, environment, say)
        number *= 2
    return rows


def paused_seconds(state: EnvironmentState) -> float:
    stored = next(one for one in default_store().all() if str(one.folder) == state.snapshot)
    assert stored.manifest is not None
    return stored.manifest.paused


async def bare_restore(topology: Topology, state: EnvironmentState, folder: Path) -> float:
    """Seconds from the spawn of all machines to the first answer with database access."""
    snapshot = Path(state.snapshot)
    networks = NetworkPaths(sockets=folder / "s", logs=folder)
    networks.sockets.mkdir(parents=True)
    started: list[ProcessId] = []
    paths = {name: MachinePaths(folder / name, folder / "s" / name, folder / name) for name in topology.machines}
    memories = {}
    for name, place in paths.items():
        for one in (place.work, place.sockets, place.scratch):
            one.mkdir(parents=True)
        memories[name] = await stage_files(snapshot, name, place, None)
    try:
        for network in topology.networks.values():
            started.append(await start_switch(network, networks, Deadline.after(10)))
        begun = time.monotonic()
        for name, machine in topology.machines.items():
            nics = nics_of(machine, topology.machines, topology.networks, networks)
            arguments = script_arguments(
                machine, paths[name], nics, QemuSettings(accelerator=state.accelerator, memory=memories[name])
            )
            script = find_run_script(Path(state.machines[name].image))
            environment = script_environment(machine, paths[name], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
            started.append(launch([str(script), *arguments], log=paths[name].qemu_log, env=environment))
        monitors = await run_all(*(_loaded(snapshot, name, place) for name, place in paths.items()))
        await run_all(*(cont(monitor) for monitor in monitors))
        ports = [await monitor.forwarded_ports() for monitor in monitors]
        port = next(one[80] for one in ports if 80 in one)
        await asyncio.to_thread(_first_answer, f"http://127.0.0.1:{port}/api/v1/conversations")
        seconds = time.monotonic() - begun
        for monitor in monitors:
            await monitor.close()
        return seconds
    finally:
        for process in started:
            await process.end(1)


async def _loaded(snapshot: Path, name: str, paths: MachinePaths) -> Monitor:
    monitor = await connect(name, paths.qmp, Deadline.after(20))
    await load(monitor, files_of(snapshot, name).state, Deadline.after(60))
    return monitor


def _first_answer(url: str) -> None:
    end = time.monotonic() + 120
    with httpx.Client(timeout=30) as http:
        while time.monotonic() < end:
            try:
                if http.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
    sys.exit(f"the restored machines did not answer {url}")


# ---------------------------------------------------------------------- browser tests, each from a fresh state


def isolated_rows(environment: Mapping[str, str], say: Say) -> list[Row]:
    """Some of the shipped tests with ``--isolate=test``: from the start of a reset to the end of its test."""
    words = ("run", "-q", "--warm", "--isolate=test", "--grep", ISOLATED_TESTS, "--name", NAME)
    orchestrator(*words, environment=environment)
    whole: dict[str, list[float]] = {}
    started, begun, asked = [], 0.0, 0.0
    for event in load_events(Path(environment["ORCH_RUNS"]) / "latest/events.jsonl"):
        match event:
            case IsolationStateChanged(state="restoring"):
                begun = event.at
            case SuiteStateChanged(state="running"):
                asked = event.at
            case TestBegan() if begun:
                started.append(event.at - asked)
            case TestEnded() if begun:
                whole.setdefault(event.file, []).append(event.at - begun)
    say(f"fresh states: {', '.join(f'{name} {len(times)}' for name, times in whole.items())}")
    rows = [Row("fresh state: from the suite's command to the test's begin", started, [], "-")]
    return rows + [Row(f"fresh state with a test of {name}", times, [], "-") for name, times in whole.items()]


# ---------------------------------------------------------------------- clones


def clone_rows(count: int, environment: Mapping[str, str], say: Say) -> list[Row]:
    """``count`` environments from one state at once: until the last is READY, and what their machines' memory costs."""
    names = [f"{NAME}-{number}" for number in range(1, count + 1)]
    begun = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "up", "-q", "--warm", "--name", name],
            env=dict(environment),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        for one in running:
            _, said = one.communicate()
            if one.returncode != 0:
                sys.exit(f"a clone did not start:\n{said[-3000:]}")
        seconds = time.monotonic() - begun
        costs = [cost for name in names for cost in new_memory(name).items()]
    finally:
        orchestrator("down", "-q", "--all", environment=environment)
    say(f"{count} clones at once: {seconds:.1f} s")
    rows = [Row(f"{count} clones at once, until the last is READY", [seconds], [], "-")]
    for machine in dict.fromkeys(name for name, _ in costs):
        shares = [share for name, share in costs if name == machine]
        rows.append(Row(f"{count} clones: new memory of {machine}, of its RAM", shares, [], "≤ 0.35", ""))
    for name in names:
        if orphans(EnvironmentPaths.of(name)):
            sys.exit(f"clone {name} left processes")
    return rows


def new_memory(name: str) -> dict[str, float]:
    """Per machine, the share of its RAM that its clone wrote and so has for itself."""
    state = read_state(EnvironmentPaths.of(name).state)
    assert state is not None
    found = {}
    for machine, known in state.machines.items():
        maps = Path(f"/proc/{known.process.pid}/smaps").read_text()
        parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", maps, flags=re.MULTILINE)
        ram = next(part for part in parts if f"/{machine}/ram" in part.partition("\n")[0])
        kib = int(re.findall(r"^Anonymous: +(\d+) kB", ram, re.MULTILINE)[0])
        found[machine] = kib / 1024 / state.topology.machines[machine].memory
    return found
