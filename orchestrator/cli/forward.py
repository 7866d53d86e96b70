"""``orchestrator forward``: ports of this host that lead into a machine, added and ended while it runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from orchestrator.cli.runtime import say
from orchestrator.cli.tables import aligned
from orchestrator.cli.visit import Visit, visit
from orchestrator.errors import UsageError
from orchestrator.vm.arguments import SSH_GUEST_PORT
from orchestrator.vm.forwards import PortForward, add_forward, forwards, remove_forward


def run(arguments: argparse.Namespace) -> int:
    if arguments.guest_port is None and not arguments.list:
        raise UsageError("which port of the machine?", hint=f"orchestrator forward {arguments.machine} 8080")
    asyncio.run(_forward(arguments))
    return 0


async def _forward(arguments: argparse.Namespace) -> None:
    async with visit(arguments) as visited:
        if arguments.list:
            wanted = arguments.guest_port
            found = [one for one in await forwards(visited.monitor) if wanted is None or one.guest == wanted]
            _show_all(visited, found, as_json=arguments.json)
        elif arguments.remove:
            await _remove(visited, arguments)
        else:
            _show(visited, await _add(visited, arguments), as_json=arguments.json)


async def _add(visited: Visit, arguments: argparse.Namespace) -> PortForward:
    """The forward that is wanted; one that is there already is not made again."""
    guest, host = arguments.guest_port, arguments.host_port
    for known in await forwards(visited.monitor):
        if known.guest == guest and host in (None, known.host):
            say(f"{visited.name}:{guest} is forwarded already")
            return known
    return await add_forward(visited.monitor, guest, host or 0)


async def _remove(visited: Visit, arguments: argparse.Namespace) -> None:
    guest, host = arguments.guest_port, arguments.host_port
    found = [one for one in await forwards(visited.monitor) if one.guest == guest and host in (None, one.host)]
    if not found:
        raise UsageError(
            f"port {guest} of {visited.name} is not forwarded" + (f" from port {host}" if host else ""),
            hint=f"orchestrator forward --list {visited.name}",
        )
    added = [one for one in found if _kind(visited, one) == "added"]
    if not added:
        why = "the orchestrator itself needs it" if guest == SSH_GUEST_PORT else "the topology forwards it"
        raise UsageError(f"the forward of port {guest} of {visited.name} stays", why=why)
    for one in added:
        await remove_forward(visited.monitor, one.host)
        say(f"127.0.0.1:{one.host} no longer leads to {visited.name}:{guest}")


def _kind(visited: Visit, forward: PortForward) -> str:
    if visited.known.ports.get(forward.guest) != forward.host:
        return "added"
    return "ssh" if forward.guest == SSH_GUEST_PORT else "topology"


def _as_json(visited: Visit, forward: PortForward) -> dict[str, object]:
    return {
        "machine": visited.name,
        "guest_port": forward.guest,
        "host_port": forward.host,
        "kind": _kind(visited, forward),
    }


def _show(visited: Visit, forward: PortForward, *, as_json: bool) -> None:
    """One forward: its port of this host, for scripts."""
    say(f"127.0.0.1:{forward.host} leads to {visited.name}:{forward.guest}")
    text = json.dumps(_as_json(visited, forward)) if as_json else str(forward.host)
    sys.stdout.write(text + "\n")


def _show_all(visited: Visit, found: list[PortForward], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([_as_json(visited, one) for one in found], indent=2) + "\n")
        return
    rows = [(f"127.0.0.1:{one.host}", f"{visited.name}:{one.guest}", _kind(visited, one)) for one in found]
    sys.stdout.write(aligned(rows))
