"""TCP ports of this host that lead into a running machine, through its user network."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.vm.qmp import Monitor


@dataclass(frozen=True, slots=True)
class PortForward:
    """A forward: a port of 127.0.0.1 on this host, and the port of the machine that it leads to."""

    host: int
    guest: int


def parse_forwards(text: str) -> list[PortForward]:
    """All TCP forwards in the output of ``info usernet``. Pure.

    >>> parse_forwards("  TCP[HOST_FORWARD]   3       127.0.0.1 34529       10.0.2.15    22     0     0")
    [PortForward(host=34529, guest=22)]
    """
    lines = [line.split() for line in text.splitlines()]
    found = [fields for fields in lines if len(fields) >= 6 and fields[0] == "TCP[HOST_FORWARD]"]
    return [PortForward(int(fields[3]), int(fields[5])) for fields in found]


async def forwards(monitor: Monitor) -> list[PortForward]:
    """The forwards that a machine has now."""
    return parse_forwards(await monitor.hmp("info usernet"))


async def add_forward(monitor: Monitor, guest: int, host: int = 0) -> PortForward:
    """Make a TCP port of a machine reachable at 127.0.0.1 of this host.

    Args:
        host: 0: a free one.

    Raises:
        UsageError: the port of this host is taken.
    """
    before = await forwards(monitor)
    answer = await monitor.hmp(f"hostfwd_add tcp:127.0.0.1:{host}-:{guest}")
    # Another command may have added one at the same moment.
    new = [one for one in await forwards(monitor) if one not in before and one.guest == guest]
    if not new:
        why = " ".join(answer.split()) or "QEMU does not say why"
        what = f"port {host} of this host cannot be forwarded" if host else "no port of this host can be forwarded"
        raise UsageError(what, why=why, hint="another port, or none for a free one")
    return new[0]


async def remove_forward(monitor: Monitor, host: int) -> None:
    """End a forward; open connections go on. One that is not there is no error."""
    await monitor.hmp(f"hostfwd_remove tcp:127.0.0.1:{host}")
