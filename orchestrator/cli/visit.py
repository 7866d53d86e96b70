"""A visit to a machine that runs: its second QMP connection, for a moment, without the environment's lock."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.cli.runtime import known_machine, living_state
from orchestrator.deadline import Deadline
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState, MachineState
from orchestrator.topology.model import Machine
from orchestrator.vm.arguments import MachinePaths
from orchestrator.vm.qmp import Monitor, connect

CONNECT_LIMIT = 15.0  # seconds; QEMU itself is not emulated, but only one visitor is let in at a time


@dataclass(frozen=True, slots=True)
class Visit:
    """A machine that is visited.

    Attributes:
        known: what is recorded of it.
    """

    env_paths: EnvironmentPaths
    state: EnvironmentState
    name: str
    monitor: Monitor

    @property
    def known(self) -> MachineState:
        return self.state.machines[self.name]

    @property
    def machine(self) -> Machine:
        return self.state.topology.machines[self.name]

    @property
    def paths(self) -> MachinePaths:
        return self.env_paths.machine(self.name, self.state.run_folder)


@asynccontextmanager
async def visit(arguments: argparse.Namespace) -> AsyncIterator[Visit]:
    """Visit ``arguments.machine`` for the block.

    Raises:
        UsageError: there is no such machine.
        HostError: it does not run.
        MachineError: its QEMU does not answer.
    """
    env_paths, state = living_state(arguments)
    name = arguments.machine
    known_machine(state, name)
    side = env_paths.machine(name, state.run_folder).qmp_side
    monitor = await connect(name, side, Deadline.after(CONNECT_LIMIT))
    try:
        yield Visit(env_paths, state, name, monitor)
    finally:
        await monitor.close()
