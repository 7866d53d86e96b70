"""A machine as an object: everything of its parts, and the lower doors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.driver.machine_screen import Screen
from orchestrator.errors import UsageError
from orchestrator.vm.arguments import SSH_GUEST_PORT
from orchestrator.vm.forwards import add_forward, remove_forward


class Forward:
    """A TCP port of this host that leads into a machine, from `Machine.forward_port`."""

    def __init__(self, machine: Machine, host_port: int, guest_port: int) -> None:
        self._machine = machine
        self._host_port = host_port
        self._guest_port = guest_port

    @property
    def host_port(self) -> int:
        """The port of 127.0.0.1 on this host."""
        return self._host_port

    @property
    def guest_port(self) -> int:
        """The port of the machine."""
        return self._guest_port

    async def close(self) -> None:
        """End it; open connections go on."""
        self._machine._power.require_on()
        await remove_forward(await self._machine._monitor(), self._host_port)


class Machine(Screen):
    """A machine of an open environment.

    Its calls wait until it is up. Each has a limit, in seconds on a host with KVM; a slower host has more. When the
    machine dies, panics or is shut down, open calls end at once with the reason.
    """

    # ------------------------------------------------------------------ networks

    async def forward_port(self, guest_port: int, host_port: int = 0) -> Forward:
        """Make a TCP port of the machine reachable at 127.0.0.1 of this host.

        Args:
            host_port: 0: a free one.

        Raises:
            UsageError: the port of this host is taken.
        """
        live = await self._up()
        made = await add_forward(live.monitor, guest_port, host_port)
        return Forward(self, made.host, guest_port)

    def port(self, guest_port: int) -> int:
        """The port of 127.0.0.1 on this host that leads to a port of the machine, as the topology forwards it.

        Raises:
            UsageError: the topology does not.
        """
        ports = self._live.ports
        if guest_port not in ports:
            known = ", ".join(str(port) for port in ports if port != SSH_GUEST_PORT) or "none"
            raise UsageError(
                f"port {guest_port} of {self.name} is not forwarded",
                why=f"the topology forwards: {known}",
                hint=f"{self.name}.forward_port({guest_port})",
            )
        return ports[guest_port]

    async def block(self, network: str | None = None) -> None:
        """Pull the cable of a network: frames in both directions are lost. The user network stays.

        Args:
            network: of the topology; None: the machine's first.

        Raises:
            UsageError: the machine is not in it.
        """
        await self._set_link(network, up=False)

    async def unblock(self, network: str | None = None) -> None:
        """Put the cable back; see `block`."""
        await self._set_link(network, up=True)

    async def _set_link(self, network: str | None, *, up: bool) -> None:
        links = [link.network for link in self._live.machine.links]
        chosen = network or (links[0] if links else "")
        if chosen not in links:
            why = f"its networks are {', '.join(links)}" if links else "it has none"
            raise UsageError(f"machine {self.name} is not in network {chosen!r}", why=why)
        await self.qmp("set_link", {"name": f"net-{chosen}", "up": up})

    # ------------------------------------------------------------------ QEMU itself

    async def qmp(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """A QMP command, for what is missing here.

        Returns:
            QEMU's answer, decoded from JSON.

        Raises:
            MachineError: QEMU refused it, or is gone.
        """
        return await (await self._monitor()).execute(command, arguments)

    async def monitor(self, line: str) -> str:
        """A command of QEMU's human monitor (HMP), as ``info usernet``.

        Returns:
            What it prints. Errors are text too.
        """
        return await (await self._monitor()).hmp(line)

    # ------------------------------------------------------------------ others

    @property
    def testinfra(self) -> Any:
        """A `testinfra.host.Host` of this machine: ``server.testinfra.service("nginx").is_running``.

        Its calls wait, in async code too: use it in a thread there, as with `asyncio.to_thread`.

        Raises:
            HostError: testinfra is not installed.
        """
        from orchestrator.driver.testinfra_backend import host_of

        return host_of(self)

    @property
    def address(self) -> str:
        """Its first address in the topology's networks; empty where it is in none."""
        links = self._live.machine.links
        return str(links[0].address) if links else ""
