"""``orchestrator link``: the cable between a machine and a network, pulled and put back."""

from __future__ import annotations

import argparse
import asyncio

from orchestrator.cli.runtime import say
from orchestrator.cli.visit import visit
from orchestrator.errors import UsageError
from orchestrator.topology.model import Machine


def run(arguments: argparse.Namespace) -> int:
    asyncio.run(_set_link(arguments))
    return 0


async def _set_link(arguments: argparse.Namespace) -> None:
    async with visit(arguments) as visited:
        network = _network(visited.machine, arguments.network)
        up = arguments.action == "up"
        await visited.monitor.execute("set_link", {"name": f"net-{network}", "up": up})
    say(f"{arguments.machine}: the link to {network} is {arguments.action}")


def _network(machine: Machine, wanted: str | None) -> str:
    """The network meant.

    Raises:
        UsageError: the machine is not in it, or which one is not clear.
    """
    known = [link.network for link in machine.links]
    if not known:
        raise UsageError(f"machine {machine.name} is in no network")
    if wanted is None and len(known) > 1:
        raise UsageError(f"machine {machine.name} is in {len(known)} networks", why=f"they are {', '.join(known)}")
    if wanted is not None and wanted not in known:
        raise UsageError(f"machine {machine.name} is not in network {wanted!r}", why=f"it is in {', '.join(known)}")
    return wanted or known[0]
