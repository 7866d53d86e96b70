"""``orchestrator status``: the recorded state, verified now: processes, QMP, all units of a machine in one command."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.cli.runtime import chosen_name, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.lock import describe, held
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.environment.switched_off import machines_off
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus, utc_text, wall_clock
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Service, ServiceKind
from orchestrator.topology.network_view import addresses, network_rows

NEVER_STARTED = ("pending", "skipped")
CHECKS_LIMIT = 60.0  # seconds for all checks of an environment, before scaling
QUESTION_LIMIT = 5.0  # seconds for one question to one machine, before scaling
LOST = {
    "kernel-panic": "panicked"
}  # name of a fatal log pattern on the console → the state of its machine, if it differs


@dataclass(slots=True)
class Seen:
    """The result: a state for the environment, each machine and each service."""

    name: str
    word: str = "down"
    note: str = ""
    state: EnvironmentState | None = None
    machines: dict[str, str] = field(default_factory=dict)
    services: dict[str, tuple[str, str]] = field(default_factory=dict)


def run(arguments: argparse.Namespace) -> int:
    names = environments() if arguments.all else [chosen_name(arguments)]
    found = [asyncio.run(look(EnvironmentPaths.of(name))) for name in names]
    if arguments.checks:
        for seen in found:
            if seen.word in ("ready", "degraded") and set(seen.machines.values()) == {"running"}:
                run_command(arguments, partial(_checks, seen))
    if arguments.json:
        data = [as_json(seen) for seen in found]
        sys.stdout.write(json.dumps(data if arguments.all else data[0], indent=2) + "\n")
    else:
        sys.stdout.write("\n\n".join(as_text(seen) for seen in found) + "\n" if found else "no environment\n")
    return 0 if all(seen.word == "ready" for seen in found) else 3


async def look(env_paths: EnvironmentPaths) -> Seen:
    """Verify what is recorded, with at most one command for each machine."""
    seen = Seen(env_paths.name)
    try:
        state = seen.state = read_state(env_paths.state)
    except OrchestratorError as error:
        seen.word, seen.note = "damaged", error.brief
        return seen
    if state is None:
        if held(env_paths.lock):
            seen.word, seen.note = "starting", describe(env_paths.lock)
        return seen
    for name in state.topology.machines:
        machine = state.machines.get(name)
        seen.machines[name] = "not started" if machine is None else "running" if machine.process.alive else "gone"
    off = machines_off(env_paths, state)
    seen.machines.update(dict.fromkeys(off, "off"))
    if held(env_paths.lock):
        # Its owner holds the agents; what it records is the truth of this moment.
        seen.word, seen.note = state.phase, f"held by {describe(env_paths.lock)}"
        for service in state.topology.services.values():
            seen.services[service.name] = (state.services.get(service.name, "pending"), "")
        return seen
    if "running" not in seen.machines.values():
        seen.word, seen.note = "down", "its machines are gone; `orchestrator down` removes the leftovers"
        if off:
            seen.word, seen.note = "off", f"{_start_them(env_paths, off)}, `orchestrator down` removes everything"
        return seen
    seen.note = _start_them(env_paths, off) if off else ""
    for service in state.topology.services.values():
        if service.machine in off:
            seen.services[service.name] = ("off", f"its machine was {off[service.machine]}")
    running = [name for name, word in seen.machines.items() if word == "running"]
    await asyncio.gather(*(_ask(env_paths, state, name, seen) for name in running))
    good = all(word == "running" for word in seen.machines.values()) and all(
        word in ("healthy", "completed") for word, _ in seen.services.values()
    )
    seen.word = "ready" if good and state.phase == "ready" else "failed" if state.phase == "failed" else "degraded"
    return seen


def _start_them(env_paths: EnvironmentPaths, off: Mapping[str, str]) -> str:
    told = ", ".join(f"{name} was {how}" for name, how in off.items())
    command = f"orchestrator -n {env_paths.name}"
    again = f"`{command} power on {next(iter(off))}` starts it" if len(off) == 1 else f"`{command} up` starts them"
    return f"{told}; {again} again"


async def _ask(env_paths: EnvironmentPaths, state: EnvironmentState, name: str, seen: Seen) -> None:
    """QEMU's state, then all units of the machine with one command."""
    from orchestrator.environment.attach import channel_to
    from orchestrator.environment.failures import last_words
    from orchestrator.services import systemd
    from orchestrator.vm.qmp import connect

    limit = Deadline.after(TimeScale(state.factor).reply(QUESTION_LIMIT))
    services = state.topology.services_on(name)
    paths = env_paths.machine(name, state.run_folder)
    try:
        monitor = await connect(name, paths.qmp_side, limit)
        run_state = await monitor.run_state()
        await monitor.close()
        if run_state != "running":
            seen.machines[name] = run_state
            seen.services.update({s.name: ("unknown", f"machine is {run_state}") for s in services})
            return
        async with channel_to(env_paths, state, name, limit) as channel:
            units = [s.unit for s in services if s.unit is not None]
            # By the names they were asked for: one that is an alias is answered with the unit's own.
            found = dict(zip(units, await systemd.show(channel, units, limit), strict=True)) if units else {}
    except OrchestratorError as error:
        sign = last_words(paths)
        seen.machines[name] = "unreachable" if sign is None else LOST.get(sign.name, sign.name)
        why = error.what if sign is None else sign.explanation
        seen.services.update({s.name: ("unknown", why) for s in services})
        return
    for service in services:
        seen.services[service.name] = _word(service, found.get(service.unit or ""), state)


def _word(service: Service, unit: Any, state: EnvironmentState) -> tuple[str, str]:
    """A service's state now, from its unit; a target has none and keeps what was proven last."""
    recorded = state.services.get(service.name, "pending")
    if service.unit is None:
        return recorded, ""
    if unit is None or not unit.known:
        return "unknown", "systemd does not know its unit"
    oneshot = service.kind is ServiceKind.ONESHOT
    if unit.active == "inactive" and not unit.invocation and recorded in NEVER_STARTED:
        return "not started", ""
    trouble = unit.trouble(oneshot=oneshot, restarts=state.restarts.get(service.name, 0))
    if trouble:
        return ("stopped" if unit.active == "inactive" and unit.result == "success" else "failed"), trouble
    if unit.running or oneshot:
        return ("completed" if oneshot else "healthy") if recorded in ("healthy", "completed") else recorded, ""
    return unit.active, ""


async def _checks(seen: Seen, bus: EventBus) -> None:
    """Run every check once, from inside the machines."""
    from orchestrator.environment.lock import command_text, hold
    from orchestrator.environment.session import Session
    from orchestrator.environment.state import StateFile
    from orchestrator.services.channels import Channels, run_check

    assert seen.state is not None
    env_paths = EnvironmentPaths.of(seen.name)
    scale = TimeScale(seen.state.factor)
    limit = Deadline.after(scale.transfer(CHECKS_LIMIT))
    with hold(env_paths.lock, seen.name, command_text()):
        session = Session(env_paths, StateFile(env_paths.state, seen.state), bus)
        try:
            await session.reattach(limit)
            for service in seen.state.topology.services.values():
                for check in service.checks:
                    machine = session.machines[check.machine]
                    channels = Channels(machine.ready_agent, machine.ssh)
                    answer = await run_check(check, channels, scale=scale, deadline=limit)
                    if not answer.ok:
                        seen.services[service.name] = ("failed", f"check {check.name}: {answer.text}")
                        seen.word = "degraded"
        finally:
            await session.close()


def as_text(seen: Seen) -> str:
    """The table for people."""
    lines = [f"{seen.name}: {seen.word}" + (f" ({seen.note})" if seen.note else "")]
    state = seen.state
    if state is None:
        return lines[0]
    age = wall_clock() - state.started
    lines.append(
        f"  variant {state.topology.variant or '-'}, {state.provider} images, {state.accelerator}, "
        f"up {_age(age)}, evidence in {_relative(state.run_folder)}"
    )
    for name, word in seen.machines.items():
        machine = state.machines.get(name)
        ports = ", ".join(f"127.0.0.1:{h} → {g}" for g, h in machine.ports.items()) if machine else ""
        pid = f"pid {machine.process.pid}" if machine and word != "off" else ""
        shown = "" if word == "off" else ports
        lines.append(f"  machine {name:<14} {word:<12} {pid:<12} {shown}".rstrip())
    rows = network_rows(state.topology)
    lines += [f"  network {row.name:<14} {row.what}  {', '.join(row.members)}".rstrip() for row in rows]
    for name, (word, detail) in seen.services.items():
        where = state.topology.services[name].machine
        lines.append(f"  service {name:<14} {word:<12} on {where:<9} {detail}".rstrip())
    return "\n".join(lines)


def as_json(seen: Seen) -> dict[str, Any]:
    """The same for programs."""
    state = seen.state
    data: dict[str, Any] = {"name": seen.name, "state": seen.word, "note": seen.note}
    if state is not None:
        data |= {
            "variant": state.topology.variant,
            "provider": state.provider,
            "accelerator": state.accelerator,
            "started": utc_text(state.started),
            "run_folder": str(state.run_folder),
            "machines": {
                name: {
                    "state": word,
                    "pid": state.machines[name].process.pid if name in state.machines else None,
                    "ports": _ports(state, name),
                    "addresses": addresses(state.topology.machines[name]),
                }
                for name, word in seen.machines.items()
            },
            "services": {name: {"state": word, "detail": detail} for name, (word, detail) in seen.services.items()},
        }
    return data


def _ports(state: EnvironmentState, name: str) -> dict[str, int]:
    known = state.machines.get(name)
    return {str(guest): host for guest, host in known.ports.items()} if known else {}


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s" if minutes else f"{rest}s"


def _relative(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
