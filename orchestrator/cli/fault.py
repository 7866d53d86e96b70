"""``orchestrator fault``: faults of a running environment: begin, list, clear."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tomllib
from collections.abc import Sequence

from orchestrator.cli.run_folder import continued
from orchestrator.cli.runtime import living_state, recorded_state, run_command
from orchestrator.cli.tables import ago, aligned
from orchestrator.deadline import FOREVER, Deadline, pause
from orchestrator.environment.fault_visit import visiting
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState
from orchestrator.errors import FaultError, LockedError, UsageError
from orchestrator.events import EventBus, utc_text, wall_clock
from orchestrator.events.faults import EndReason
from orchestrator.events.run import Note
from orchestrator.faults.book import ActiveFault, read_faults
from orchestrator.process_id import ProcessId
from orchestrator.topology.fault_kind import FAULT_KINDS, Fault
from orchestrator.topology.read_faults import described, made_of, services_hit, spots

HEALTHY = ("healthy", "completed")
ASK_AGAIN = 1.0  # seconds until a lock is asked for again


def run(arguments: argparse.Namespace) -> int:
    words: list[str] = arguments.words
    match arguments.action:
        case "kinds":
            sys.stdout.write(kinds_text())
        case "list":
            _list(arguments)
        case "clear":
            paths, state = living_state(arguments)
            run_command(arguments, lambda bus: _clear(paths, state, words, bus))
        case _:
            _add(arguments, words)
    return 0


# ------------------------------------------------------------------ add


def _add(arguments: argparse.Namespace, words: Sequence[str]) -> None:
    paths, state = living_state(arguments)
    fault = meant(words, state)
    verify_healthy(fault, state)
    seconds = arguments.lasts or fault.lasts
    run_command(arguments, lambda bus: _begin(paths, state, fault, seconds, bus))


def meant(words: Sequence[str], state: EnvironmentState) -> Fault:
    """The fault that the words of the command line mean: a declared one by its name, or a kind with what it is on.

    Raises:
        UsageError: there is none, or its keys are wrong.
    """
    if not words:
        raise UsageError(
            "fault add needs a name, or a kind and what it is on",
            hint="orchestrator fault add latency server.lan delay=100ms",
        )
    declared = state.topology.faults
    if words[0] in declared:
        if len(words) > 1:
            raise UsageError(f"{words[0]} is declared in the topology, with its keys", why=f"{words[1]!r} was given")
        return declared[words[0]]
    if FAULT_KINDS.find(words[0]) is None:
        known = f"declared are {', '.join(declared)}" if declared else "the topology declares none"
        raise UsageError(f"there is no fault {words[0]!r}", why=f"{known}; kinds are {', '.join(FAULT_KINDS.every())}")
    if len(words) < 2:
        raise UsageError(f"fault add {words[0]} needs what it is on", hint=f"orchestrator fault add {words[0]} TARGET")
    return made_of(words[0], words[1], list(map(_line, words[2:])), state.topology)


def _line(word: str) -> str:
    """``key=value`` as a line of TOML; a value that is none is a string."""
    key, sign, value = word.partition("=")
    if not sign or not key.replace("_", "").isalnum():
        raise UsageError(f"{word!r} is not KEY=VALUE", hint="orchestrator fault kinds")
    try:
        tomllib.loads(f"key = {value}")
    except tomllib.TOMLDecodeError:
        return f"{key} = {json.dumps(value)}"
    return f"{key} = {value}"


def verify_healthy(fault: Fault, state: EnvironmentState) -> None:
    """Raise where a fault would begin on something that is in trouble already.

    Raises:
        FaultError: a machine does not run, or a service is not up.
    """
    ill = [one.machine for one in spots(fault, state.topology) if not state.machines[one.machine].process.alive]
    ill += [name for name in services_hit(fault, state.topology) if state.services.get(name) not in HEALTHY]
    if ill or state.phase != "ready":
        raise FaultError(
            f"fault {fault.name} cannot begin",
            why=f"not healthy: {', '.join(ill)}" if ill else f"the environment is {state.phase}",
            hint=f"orchestrator -n {state.name} up",
        )


async def _begin(
    paths: EnvironmentPaths, state: EnvironmentState, fault: Fault, seconds: float | None, bus: EventBus
) -> None:
    with hold(paths.lock, paths.name, command_text()), continued(state.run_folder, bus):
        async with visiting(paths, state, bus, state.run_folder) as control:
            await control.begin(fault, owner=ProcessId.own() if seconds else None)
    if seconds is None:
        if not fault.spec.stays:
            await _clear(paths, state, [fault.name], bus)
        return
    try:
        await pause(seconds, Deadline.after(FOREVER))
    except asyncio.CancelledError:
        await _clear(paths, state, [fault.name], bus, "interrupted")
        raise
    await _clear(paths, state, [fault.name], bus, "over")


# ------------------------------------------------------------------ clear


async def _clear(
    paths: EnvironmentPaths,
    state: EnvironmentState,
    names: Sequence[str],
    bus: EventBus,
    reason: EndReason = "asked",
) -> None:
    """End faults, or all that are on. It waits for a command that holds the environment."""
    told = False
    while True:
        try:
            with hold(paths.lock, paths.name, command_text()), continued(state.run_folder, bus):
                await _end(paths, state, names, bus, reason)
                return
        except LockedError as error:
            if not told:
                bus.emit(Note(level="info", message=f"waiting for the end of another command: {error.why}"))
            told = True
        await pause(ASK_AGAIN, Deadline.after(FOREVER))


async def _end(
    paths: EnvironmentPaths, state: EnvironmentState, names: Sequence[str], bus: EventBus, reason: EndReason
) -> None:
    active = read_faults(paths.faults)
    if unknown := [name for name in names if name not in active]:
        raise UsageError(
            f"no fault {unknown[0]!r} is on", why=f"on are {', '.join(active)}" if active else "none is on"
        )
    booting = [one.fault.on for name, one in active.items() if one.fault.spec.reboots and name in (names or active)]
    async with visiting(paths, state, bus, state.run_folder) as control:
        for name in names or tuple(active)[::-1]:
            await control.end(name, reason)
    for machine in booting:
        message = f"boots again; `orchestrator -n {paths.name} up` sets it up and proves its services"
        bus.emit(Note(machine, level="info", message=message))
    if not active:
        bus.emit(Note(level="info", message="no fault is on"))


# ------------------------------------------------------------------ list


def _list(arguments: argparse.Namespace) -> None:
    paths, state = recorded_state(arguments)
    active, declared = read_faults(paths.faults), state.topology.faults
    if arguments.json:
        shown = [as_dict(fault, active.get(name)) for name, fault in declared.items()]
        shown += [as_dict(one.fault, one) for name, one in active.items() if name not in declared]
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return
    faults = [*declared.values(), *(one.fault for name, one in active.items() if name not in declared)]
    rows = [
        (fault.name, fault.kind, fault.on, described(fault.spec), _state(active.get(fault.name))) for fault in faults
    ]
    sys.stdout.write(aligned([("NAME", "KIND", "ON", "KEYS", "STATE"), *rows]) if rows else "")


def _state(one: ActiveFault | None) -> str:
    return "off" if one is None else f"on, {ago(wall_clock() - one.began)}"


def as_dict(fault: Fault, active: ActiveFault | None) -> dict[str, object]:
    """JSON-ready data of a fault; ``began`` as UTC text, None where it is off."""
    return {
        "name": fault.name,
        "kind": fault.kind,
        "on": fault.on,
        "keys": {key: str(value) for key, value in fault.spec.written().items()},
        "active": active is not None,
        "began": utc_text(active.began) if active else None,
    }


def kinds_text() -> str:
    """All kinds, with what they are on and what they do."""
    rows = [(name, str(kind.scope), kind.meaning) for name, kind in FAULT_KINDS.every().items()]
    return aligned([("KIND", "ON", "WHAT HAPPENS"), *rows])
