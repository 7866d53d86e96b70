"""``orchestrator up``."""

from __future__ import annotations

import argparse
import json
import sys

from orchestrator.cli.argument_types import layers_of
from orchestrator.cli.crash import explained
from orchestrator.cli.run_folder import RunFolder
from orchestrator.cli.runtime import interrupt_code, kill_environment, limit_of, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import add_machine_status, collect_all
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.plan import Request, complete_topology
from orchestrator.environment.run_events import emit_failure, finish
from orchestrator.environment.state import read_state
from orchestrator.environment.teardown import take_down
from orchestrator.environment.up import Environment, bring_up, close_down, closed_when_interrupted, open_environment
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.vm.arguments import SSH_GUEST_PORT


def run(arguments: argparse.Namespace) -> int:
    request = request_of(arguments)
    env_paths = EnvironmentPaths.of(request.name)
    deadline = limit_of(arguments.wait_timeout)
    return run_command(
        arguments, lambda bus: _up(request, arguments, bus, deadline), force=kill_environment(env_paths, only_ours=True)
    )


def request_of(arguments: argparse.Namespace) -> Request:
    """The request, from the command line and the topology file."""
    topology = complete_topology(
        arguments.file, variant=arguments.variant, layers=layers_of(arguments), suite=arguments.suite
    )
    return Request(
        topology=topology.with_free_ports() if arguments.free_ports else topology,
        name=arguments.name or topology.name,
        provider=arguments.images,
        runs=arguments.runs,
        command=command_text(),
        kernel_parameters=arguments.kernel_parameters,
        savable=getattr(arguments, "isolate", "none") != "none",
        start="cold" if arguments.fresh else "warm" if arguments.warm else "auto",
    )


async def start_fresh(request: Request, bus: EventBus) -> None:
    """Take down what runs under this name, for ``--fresh``."""
    env_paths = EnvironmentPaths.of(request.name)
    with hold(env_paths.lock, request.name, request.command):
        state = read_state(env_paths.state)
        if state is not None:
            await take_down(env_paths, state, bus)


async def _up(request: Request, arguments: argparse.Namespace, bus: EventBus, deadline: Deadline) -> int:
    if arguments.fresh:
        await start_fresh(request, bus)
    outcome = 0
    folder = RunFolder(bus)
    try:
        async with (
            open_environment(request, bus, deadline) as environment,
            closed_when_interrupted(environment, interrupt_code, deadline),
        ):
            try:
                await bring_up(environment, deadline)
                announce(environment, bus)
                finish(bus, request.name, "passed", 0, deadline)
            except Exception as cause:  # noqa: BLE001 - unexpected errors are reported too, and end in order
                error = explained(cause)
                await _failed(environment, error, arguments, bus, deadline)
                outcome = error.exit_code
    finally:
        folder.report()
    if arguments.json:
        sys.stdout.write(json.dumps({"exit_code": outcome, "run_folder": str(folder.path)}) + "\n")
    return outcome


async def _failed(
    environment: Environment, error: OrchestratorError, arguments: argparse.Namespace, bus: EventBus, deadline: Deadline
) -> None:
    session = environment.session
    await add_machine_status(session.machines.values(), error)
    emit_failure(error, bus)
    await collect_all(session, "failure")
    if arguments.down_on_failure or not environment.worth_keeping:
        await close_down(environment)
    else:
        name = session.paths.name
        shell = f"orchestrator -n {name} shell {next(iter(session.machines))}"
        message = f"the machines keep running: look with `{shell}`, end them with `orchestrator -n {name} down`"
        bus.emit(Note(level="info", message=message))
    finish(bus, session.paths.name, "error", error.exit_code, deadline)


def announce(environment: Environment, bus: EventBus) -> None:
    """The text after READY: addresses, and what to type next."""
    session = environment.session
    for name, machine in session.record.state.machines.items():
        for guest, host in machine.ports.items():
            if guest != SSH_GUEST_PORT:
                bus.emit(Note(name, level="info", message=f"http://127.0.0.1:{host} is {name}:{guest}"))
    first = next(iter(session.machines))
    name = session.paths.name
    message = f"orchestrator -n {name} shell {first} opens a terminal; orchestrator -n {name} down ends it all"
    bus.emit(Note(level="info", message=message))
