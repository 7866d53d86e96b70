"""Hosts of a scheduler that somebody else runs: workers that joined it with `python -m orchestrator.fleet.worker`.

They see the same files as we do, at the same paths: the project and the run folder are in a shared folder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.codec import decode
from orchestrator.deadline import FOREVER, Deadline, pause
from orchestrator.errors import HostError
from orchestrator.fleet import tasks
from orchestrator.fleet.engine import DaskEngine
from orchestrator.fleet.hosts import Joined, SeesOurFiles
from orchestrator.fleet.needs import Offer
from orchestrator.fleet.orders import Times
from orchestrator.tasks import Later

ASKING = 30.0  # seconds for an answer
LOOK = 2.0  # seconds between two looks whether it is still there


class ClusterHost(SeesOurFiles):
    """One worker of the scheduler."""

    def __init__(self, name: str, engine: DaskEngine, run_folder: Path) -> None:
        self.name = name
        self._engine = engine
        self._run_folder = run_folder

    @asynccontextmanager
    async def join(self, invitation: Later[dict[str, Any]], times: Times) -> AsyncIterator[Joined]:
        del times
        await invitation.wait()
        address = (await self._engine.known()).get(self.name)
        if address is None:
            raise HostError(f"{self.name} has left the scheduler")
        limit = Deadline.after(ASKING)
        offer = decode(await self._engine.call(address, tasks.offer, self.name, limit=limit), Offer, "offer")
        if not await self._engine.call(address, tasks.sees, str(self._run_folder), limit=limit):
            raise HostError(
                f"{self.name} does not see {self._run_folder}",
                why="hosts of a scheduler need the project and the run folder in a shared folder",
                hint="--runs in a folder that all hosts have, or --hosts",
            )

        async def gone() -> str:
            while (await self._engine.known()).get(self.name) == address:
                await pause(LOOK, Deadline.after(FOREVER))
            return "it has left the scheduler"

        yield Joined(address, offer, gone)


async def cluster_hosts(engine: DaskEngine, run_folder: Path) -> list[ClusterHost]:
    """The hosts of the scheduler.

    Raises:
        HostError: it does not answer, or has none.
    """
    await engine.connect()
    names = sorted(await engine.known())
    if not names:
        raise HostError(
            f"the scheduler {engine.address} has no host for a matrix",
            why="a worker that was started by something else has none of the resources that cells ask for",
            hint=f"on each host: python -m orchestrator.fleet.worker {engine.address}",
        )
    return [ClusterHost(name, engine, run_folder) for name in names]
