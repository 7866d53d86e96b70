"""The guest of one machine that a command drives: its agent, its SSH connection, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection

from orchestrator.deadline import Deadline
from orchestrator.environment.handover import (
    handover_script,
    journal_script,
    push_files,
    run_script,
    services_script,
)
from orchestrator.environment.machine_ssh import MachineSsh
from orchestrator.guest.agent import Agent
from orchestrator.guest.channel import GuestChannel, SshChannel
from orchestrator.guest.clock import ClockReading
from orchestrator.net.egress import Addresses, names_script
from orchestrator.snapshots.restore import authorize, exchange_host_key, set_clock
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.arguments import MachinePaths

HANDOVER_LIMIT = 20.0  # seconds, before scaling


class LiveGuest:
    """What is inside a machine.

    Attributes:
        agent: how it is asked: its guest agent, or SSH where it has none; another object after a reboot.
        ssh: the SSH connection and the host key.
        addresses: of the names outside that the guest may reach.
        layers: those that it has as disks.
        services: those that have what they need: the hand-over mounts and writes it. At first all.
        lacks: explains what it is found to lack.
    """

    def __init__(self, machine: Machine, topology: Topology, paths: MachinePaths, ssh: MachineSsh) -> None:
        self.agent: GuestChannel = Agent(machine.name, paths.agent)
        self.ssh = ssh
        self.addresses: Addresses = {}
        self.layers: tuple[str, ...] = ()
        self.services = frozenset(topology.services)
        self.lacks = ssh.lacks
        self._machine = machine
        self._topology = topology
        self._paths = paths

    @property
    def ssh_only(self) -> bool:
        """Whether it has no guest agent."""
        return isinstance(self.agent, SshChannel)

    def use_ssh_only(self) -> None:
        """It has no guest agent."""
        self.agent = SshChannel(self._machine.name, self.ssh.current)

    async def forget_agent(self) -> None:
        """Its agent is gone with its boot; the next one is connected to when it opens its port."""
        await self.agent.close()
        self.agent = Agent(self._machine.name, self._paths.agent)

    async def connect_agent(self, deadline: Deadline) -> None:
        """Connect to the agent that has opened its port.

        Raises:
            MachineError: it does not answer.
        """
        await self.agent.connect(deadline)

    async def hand_over(self, user_key: str, deadline: Deadline, ready: Callable[[], None]) -> None:
        """Run the hand-over script and push the topology's files; idempotent.

        Args:
            ready: called as soon as services may start.

        Raises:
            MachineError: the guest could not be set up.
        """
        script = handover_script(self._machine, self._topology, user_key, self.services, self.layers)
        await run_script(self.agent, script, deadline, self.lacks)
        await push_files(self.agent, self._topology.files_of(self._machine.name, self.services), deadline)
        await self._name_destinations(deadline)
        ready()
        # No service waits for it: the stream has everything from the boot on.
        await run_script(self.agent, journal_script(), deadline, self.lacks)

    def unprepared(self, services: Collection[str]) -> frozenset[str]:
        """Those of these services that need something in this machine which is not there yet."""
        needy = (
            one.name
            for one in self._topology.services_on(self._machine.name, services)
            if one.uses or one.environment or one.environment_file
        )
        return frozenset(needy) - self.services

    async def prepare(self, services: frozenset[str], deadline: Deadline) -> None:
        """Give further services what they need: the layers that they use, and their environment; idempotent.

        Raises:
            MachineError: it cannot be done.
        """
        await push_files(self.agent, self._topology.environment_files(self._machine.name, services), deadline)
        if script := services_script(self._machine, self._topology, services, self.layers):
            await run_script(self.agent, script, deadline, self.lacks)
        self.services |= services

    async def refresh_identity(
        self, user_key: str, host_key: str, deadline: Deadline, ready: Callable[[], None]
    ) -> ClockReading:
        """Give a restored guest its own keys and the time; how its clock is then.

        Args:
            host_key: the public host key it was saved with, to be kept; empty: it gets a new one.
            ready: called as soon as SSH and checks may begin.
        """
        await authorize(self.agent, user_key, deadline)
        self.ssh.pin(host_key or await exchange_host_key(self.agent, deadline), replaced=not host_key)
        await self._name_destinations(deadline)
        ready()  # SSH and checks do not ask for the time
        return await set_clock(self.agent, deadline)

    async def _name_destinations(self, deadline: Deadline) -> None:
        if self._machine.destinations:
            await run_script(self.agent, names_script(self.addresses), deadline, self.lacks)

    async def close(self) -> None:
        """Close the connections."""
        await self.ssh.close()
        await self.agent.close()


def setup_deadline(deadline: Deadline, scale: TimeScale) -> Deadline:
    """The deadline of a hand-over."""
    return deadline.earlier(scale.limit(HANDOVER_LIMIT))
