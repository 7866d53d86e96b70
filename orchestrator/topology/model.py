"""What a topology is, as frozen data. No I/O, no defaults hidden elsewhere.

`orchestrator.topology.load` makes these from ``orchestrator.toml``; the plan
of an environment is a pure function of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from orchestrator.log_patterns import Waiver


class NetworkKind(StrEnum):
    """How the machines of a network reach each other on the host."""

    VDE = "vde"  # a vde_switch per network
    SOCKET = "socket"  # UNIX stream sockets between the QEMU processes, no helper


class ServiceKind(StrEnum):
    """What it means for a service to be up."""

    DAEMON = "daemon"  # keeps running; healthy when its checks pass
    ONESHOT = "oneshot"  # runs to its end; completed when it exited with 0
    TARGET = "target"  # no unit of its own: a point that others wait for, with checks


class Condition(StrEnum):
    """What a dependant waits for; the words of docker compose."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class CheckKind(StrEnum):
    TCP = "tcp"
    HTTP = "http"
    EXEC = "exec"
    FILE = "file"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    kind: NetworkKind
    subnet: IPv4Network


@dataclass(frozen=True, slots=True)
class Interface:
    """A machine's interface on a network."""

    network: str
    address: IPv4Address
    prefix: int
    mac: str


@dataclass(frozen=True, slots=True)
class PortForward:
    """127.0.0.1:``host`` → guest port; ``host`` 0 lets the kernel choose."""

    host: int
    guest: int


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
class Image:
    """Where a machine's system comes from, for each provider that can make it.

    Attributes:
        debian: the recipe file, or None.
        nixos_flake: ``DIR#ATTRIBUTE`` for ``nixos-rebuild build-vm --flake``, or None.
        nixos_config: a configuration file for builds without flakes, or None.
    """

    name: str
    debian: Path | None = None
    nixos_flake: str | None = None
    nixos_config: Path | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """A host and port outside that a machine may reach.

    Attributes:
        host: a name, or an IPv4 address.
        protocol: ``tcp`` or ``udp``.
    """

    host: str
    port: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine.

    Attributes:
        memory: MiB.
        egress: whether the guest reaches outside networks through NAT.
        destinations: the only ones it reaches, if ``egress`` is not true.
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


@dataclass(frozen=True, slots=True)
class Check:
    """One condition that must be true before a service is healthy.

    Exactly the fields of its kind are set:

    * tcp: ``target`` is ``host:port``, as seen from ``machine``.
    * http: ``target`` is a URL; ``status`` the expected code, ``json`` a subset
      the body must contain, ``contains`` a text it must contain,
      ``headers`` header names with the value they must have.
      Where the URL is https, ``ca`` is the file of certificates that are trusted instead of the host's, and without
      ``verify`` any certificate will do.
    * exec: ``command``; ``stdout`` is a regular expression (RE2) searched in the output.
    * file: ``target`` is a path that must exist.
    * unit: ``target`` is a unit that must be active.

    Attributes:
        machine: where the check is made from.
        user: who runs an exec check.
        timeout: limit of one attempt, in seconds before scaling.
    """

    name: str
    kind: CheckKind
    machine: str
    target: str = ""
    command: tuple[str, ...] = ()
    user: str = "root"
    stdout: str | None = None
    status: int = 200
    json: Mapping[str, object] | None = None
    contains: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: Path | None = None
    verify: bool = True
    timeout: float = 5.0

    @property
    def wants_body(self) -> bool:
        """Whether an http check looks at more than status and headers."""
        return self.json is not None or self.contains is not None


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
    """

    name: str
    args: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


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
        app: the application package (``bin/``, ``share/``) that image recipes install, or None.
        waivers: log patterns that are known, and do not count.
    """

    name: str
    path: Path
    variant: str
    variants: tuple[str, ...]
    app: Path | None
    networks: Mapping[str, Network]
    images: Mapping[str, Image]
    machines: Mapping[str, Machine]
    services: Mapping[str, Service]
    suite: Suite | None
    waivers: tuple[Waiver, ...] = ()

    @property
    def root(self) -> Path:
        """The folder relative paths are meant from."""
        return self.path.parent

    def files_of(self, machine: str) -> tuple[GuestFile, ...]:
        """What is put into a guest: the machine's files, and those with the environment of its services."""
        own = (
            GuestFile(service.environment_file, service.environment_target)
            for service in self.services.values()
            if service.machine == machine and service.environment_file is not None
        )
        return (*self.machines[machine].files, *own)

    def with_free_ports(self) -> Topology:
        """The same with a free port of the host for every forwarded port."""
        machines = {
            name: replace(machine, ports=tuple(replace(port, host=0) for port in machine.ports))
            for name, machine in self.machines.items()
        }
        return replace(self, machines=machines)
