"""Visits to machines that an earlier command started: no lock, only SSH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.deadline import Deadline
from orchestrator.environment.places import Places
from orchestrator.environment.state import EnvironmentState
from orchestrator.errors import HostError
from orchestrator.guest.keys import host_key_blob
from orchestrator.guest.ssh import Ssh, SshTarget, connect

CONNECT_LIMIT = 15.0  # seconds, before scaling


@asynccontextmanager
async def ssh_to(places: Places, state: EnvironmentState, machine: str) -> AsyncIterator[Ssh]:
    """An SSH connection to a running machine, for the block.

    Raises:
        HostError: the machine was never handed over.
        MachineError: it does not answer, or shows another key.
    """
    known = state.machines[machine]
    if not known.host_key:
        raise HostError(
            f"machine {machine} is not handed over yet",
            why="its guest agent has not answered so far",
            hint=f"orchestrator -n {places.name} console {machine}",
        )
    target = SshTarget(machine, known.ports[22], host_key_blob(machine, known.host_key), places.user_key)
    ssh = await connect(target, Deadline.after(CONNECT_LIMIT * max(1.0, state.factor / 2)))
    try:
        yield ssh
    finally:
        await ssh.close()
