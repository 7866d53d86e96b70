"""What a topology is, as frozen data. No I/O, no defaults hidden elsewhere.

`orchestrator.topology.load` makes these from ``orchestrator.toml``; the plan
of an environment is a pure function of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from orchestrator.topology.check_kind import CheckKind
from orchestrator.topology.fault_kind import Fault as Fault
from orchestrator.topology.image_source import ImageSource
from orchestrator.topology.scenario import Scenario as Scenario
from orchestrator.topology.words import Condition as Condition
from orchestrator.topology.words import Cpu as Cpu
from orchestrator.topology.words import Destination as Destination
from orchestrator.topology.words import MachineKind as MachineKind
from orchestrator.topology.words import NetworkKind as NetworkKind
from orchestrator.topology.words import PortForward as PortForward
from orchestrator.topology.words import ServiceKind as ServiceKind
from orchestrator.waivers import Waiver


@dataclass(frozen=True, slots=True)
class Network:
    """Machines that reach each other without a router.

    Attributes:
        subnet6: None: the network has IPv4 only.
        nat: packets that leave it through a router get the router's address, and nobody opens a connection into it.
    """

    name: str
    kind: NetworkKind
    subnet: IPv4Network
    subnet6: IPv6Network | None = None
    nat: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """A machine's interface on a network.

    Attributes:
        prefix: bits of the IPv4 subnet.
        address6: None where the network has no IPv6.
        prefix6: bits of the IPv6 subnet.
    """

    network: str
    address: IPv4Address
    prefix: int
    mac: str
    address6: IPv6Address | None = None
    prefix6: int = 0

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Its addresses, IPv4 first."""
        return (self.address,) if self.address6 is None else (self.address, self.address6)


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A host file that is put into the guest after each boot, before any service.

    The content never appears in an argument list, a log or the run folder.
    """

    source: Path
    target: str
    mode: int = 0o600
    required: bool = True


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder of the host that machines see, read-only, at one place: the application, apart from the image.

    Attributes:
        source: the folder.
        target: where guests see it.
        owner: who owns everything in it there: ``user`` or ``user:group``, names or numbers.
        exclude: patterns of what is left out, see `orchestrator.topology.layer_files`.
        requires: globs, each of which matches a file of it.
        static: patterns of files that services read again each time: a change of them starts nothing again.
        resets: patterns of files whose effect stays in the data of machines, as migrations.
        nixos_input: the input of NixOS flakes that brings it into images, in place of a disk; empty: none does.
        replaced: whether the folder was given in place of the file's own.
    """

    name: str
    source: Path
    target: str
    owner: str = "root"
    exclude: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    resets: tuple[str, ...] = ()
    nixos_input: str = ""
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """Where a machine's system comes from: a source for each provider that can make it, by the provider's name."""

    name: str
    sources: Mapping[str, ImageSource] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine.

    Attributes:
        memory: MiB.
        egress: whether the guest reaches outside networks through NAT.
        destinations: the only ones it reaches, if ``egress`` is not true.
        aliases: other names that the machines know it by.
        dns: whether a name server runs in it, for programs that do not read ``/etc/hosts``.
        cpu: the processor that it sees.
    """

    name: str
    image: str
    cpus: int
    memory: int
    links: tuple[Interface, ...] = ()
    egress: bool = False
    ports: tuple[PortForward, ...] = ()
    files: tuple[GuestFile, ...] = ()
    destinations: tuple[Destination, ...] = ()
    kind: MachineKind = MachineKind.PLAIN
    aliases: tuple[str, ...] = ()
    dns: bool = False
    cpu: Cpu = Cpu.HOST

    @property
    def is_router(self) -> bool:
        """Whether it passes packets on between its networks."""
        return self.kind is MachineKind.ROUTER


@dataclass(frozen=True, slots=True)
class Check:
    """One condition that must be true before a service is healthy.

    Attributes:
        machine: where the check is made from.
        spec: what is looked at, and how.
        timeout: limit of one attempt, in seconds before scaling.
    """

    name: str
    machine: str
    spec: CheckKind
    timeout: float = 5.0

    @property
    def kind(self) -> str:
        return self.spec.kind


@dataclass(frozen=True, slots=True)
class Dependency:
    service: str
    condition: Condition = Condition.HEALTHY


@dataclass(frozen=True, slots=True)
class Service:
    """Something the orchestrator starts and proves.

    Attributes:
        unit: the systemd unit, None for a target.
        timeout: seconds from its start to all checks passed, before scaling.
        logs: guest paths collected besides the unit's journal.
        description: one line for people.
        after_restore: a command run as root when its machine comes from a saved state, before any check.
        environment: additional variables of the unit.
        environment_file: a host file with more variables, for secrets: it is in no unit, argument or log.
        uses: the layers that its machine needs for it.
        stage: whether the state is saved when it and all that it depends on are up.
    """

    name: str
    machine: str
    kind: ServiceKind
    unit: str | None
    depends_on: tuple[Dependency, ...] = ()
    checks: tuple[Check, ...] = ()
    timeout: float = 60.0
    logs: tuple[str, ...] = ()
    description: str = ""
    after_restore: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_file: Path | None = None
    uses: tuple[str, ...] = ()
    stage: bool = False

    @property
    def environment_target(self) -> str:
        """The guest path of the content of ``environment_file``."""
        return f"/run/orchestrator/environment/{self.name}.env"


@dataclass(frozen=True, slots=True)
class SuitePhase:
    """One invocation of the suite's command.

    Attributes:
        args: appended to the command.
        stop: services that are stopped during this phase and started again after it.
        faults: the names of those that are on during this phase.
    """

    name: str
    args: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """The browser tests.

    Attributes:
        path: the host folder that is copied into the guest.
        command: run in the guest, in the copied folder, once per phase.
        artifacts: guest folder whose content is copied back.
        timeout: seconds for one phase, before scaling.
        prepare: run in the guest before a state is saved for the tests to begin from; what it starts is part of that.
        scale_timeouts: whether the limits of its Playwright configuration are multiplied by the time factor.
    """

    machine: str
    path: Path
    command: tuple[str, ...]
    user: str
    environment: Mapping[str, str]
    artifacts: str
    timeout: float
    phases: tuple[SuitePhase, ...]
    prepare: tuple[str, ...] = ()
    scale_timeouts: bool = True


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole environment as its author wrote it, one variant applied.

    Attributes:
        path: the topology file.
        waivers: log patterns that are known, and do not count.
        faults: those that phases, tests and commands may begin by name.
    """

    name: str
    path: Path
    variant: str
    variants: tuple[str, ...]
    networks: Mapping[str, Network]
    images: Mapping[str, Image]
    machines: Mapping[str, Machine]
    services: Mapping[str, Service]
    suite: Suite | None
    waivers: tuple[Waiver, ...] = ()
    layers: Mapping[str, Layer] = field(default_factory=dict)
    faults: Mapping[str, Fault] = field(default_factory=dict)
    scenarios: Mapping[str, Scenario] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder relative paths are meant from."""
        return self.path.parent

    def files_of(self, machine: str, services: Collection[str] | None = None) -> tuple[GuestFile, ...]:
        """What is put into a guest: the machine's files, and those with the environment of its services.

        Args:
            services: only of these.
        """
        return (*self.machines[machine].files, *self.environment_files(machine, services))

    def environment_files(self, machine: str, services: Collection[str] | None = None) -> tuple[GuestFile, ...]:
        """The files with the environment of services of a machine; ``services``: only of these."""
        return tuple(
            GuestFile(service.environment_file, service.environment_target)
            for service in self.services_on(machine, services)
            if service.environment_file is not None
        )

    def services_on(self, machine: str, services: Collection[str] | None = None) -> tuple[Service, ...]:
        """The services of a machine, in the order of the file; ``services``: only of these."""
        mine = (one for one in self.services.values() if one.machine == machine)
        return tuple(one for one in mine if services is None or one.name in services)

    def layers_of(self, machine: str, services: Collection[str] | None = None) -> tuple[Layer, ...]:
        """The layers that services of a machine use, in the order of the file; ``services``: only these."""
        used = {name for service in self.services_on(machine, services) for name in service.uses}
        return tuple(layer for layer in self.layers.values() if layer.name in used)

    def layer_users(self, layers: Collection[str]) -> tuple[str, ...]:
        """The services that use one of these layers, in the order of the file."""
        return tuple(name for name, service in self.services.items() if set(service.uses) & set(layers))

    def layers_of_image(self, image: str) -> tuple[Layer, ...]:
        """The layers that machines of an image have, in the order of the file."""
        found = {
            one.name for name, each in self.machines.items() if each.image == image for one in self.layers_of(name)
        }
        return tuple(layer for layer in self.layers.values() if layer.name in found)

    def units_of_image(self, image: str) -> frozenset[str]:
        """The units of the services on all machines of an image."""
        mine = (name for name, machine in self.machines.items() if machine.image == image)
        return frozenset(one.unit for name in mine for one in self.services_on(name) if one.unit)

    def with_free_ports(self) -> Topology:
        """The same with a free port of the host for every forwarded port."""
        machines = {
            name: replace(machine, ports=tuple(replace(port, host=0) for port in machine.ports))
            for name, machine in self.machines.items()
        }
        return replace(self, machines=machines)
