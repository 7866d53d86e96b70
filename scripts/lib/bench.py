"""Measures the orchestrator against the plain tools on this machine; prints ratios.

Every comparison is taken in turn (ours, theirs, ours, …), so that a machine
whose speed drifts drifts for both. Figures are medians; all values are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import httpx
from bench_rows import NAME, ROOT, Row, orchestrator

from orchestrator.deadline import Deadline
from orchestrator.environment.attach import ssh_to
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.session import Session
from orchestrator.environment.state import EnvironmentState, StateFile, read_state
from orchestrator.events import Event, EventBus, wall_clock
from orchestrator.events.services import CheckResulted
from orchestrator.folders import cache_root, shared_memory
from orchestrator.images.provider import ensure_images
from orchestrator.net.networks import NetworkPaths, nics_of, start_switch
from orchestrator.process import launch
from orchestrator.process_id import ProcessId
from orchestrator.services.channels import Channels
from orchestrator.services.checks.file import FileCheck
from orchestrator.services.checks.tcp import TcpCheck
from orchestrator.services.graph import ServiceGraph
from orchestrator.services.reach import Reach
from orchestrator.services.supervisor import ServiceSupervisor
from orchestrator.tasks import run_with_watchdogs
from orchestrator.topology.check_kind import CheckKind
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Check, Machine, Service, ServiceKind, Topology
from orchestrator.vm.accelerator import probe
from orchestrator.vm.arguments import MachinePaths, QemuSettings, script_arguments, script_environment
from orchestrator.vm.qmp import connect

TOPOLOGY = ROOT / "orchestrator.toml"
SYSTEMD_STARTS_ALL = "systemd.wants=alicia-stack.target"


# ---------------------------------------------------------------------- cold start


async def bare_start(topology: Topology, accelerator: str, folder: Path) -> float:
    """The same two machines from a bare script, services started by systemd: seconds to the API answering."""
    images = await ensure_images(topology, provider="debian", bus=EventBus(), deadline=Deadline.after(3600))
    networks = NetworkPaths(sockets=folder / "s", logs=folder)
    networks.sockets.mkdir(parents=True)
    begun = time.monotonic()
    started: list[ProcessId] = []
    try:
        for network in topology.networks.values():
            started.append(await start_switch(network, networks, Deadline.after(10)))
        for machine in topology.machines.values():
            started.append(_bare_machine(machine, topology, images[machine.image].run_script, accelerator, folder))
        monitor = await connect("server", folder / "s" / "server" / "qmp", Deadline.after(20))
        port = (await monitor.forwarded_ports())[80]
        await monitor.close()
        await asyncio.to_thread(_until_answer, f"http://127.0.0.1:{port}/api/v1/conversations", 1200)
        return time.monotonic() - begun
    finally:
        for process in started:
            await process.end(1)


def _bare_machine(machine: Machine, topology: Topology, script: Path, accelerator: str, folder: Path) -> ProcessId:
    paths = MachinePaths(folder / machine.name, folder / "s" / machine.name, folder / machine.name)
    for one in (paths.work, paths.sockets, paths.scratch):
        one.mkdir(parents=True)
    nics = nics_of(machine, topology.machines, topology.networks, NetworkPaths(folder / "s", folder))
    arguments = script_arguments(machine, paths, nics, QemuSettings(accelerator=accelerator))
    environment = script_environment(machine, paths, os.environ, SYSTEMD_STARTS_ALL)
    return launch([str(script), *arguments], log=paths.qemu_log, env=environment)


def _until_answer(url: str, limit: float) -> None:
    end = time.monotonic() + limit
    with httpx.Client(timeout=2) as http:
        while time.monotonic() < end:
            try:
                if http.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    sys.exit(f"the bare machines did not answer {url} within {limit:.0f} s")


def cold(
    count: int, topology: Topology, accelerator: str, environment: Mapping[str, str], say: Callable[[str], None]
) -> list[Row]:
    """READY is the moment the program says it; the whole command also saves the healthy state."""
    ready, whole, theirs = [], [], []
    for number in range(1, count + 1):
        with tempfile.TemporaryDirectory(prefix="ob-") as folder:
            theirs.append(asyncio.run(bare_start(topology, accelerator, Path(folder))))
        say(f"cold {number}/{count}: bare {theirs[-1]:.1f} s")
        begun = wall_clock()
        whole.append(orchestrator("up", "-q", "--fresh", "--name", NAME, environment=environment))
        ready.append(_ready_at() - begun)
        say(f"cold {number}/{count}: READY after {ready[-1]:.1f} s, the command took {whole[-1]:.1f} s")
        if number < count:
            orchestrator("down", "-q", "--name", NAME, environment=environment)
    return [
        Row("cold `up` to READY, against a bare script with systemd starting the units", ready, theirs, "≤ 1.1"),
        Row("the whole cold `up`, with the healthy state saved", whole, [], "none"),
    ]


def _ready_at() -> float:
    state = read_state(EnvironmentPaths.of(NAME).state)
    assert state is not None
    events = map(json.loads, (state.run_folder / "events.jsonl").read_text().splitlines())
    (text,) = (event["time"] for event in events if event["kind"] == "run.ready")
    return datetime.fromisoformat(text).timestamp()


async def exec_rate(env_paths: EnvironmentPaths, state: EnvironmentState, count: int) -> Row:
    """`true` over our kept connection, against OpenSSH with a kept master."""
    ours, theirs = [], []
    control = env_paths.folder / "master"
    ssh = ["ssh", "-F", str(env_paths.ssh_config), "-S", str(control), "server"]
    master = subprocess.Popen([*ssh[:-1], "-M", "-N", "server"], stdin=subprocess.DEVNULL)
    try:
        async with ssh_to(env_paths, state, "server") as connection:
            while not control.exists():
                await asyncio.sleep(0.1)
            for _ in range(count):
                begun = time.monotonic()
                await connection.exec(["true"], deadline=Deadline.after(60))
                ours.append(time.monotonic() - begun)
                begun = time.monotonic()
                await asyncio.to_thread(subprocess.run, [*ssh, "true"], check=True)
                theirs.append(time.monotonic() - begun)
    finally:
        master.terminate()
        master.wait()
    return Row("`exec server -- true` over one connection, against ssh with a kept master", ours, theirs, "≤ 1.1")


async def check_latency(env_paths: EnvironmentPaths, state: EnvironmentState, count: int) -> Row:
    """From a file, and a listening port, appearing in the guest to the gate's event on the host."""
    latencies: list[float] = []
    bus = EventBus()
    session = Session(env_paths, StateFile(env_paths.state, state), bus)

    async def measure() -> None:
        agent = session.machines["server"].agent
        for number in range(count):
            tcp = TcpCheck(f"127.0.0.1:{20000 + number}")
            file = FileCheck(f"/run/bench-{number}")
            spec: CheckKind = tcp if number % 2 else file
            become = (
                f"import socket,time; time.sleep(3); s=socket.create_server(('127.0.0.1',{20000 + number})); "
                "print(time.time(), flush=True); time.sleep(20)"
                if spec is tcp
                else f"import time; time.sleep(3); open('{file.file}','w'); print(time.time(), flush=True)"
            )
            stamp = f"/run/bench-stamp-{number}"
            command = f'setsid python3 -c "{become}" > {stamp} 2>&1 &'
            await agent.exec(["sh", "-c", command], deadline=Deadline.after(60))
            known = await _gate_once(session, bus, Check("bench", "server", spec))
            offset = await _clock_offset(session)
            said = await agent.exec(["cat", stamp], deadline=Deadline.after(60))
            latencies.append(max(0.0, known - (float(said.text) + offset)))

    try:
        await session.reattach(Deadline.after(120))
        await run_with_watchdogs(measure(), [session.machines["server"].qemu.watcher.watch])
    finally:
        await session.close()
    limit = "1 s under TCG" if state.accelerator == "tcg" else "0.1 s"
    return Row("a check true in the guest to the orchestrator knowing", latencies, [], f"≤ {limit}")


async def _gate_once(session: Session, bus: EventBus, check: Check) -> float:
    """Seconds since the epoch at which the gate said that the check passed."""
    seen: list[float] = []

    def on_event(event: Event) -> None:
        if isinstance(event, CheckResulted) and event.ok:
            seen.append(event.time)

    stop = bus.subscribe(on_event)
    service = Service("bench", "server", ServiceKind.TARGET, None, checks=(check,), timeout=120)
    machine = session.machines["server"]
    gate = ServiceSupervisor(
        ServiceGraph.fresh({"bench": service}),
        Reach(
            {"server": Channels(machine.ready_agent, machine.ssh)},
            {"server": machine.qemu.watcher.journal},
            bus,
            session.scale,
            command="orchestrator",
        ),
    )
    await gate.bring_up(Deadline.after(300))
    stop()
    return seen[0]


async def _clock_offset(session: Session) -> float:
    """Host clock minus guest clock, from the quickest of five questions."""
    best: tuple[float, float] | None = None
    for _ in range(5):
        before = time.time()
        said = await session.machines["server"].agent.time(deadline=Deadline.after(30))
        after = time.time()
        if best is None or after - before < best[0]:
            best = (after - before, (before + after) / 2 - said)
    assert best is not None
    return best[1]


def leftovers(env_paths: EnvironmentPaths) -> list[str]:
    """Processes and folders of the environment that are still there."""
    found = [str(p) for p in (env_paths.sockets, env_paths.folder) if p.exists()]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(env_paths.sockets).encode() in (entry / "cmdline").read_bytes():
                    found.append(f"process {entry.name}")
            except OSError:
                continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cold", type=int, default=3, metavar="N", help="cold starts of each side [3]")
    parser.add_argument("--exec", type=int, default=30, metavar="N", help="commands of each side [30]")
    parser.add_argument("--checks", type=int, default=10, metavar="N", help="measured checks [10]")
    parser.add_argument(
        "what",
        nargs="?",
        choices=["all", "warm", "incremental", "copy", "driver", "history", "faults"],
        default="all",
        help="warm: saved states, resets and clones instead; incremental: what each kind of change costs; "
        "copy: `cp` beside scp and exec; driver: the Python API; "
        "history: a year of nights, without machines; faults: the frame filter",
    )
    parser.add_argument("--warm", type=int, default=5, metavar="N", help="warm, incremental: starts of each side [5]")
    parser.add_argument("--clones", type=int, default=4, metavar="N", help="warm: 1, 2, 4, … at once up to N [4]")
    parser.add_argument("--copies", type=int, default=5, metavar="N", help="copy: copies of each side and way [5]")
    parser.add_argument("--calls", type=int, default=5, metavar="N", help="driver, faults: measured rounds [5]")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    arguments = parser.parse_args()

    # As an exception, so that the machines of the bench are taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def say(text: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    with tempfile.TemporaryDirectory(prefix="orch-bench-") as scratch:
        os.environ["ORCH_STATE_DIR"] = str(Path(scratch) / "state")
        os.environ["ORCH_RUNS"] = str(Path(scratch) / "runs")
        # Memory of this bench alone: no state of an earlier start may be used, and none is left.
        memory = tempfile.mkdtemp(prefix="orch-bench-", dir=shared_memory())
        os.environ["ORCH_RAM_DIR"] = memory
        os.environ["ORCH_CACHE_DIR"] = os.environ.get("ORCH_CACHE_DIR", str(cache_root()))
        environment = dict(os.environ)
        os.chdir(ROOT)
        try:
            rows = measured(arguments, environment, say)
        finally:
            shutil.rmtree(memory, ignore_errors=True)
    if arguments.json:
        sys.stdout.write(json.dumps([row.__dict__ for row in rows], indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(row.text() for row in rows) + "\n")
    return 0


def measured(arguments: argparse.Namespace, environment: Mapping[str, str], say: Callable[[str], None]) -> list[Row]:
    if arguments.what == "warm":
        import bench_warm

        return bench_warm.measure(arguments.warm, arguments.clones, load_topology(TOPOLOGY), environment, say)
    if arguments.what == "incremental":
        import bench_incremental

        return bench_incremental.measure(arguments.warm, environment, say)
    if arguments.what == "copy":
        import bench_copy

        with tempfile.TemporaryDirectory(prefix="orch-bench-", dir="/var/tmp") as folder:
            return bench_copy.measure(arguments.copies, Path(folder), environment, say)
    if arguments.what == "faults":
        import bench_faults

        return bench_faults.measure(arguments.calls, say)
    if arguments.what == "driver":
        import bench_driver

        return bench_driver.measure(arguments.calls, environment, say)
    if arguments.what == "history":
        import bench_history

        with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
            return bench_history.measure(Path(folder), say)
    return measure_all(arguments, environment, say)


def measure_all(arguments: argparse.Namespace, environment: Mapping[str, str], say: Callable[[str], None]) -> list[Row]:
    topology = load_topology(TOPOLOGY)
    accelerator = asyncio.run(probe(cache_root() / "accelerator.json"))
    say(f"{accelerator.name}: {accelerator.reason}; QEMU {accelerator.qemu}")
    rows = [
        Row("`--help`", [orchestrator("--help", environment=environment) for _ in range(10)], [], "≤ 0.25 s"),
    ]
    env_paths = EnvironmentPaths.of(NAME)
    rows += cold(arguments.cold, topology, accelerator.name, environment, say)
    try:
        state = read_state(env_paths.state)
        assert state is not None
        status = [orchestrator("status", "--name", NAME, environment=environment) for _ in range(10)]
        rows.append(Row("`status` of a healthy environment", status, [], "≤ 1 s"))
        say("exec")
        rows.append(asyncio.run(exec_rate(env_paths, state, arguments.exec)))
        say("checks")
        rows.append(asyncio.run(check_latency(env_paths, state, arguments.checks)))
    finally:
        took = orchestrator("down", "-q", "--name", NAME, environment=environment)
    rows.append(Row("`down`", [took], [], "≤ 3 s"))
    left = leftovers(env_paths)
    say("left behind: " + (", ".join(left) or "nothing"))
    rows.append(Row("left behind", [float(len(left))], [], "0", "things"))
    shutil.rmtree(env_paths.folder, ignore_errors=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
