"""A matrix that is under way: its hosts, its events, and the reports at its end."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.runtime import interrupt_code, say
from orchestrator.codec import encode
from orchestrator.deadline import monotonic
from orchestrator.environment.lock import command_text
from orchestrator.events import Event, EventBus, JsonLinesLog
from orchestrator.events.fleet import CellOutput, MatrixStarted
from orchestrator.events.run import Note, RunFinished
from orchestrator.fleet.board import CellBoard
from orchestrator.fleet.cells import Cell
from orchestrator.fleet.cluster_host import cluster_hosts
from orchestrator.fleet.control import FleetRun
from orchestrator.fleet.engine import DaskEngine
from orchestrator.fleet.hosts import Host, LocalHost
from orchestrator.fleet.journal import Journal, MatrixPlan
from orchestrator.fleet.needs import Needs
from orchestrator.fleet.ssh_host import Luggage, SshHost
from orchestrator.fleet.travel import project_of, ready_images
from orchestrator.report.matrix import CellPart, write_matrix
from orchestrator.topology.model import Topology

LOCAL = "local"  # among hosts: this one


@dataclass(frozen=True)
class MatrixRun:
    """What is to run, and where.

    Attributes:
        folder: the run folder.
        needs, seconds: of each cell; seconds where they are known.
        whole: bring all evidence home.
        scheduler: whose hosts are taken in place of ``hosts``.
    """

    plan: MatrixPlan
    folder: Path
    needs: Mapping[str, Needs]
    seconds: Mapping[str, float]
    hosts: Sequence[Host]
    whole: bool
    scheduler: str = ""

    async def run(self, bus: EventBus) -> int:
        """Run the cells that are not over, and write the reports however it ends; the exit code."""
        journal = Journal(self.folder)
        cells = [cell for cell in self.plan.cells if not journal.is_over(cell.id)]
        board = CellBoard.of(cells, self.needs, self.seconds, journal.attempts)
        engine = DaskEngine(self.scheduler)
        hosts = await self._cluster(engine, bus) if self.scheduler else self.hosts
        fleet = FleetRun(self.plan, self.folder, board, journal, hosts, engine, bus, whole=self.whole)
        began = monotonic()
        code = 3
        with JsonLinesLog(self.folder / "events.jsonl") as log:
            unsubscribe = bus.subscribe(lambda event: _logged(log, event))
            bus.emit(self._started(cells, hosts))
            try:
                if cells:
                    await fleet.run()
            except asyncio.CancelledError:
                code = interrupt_code()
                raise
            finally:
                code = self._report(fleet, monotonic() - began, code)
                unsubscribe()
        return code

    async def _cluster(self, engine: DaskEngine, bus: EventBus) -> Sequence[Host]:
        if self.scheduler.startswith("tcp:") and not self.scheduler.startswith("tcp://127."):
            message = f"{self.scheduler} is not encrypted: who reaches it can run what they like on its hosts"
            bus.emit(Note(message=message, level="warning"))
        return await cluster_hosts(engine, self.folder)

    def _started(self, cells: Sequence[Cell], hosts: Sequence[Host]) -> MatrixStarted:
        known = [self.seconds[cell.id] for cell in cells if cell.id in self.seconds]
        return MatrixStarted(
            self.plan.name,
            run_id=self.plan.run,
            run_folder=str(self.folder),
            cells=tuple(cell.id for cell in cells),
            hosts=tuple(host.name for host in hosts),
            expected=sum(known) if known and len(known) == len(cells) else None,
        )

    def _report(self, fleet: FleetRun, elapsed: float, code: int) -> int:
        """Write the reports, and say how it ended; the exit code.

        Args:
            code: of cells that did not end.
        """
        about = {
            "run_id": self.plan.run,
            "environment": self.plan.name,
            "command": command_text(),
            "seconds": {"total": round(elapsed, 2)},
            "hosts": [host.name for host in fleet.hosts],
            "left": fleet.left,
        }
        summary = write_matrix(self.folder, _parts(self.plan, fleet.journal, code), about)
        outcome, exit_code = summary["outcome"], int(summary["exit_code"])
        fleet.bus.emit(RunFinished(self.plan.name, outcome=outcome, exit_code=exit_code, elapsed=elapsed))
        for line in fleet.left:
            say(f"warning: left running: {line}")
        if summary["cause"]:
            say(summary["cause"])
        return exit_code


def hosts_of(
    arguments: argparse.Namespace,
    plan: MatrixPlan,
    topologies: Mapping[tuple[object, ...], Topology],
    folder: Path,
    sockets: Path,
) -> list[Host]:
    """The hosts that cells may run on; those of ``--hosts``, or this one."""
    names = arguments.hosts or [LOCAL]
    others = [name for name in names if name != LOCAL]
    luggage = None
    if others:
        wanted = [(topologies[cell.whole], cell.images) for cell in plan.cells]
        luggage = Luggage(
            project_of(topologies.values(), folders=bool(plan.command)),
            images=[] if plan.command else ready_images(wanted),
            python=arguments.remote_python,
            doctor=None if plan.command else plan.topology,
        )
    logs = {name: folder / f"worker-{number}.log" for number, name in enumerate(names, 1)}
    return [
        SshHost(name, sockets, logs[name], luggage) if luggage and name != LOCAL else LocalHost(logs[name], name)
        for name in names
    ]


def _logged(log: JsonLinesLog, event: Event) -> None:
    if not isinstance(event, CellOutput):
        log(event)


def _parts(plan: MatrixPlan, journal: Journal, code: int) -> list[CellPart]:
    """Every cell for the reports. One that did not end was interrupted, with everything."""
    found = []
    for cell in plan.cells:
        group = json.dumps(encode([cell.variant, cell.images, cell.layers, cell.suite]))
        result = journal.finished.get(cell.id)
        if result is None:
            found.append(CellPart(cell.id, group, "interrupted", code, "it did not end"))
            continue
        found.append(
            CellPart(
                id=cell.id,
                group=group,
                outcome=result.outcome,
                code=result.code,
                cause=result.cause,
                host=result.host,
                attempt=result.attempt,
                seconds=result.seconds,
                folder=result.folder,
                began=result.began,
            )
        )
    return found
