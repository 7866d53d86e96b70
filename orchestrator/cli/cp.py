"""``orchestrator cp``: MACHINE:PATH on one side."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.deadline import Deadline
from orchestrator.environment.attach import ssh_to
from orchestrator.environment.state import EnvironmentState
from orchestrator.errors import UsageError
from orchestrator.guest.files import get, put
from orchestrator.guest.ssh import Ssh

LIMIT = 3600.0


def run(arguments: argparse.Namespace) -> int:
    places, state = living_state(arguments)
    source, target = _split(arguments.source, state), _split(arguments.target, state)
    if (source is None) == (target is None):
        raise UsageError(
            "exactly one side must be in a machine",
            why=f"machines are {', '.join(state.machines)}",
            hint="orchestrator cp server:/etc/hosts . copies out, orchestrator cp file server:/root/ copies in",
        )
    machine = (source or target or ("", ""))[0]
    known_machine(state, machine)

    async def work() -> int:
        async with ssh_to(places, state, machine) as ssh:
            deadline = Deadline.after(LIMIT)
            if source is not None:
                await _out(ssh, source[1], Path(arguments.target), deadline)
            elif target is not None:
                await _into(ssh, Path(arguments.source), target[1], deadline)
        return 0

    return asyncio.run(work())


async def _out(ssh: Ssh, path: str, target: Path, deadline: Deadline) -> None:
    name = path.rstrip("/").rsplit("/", 1)[-1]
    place = target / name if target.is_dir() else target
    files = await get(ssh, path.rstrip("/") or "/", place, deadline=deadline)
    say(f"{len(files)} file{'s' if len(files) != 1 else ''} → {place}")


async def _into(ssh: Ssh, source: Path, path: str, deadline: Deadline) -> None:
    if not source.exists():
        raise UsageError(f"{source} does not exist")
    inside = await ssh.exec(["test", "-d", path], deadline=deadline)
    target = f"{path.rstrip('/')}/{source.resolve().name}" if inside.code == 0 else path.rstrip("/")
    await put(ssh, source, target, deadline=deadline)
    say(f"{source} → {ssh.machine}:{target}")


def _split(text: str, state: EnvironmentState) -> tuple[str, str] | None:
    """Machine and path of ``MACHINE:PATH``; None for a host path. A path with a slash before its colon is one."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name:
        return None
    if name not in state.machines:
        raise UsageError(f"no machine is named {name!r}", why=f"machines are {', '.join(state.machines)}",
                         hint=f"./{text} means a host file of that name")  # fmt: skip
    if not path.startswith("/"):
        raise UsageError(f"the path in the machine must be absolute: {text!r}")
    return name, path
