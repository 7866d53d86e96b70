"""Visits to machines that an earlier command started: no lock, only SSH."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from orchestrator.deadline import Deadline
from orchestrator.environment.failures import last_words, told_by_console
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.errors import HostError, MachineError
from orchestrator.guest.agent import Agent
from orchestrator.guest.channel import GuestChannel, SshChannel
from orchestrator.guest.keys import host_key_blob
from orchestrator.guest.ssh import Ssh, SshTarget, connect
from orchestrator.process_id import ProcessId, watch_end
from orchestrator.tasks import run_with_watchdogs
from orchestrator.timescale import TimeScale
from orchestrator.vm.arguments import SSH_GUEST_PORT

T = TypeVar("T")

CONNECT_LIMIT = 15.0  # seconds, before scaling
LOST_LIMIT = 2.0


@asynccontextmanager
async def ssh_to(
    env_paths: EnvironmentPaths, state: EnvironmentState, machine: str, *, limit: float | None = None
) -> AsyncIterator[Ssh]:
    """An SSH connection to a running machine, for the block; cut when the machine stops answering.

    Args:
        limit: seconds to connect, where they are fewer than ours.

    Raises:
        HostError: the machine was never handed over.
        MachineError: it does not answer, or shows another key.
    """
    known = state.machines[machine]
    if not known.host_key:
        raise HostError(
            f"machine {machine} is not set up yet",
            why="its guest agent has not answered so far",
            hint=f"orchestrator -n {env_paths.name} console {machine}",
        )
    target = SshTarget(machine, known.ports[SSH_GUEST_PORT], host_key_blob(machine, known.host_key), env_paths.user_key)
    paths = env_paths.machine(machine, state.run_folder)
    # One whose console has said its last word is given the time of a short answer only.
    seconds = TimeScale(state.factor).transfer(CONNECT_LIMIT if last_words(paths) is None else LOST_LIMIT)
    with told_by_console(machine, paths):
        work = connect(target, Deadline.after(seconds if limit is None else min(limit, seconds)))
        ssh = await while_it_runs(machine, known.process, work)
    ssh.keep_alive()
    try:
        yield ssh
    except MachineError as error:
        why = "" if ssh.alive else what_became_of(env_paths, state, machine)
        if why:
            error.why = why
        raise
    finally:
        await ssh.close()


@asynccontextmanager
async def channel_to(
    env_paths: EnvironmentPaths, state: EnvironmentState, machine: str, limit: Deadline
) -> AsyncIterator[GuestChannel]:
    """The guest agent of a running machine that nobody else asks now, or SSH where it has none; for the block.

    Raises:
        HostError, MachineError: it does not answer.
    """
    if not state.machines[machine].ssh_only:
        agent = Agent(machine, env_paths.machine(machine, state.run_folder).agent)
        await agent.connect(limit)
        try:
            yield agent
        finally:
            await agent.close()
        return
    async with ssh_to(env_paths, state, machine, limit=limit.left) as ssh:

        async def current() -> Ssh:
            return ssh

        yield SshChannel(machine, current)


async def while_it_runs(machine: str, process: ProcessId, work: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the machine's process lives.

    Raises:
        MachineError: it has ended; nobody waits for what a dead machine might say.
    """

    async def ended() -> None:
        await watch_end(process)
        raise MachineError(
            f"machine {machine} is not running any more",
            subject=machine,
            why="its process ended while it was being reached",
            hint="orchestrator status",
        )

    return await run_with_watchdogs(work, [ended])


def what_became_of(env_paths: EnvironmentPaths, state: EnvironmentState, machine: str) -> str:
    """Why a connection that was there ended, as far as the state tells it; empty when it does not.

    Args:
        state: as it was when the connection was made.
    """
    try:
        now = read_state(env_paths.state)
    except HostError:
        return ""
    if now is None:
        return f"environment {env_paths.name} was taken down"
    if now.generation != state.generation:
        return f"environment {env_paths.name} was put back to a saved state; it answers again at the next command"
    if now.machines.get(machine) != state.machines[machine]:
        return f"machine {machine} was started again"
    return ""
