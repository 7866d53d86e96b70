"""Words and small values of a topology, which the descriptions of its keys need too. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NetworkKind(StrEnum):
    """How the machines of a network reach each other on the host."""

    VDE = "vde"  # a vde_switch per network
    SOCKET = "socket"  # UNIX stream sockets between the QEMU processes, no helper


class MachineKind(StrEnum):
    """What a machine does for the others."""

    PLAIN = "machine"
    ROUTER = "router"  # passes packets on between its networks


class Cpu(StrEnum):
    """The processor that a machine sees; a level is one of the x86-64 psABI."""

    HOST = "host"  # all that the host has, or QEMU can emulate
    X86_64_V2 = "x86-64-v2"  # since 2009: SSE4.2, POPCNT


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


@dataclass(frozen=True, slots=True)
class PortForward:
    """127.0.0.1:``host`` → guest port; ``host`` 0 lets the kernel choose."""

    host: int
    guest: int


@dataclass(frozen=True, slots=True)
class Destination:
    """Somebody outside whom a machine may reach.

    Attributes:
        host: a name, or an IPv4 address.
        protocol: ``tcp`` or ``udp``.
    """

    host: str
    port: int
    protocol: str = "tcp"
