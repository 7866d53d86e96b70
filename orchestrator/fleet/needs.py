"""What a cell needs, what a host has, and which of them go together. The pure part of admission."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.environment.admission import DISK_NEEDED, MEMORY_OVERHEAD
from orchestrator.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Needs:
    """What a cell takes of a host while it runs.

    Attributes:
        memory: MiB, QEMU's own included.
        processors: virtual ones.
        disk: MiB, for the disks of its machines and its evidence.
    """

    memory: int
    processors: int
    disk: int = DISK_NEEDED

    @classmethod
    def of(cls, topology: Topology) -> Needs:
        """What all machines of a topology need."""
        machines = topology.machines.values()
        return cls(
            memory=sum(machine.memory + MEMORY_OVERHEAD for machine in machines),
            processors=sum(machine.cpus for machine in machines),
        )


NOTHING = Needs(0, 1, 0)  # of a command that is not ours


@dataclass(frozen=True, slots=True)
class Offer:
    """What a host has for guests.

    Attributes:
        host: its name.
        memory: MiB that are available, the host's own reserve taken off.
        processors: virtual ones that it carries at once: fewer where they are emulated.
        disk: MiB free for the state of environments.
        accelerator: ``kvm`` or ``tcg``.
        version: of the orchestrator there.
    """

    host: str
    memory: int
    processors: int
    disk: int
    accelerator: str = ""
    version: str = ""


def shortage(needs: Needs, offer: Offer) -> str:
    """Why a host can never carry a cell; empty when it can, alone. Pure.

    Processors are no reason: alone, a cell may have more than the host carries well.
    """
    lacking = [
        f"{have} MiB of {what}, {need} MiB are needed"
        for what, have, need in (
            ("memory", offer.memory, needs.memory),
            ("free disk", offer.disk, needs.disk),
        )
        if have < need
    ]
    return f"{offer.host} has {' and '.join(lacking)}" if lacking else ""


def refusal(needs: Needs, offers: Iterable[Offer]) -> str:
    """Why no host can ever carry a cell; empty when one can. Pure."""
    reasons = []
    for offer in offers:
        reason = shortage(needs, offer)
        if not reason:
            return ""
        reasons.append(reason)
    return "; ".join(reasons) or "there is no host"


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of a host beside the cells that run there."""

    offer: Offer
    memory: int
    processors: int
    disk: int
    cells: int = 0

    @classmethod
    def beside(cls, offer: Offer, running: Iterable[Needs]) -> Room:
        taken = list(running)
        return cls(
            offer,
            memory=offer.memory - sum(one.memory for one in taken),
            processors=offer.processors - sum(one.processors for one in taken),
            disk=offer.disk - sum(one.disk for one in taken),
            cells=len(taken),
        )

    def takes(self, needs: Needs) -> bool:
        """Whether a cell may begin there now."""
        enough = self.memory >= needs.memory and self.disk >= needs.disk
        return enough and (self.processors >= needs.processors or not self.cells)
