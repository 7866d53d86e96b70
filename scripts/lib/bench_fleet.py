"""Measures `orchestrator matrix`: many cells on simulated hosts, one cell's own overhead, an image's way to a host.

    .venv/bin/python scripts/lib/bench_fleet.py [--cells 1000] [--hosts 50]

The scheduler, the connections and the journal are the real ones. Simulated hosts are Dask workers of one process whose
cells sleep in place of running a command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench_rows import ROOT, Row

from orchestrator.events import EventBus
from orchestrator.fleet import tasks
from orchestrator.fleet.board import CellBoard
from orchestrator.fleet.cells import Cell
from orchestrator.fleet.cluster_host import ClusterHost
from orchestrator.fleet.control import FleetRun
from orchestrator.fleet.engine import DaskEngine
from orchestrator.fleet.hosts import Host, LocalHost
from orchestrator.fleet.journal import Journal, MatrixPlan
from orchestrator.fleet.lease import Held
from orchestrator.fleet.needs import Needs, Offer
from orchestrator.fleet.offers import version
from orchestrator.fleet.orders import Order
from orchestrator.fleet.session import Session
from orchestrator.fleet.ssh_link import connected

SLEEP = 1.0  # seconds of a cell
AT_ONCE = 4  # cells of one simulated host
IMAGE = 256 << 20  # bytes


class SleepingSession(Session):
    """Cells that sleep."""

    async def _process(self, order: Order, lease: Held) -> int:
        lease.started(None)
        self._report({"kind": "runs", "cell": order.cell, "attempt": order.attempt})
        await asyncio.sleep(SLEEP)
        return 0


async def _offer(host: str) -> Offer:
    return Offer(host, 8000, AT_ONCE, 1_000_000, "tcg", version())


async def workers(told: dict[str, Any], count: int) -> None:
    """So many hosts in this process, until stdin ends."""
    from distributed import Worker
    from distributed.security import Security

    setattr(tasks, "Session", SleepingSession)  # noqa: B010 - nothing else may put another in its place
    setattr(tasks, "offer_of", _offer)  # noqa: B010
    import dask

    dask.config.set({"distributed.admin.system-monitor.interval": "1h"})  # fifty of them in one process
    security = Security(**told["security"])
    started = [
        Worker(
            told["scheduler"],
            name=f"h{number}",
            security=security,
            host="127.0.0.1",
            nthreads=1024,
            resources={"memory": 8000, "processors": AT_ONCE},
            memory_limit=0,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
        )
        for number in range(count)
    ]
    await asyncio.gather(*(worker.start() for worker in started))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


@asynccontextmanager
async def simulated(engine: DaskEngine, count: int) -> AsyncIterator[None]:
    argv = [sys.executable, __file__, "--workers", str(count)]
    process = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(engine.invitation).encode() + b"\n")
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def run_cells(folder: Path, count: int, hosts: list[Host], engine: DaskEngine, command: str) -> float:
    """Seconds from the first cell's beginning to the last one's end."""
    folder.mkdir()
    cells = tuple(Cell(number, f"c{number}") for number in range(1, count + 1))
    plan = MatrixPlan(f"bench-{folder.name}", "bench", ROOT / "orchestrator.toml", cells, command=(command,))
    board = CellBoard.of(cells, {cell.id: Needs(1, 1, 0) for cell in cells}, {})
    journal = Journal(folder)
    times: list[float] = []
    bus = EventBus()
    bus.subscribe(lambda event: times.append(time.monotonic()) if event.kind == "cell.state" else None)
    run = FleetRun(plan, folder, board, journal, hosts, engine, bus)
    await run.run()
    assert {one.outcome for one in journal.finished.values()} == {"passed"}, journal.finished
    return times[-1] - times[0]


async def scale(folder: Path, cells: int, count: int) -> list[Row]:
    async def seconds(number: int, cells: int) -> float:
        engine = DaskEngine()
        await engine.connect()
        async with simulated(engine, number):
            here = folder / f"{cells}-on-{number}"
            hosts: list[Host] = [ClusterHost(f"h{one}", engine, folder) for one in range(number)]
            return await run_cells(here, cells, hosts, engine, "sleep")

    used = time.process_time()
    whole = await seconds(count, cells)
    used = time.process_time() - used
    ideal = -(-cells // (count * AT_ONCE)) * SLEEP
    one, two = await seconds(1, 40), await seconds(2, 40)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row(f"{cells} cells on {count} simulated hosts", [whole], [ideal], "-"),
        Row("scheduling overhead of a cell", [(whole - ideal) / cells * 1000], [], "at most 20 ms", "ms"),
        Row("processor time of a cell in this process", [used / cells * 1000], [], "-", "ms"),
        Row("one host, compared with two of the same", [one], [two], "at least 1.8", "s"),
        Row("memory of this process, scheduler included", [memory], [], "bounded", "MiB"),
    ]


async def overhead(folder: Path) -> Row:
    """A cell of a command that does nothing, on this host, one after the other."""
    found = []
    for turn in range(3):
        host = LocalHost(folder / "worker.log")
        count = 20
        os.environ["ORCH_ACCELERATOR"] = "tcg"
        taken = await run_cells(folder / f"overhead-{turn}", count, [host], DaskEngine(), "true")
        found.append(taken / count * AT_ONCE)
    return Row("own overhead of a cell", found, [], "at most 0.5 s")


async def transfer(folder: Path) -> Row:
    """An image of random bytes to a host, in turn with plain rsync over the same kind of connection."""
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    from fleet_hosts import hosts as ssh_hosts  # type: ignore[import-not-found]  # of the tests

    (folder / "image").mkdir()
    with (folder / "image" / "base.raw").open("wb") as file:
        file.write(os.urandom(IMAGE))
    (folder / "hosts").mkdir()
    ours, theirs = [], []
    with ssh_hosts(folder / "hosts", {"one": {}}) as made:
        os.environ["ORCH_SSH"] = made.ssh
        for turn in range(3):
            async with connected("one", folder, folder / "ssh.log") as link:
                begun = time.monotonic()
                await link.push(folder / "image", str(folder / f"ours-{turn}"), lambda _: None)
                ours.append(time.monotonic() - begun)
            begun = time.monotonic()
            argv = ["rsync", "-a", "-e", made.ssh, f"{folder}/image/", f"one:{folder}/theirs-{turn}/"]
            subprocess.run(argv, check=True)
            theirs.append(time.monotonic() - begun)
            for name in ("ours", "theirs"):
                shutil.rmtree(folder / f"{name}-{turn}")
    return Row(f"an image of {IMAGE >> 20} MiB to a host, compared with rsync", ours, theirs, "ratio at most 1.25")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    from orchestrator.fleet.settings import configure_dask

    configure_dask()
    if arguments.workers:
        await workers(json.loads(sys.stdin.readline()), arguments.workers)
        return
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        os.environ["ORCH_STATE_DIR"] = f"{name}/state"
        Path(name, "state").mkdir()
        for row in [*await scale(Path(name), arguments.cells, arguments.hosts), await overhead(Path(name))]:
            print(row.text(), flush=True)
        print((await transfer(Path(name))).text(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
