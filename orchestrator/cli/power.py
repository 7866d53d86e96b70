"""``orchestrator power``: a machine switched on, off, reset, paused. Only ``on`` takes the environment's lock."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress

from orchestrator.cli.runtime import recorded_state, say, started_machine
from orchestrator.cli.visit import Visit, visit
from orchestrator.deadline import Deadline, completes_before
from orchestrator.environment.attach import ssh_to
from orchestrator.environment.switched_off import forget_switched_off, note_switched_off
from orchestrator.environment.teardown import end_group
from orchestrator.errors import HostError, MachineError, OrchestratorError, TimeLimit
from orchestrator.process_id import watch_end
from orchestrator.timescale import TimeScale

OFF_LIMIT = 120.0  # seconds for a guest to shut down, before scaling
REACT_LIMIT = 15.0  # seconds to take the word, before scaling
CRASH_LIMIT = 10.0  # seconds for QEMU to end
RUNNING = "running"


def run(arguments: argparse.Namespace) -> int:
    action = arguments.action
    _, state = recorded_state(arguments)
    started_machine(state, arguments.machine)
    alive = state.machines[arguments.machine].process.alive
    if action == "on" and not alive:
        from orchestrator.cli.power_on import power_on  # it needs much more than the others

        return power_on(arguments)
    if action == "on" or (action in ("off", "crash") and not alive):
        say(f"{arguments.machine} is {action if action == 'on' else 'off'} already")
        return 0
    asyncio.run(_switch(arguments))
    return 0


async def _switch(arguments: argparse.Namespace) -> None:
    async with visit(arguments) as visited:
        await {"off": _off, "reset": _reset, "pause": _pause, "resume": _resume, "crash": _crash}[arguments.action](
            visited, arguments
        )


def command(visited: Visit) -> str:
    """What commands on this environment begin with."""
    return f"orchestrator -n {visited.env_paths.name}"


async def _off(visited: Visit, arguments: argparse.Namespace) -> None:
    """Shut the guest down in order, and wait for its end."""
    status = await visited.monitor.run_state()
    if status != RUNNING:
        raise MachineError(
            f"machine {visited.name} cannot shut down",
            why=f"its state is {status}",
            hint=f"{command(visited)} power resume {visited.name}, or power crash {visited.name}",
        )
    process, scale = visited.known.process, TimeScale(visited.state.factor)
    limit = Deadline.after(arguments.wait_timeout or scale.limit(OFF_LIMIT))
    note_switched_off(visited.paths, process, "shut down")
    say(f"{visited.name}: shutting down")
    await _ask(visited, limit.earlier(scale.transfer(REACT_LIMIT)))
    if not await completes_before(lambda: watch_end(process), limit):
        forget_switched_off(visited.paths)
        raise TimeLimit(
            f"machine {visited.name} did not shut down within {limit}",
            where=[str(visited.paths.serial_log)],
            hint=f"{command(visited)} console {visited.name}, or power crash {visited.name}",
        )
    await end_group(process)
    say(f"{visited.name} is off; `{command(visited)} power on {visited.name}` starts it with the disk it has")


async def _ask(visited: Visit, limit: Deadline) -> None:
    """Ask systemd over SSH; where that cannot be reached, press the power button."""
    with suppress(MachineError, HostError):
        async with ssh_to(visited.env_paths, visited.state, visited.name, limit=limit.left) as ssh:
            result = await ssh.exec(["systemctl", "--no-block", "poweroff"], deadline=limit)
            if result.code == 0:
                return
    if visited.known.process.alive:
        await visited.monitor.execute("system_powerdown")


async def _crash(visited: Visit, arguments: argparse.Namespace) -> None:  # noqa: ARG001 - as the others
    """End QEMU at once."""
    process = visited.known.process
    note_switched_off(visited.paths, process, "ended as by a power cut")
    with suppress(OrchestratorError):  # it ends before it answers
        await visited.monitor.execute("quit", deadline=Deadline.after(2))
    if not await completes_before(lambda: watch_end(process), Deadline.after(CRASH_LIMIT)):
        await process.end()
    await end_group(process)
    say(f"{visited.name} is off, as after a power cut")


async def _reset(visited: Visit, arguments: argparse.Namespace) -> None:  # noqa: ARG001
    await visited.monitor.execute("system_reset")
    say(f"{visited.name} boots again; `{command(visited)} up` sets it up and proves its services")


async def _pause(visited: Visit, arguments: argparse.Namespace) -> None:  # noqa: ARG001
    await visited.monitor.execute("stop")
    say(f"{visited.name} is paused; `{command(visited)} power resume {visited.name}` lets it go on")


async def _resume(visited: Visit, arguments: argparse.Namespace) -> None:  # noqa: ARG001
    await visited.monitor.execute("cont")
    status = await visited.monitor.run_state()
    if status != RUNNING:
        raise MachineError(f"machine {visited.name} does not go on", why=f"its state is {status}")
    say(f"{visited.name} goes on")
