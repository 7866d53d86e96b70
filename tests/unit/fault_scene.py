"""Machines that faults are made on: QMP, a guest's shell and frame filters that only remember what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fake_channels import ok
from topology_samples import completed, write

from orchestrator.errors import MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology

MAC = "52:54:00:00:00:02"


def topology(folder: Path, text: str) -> Topology:
    """A small topology (server, client, network lan, service web) with these tables."""
    return load_topology(write(folder, completed(text)))


@dataclass
class FakePlace:
    """A place as kinds of faults see it.

    Attributes:
        answers: of QMP commands, by name.
        scripts: what the guest's shell prints, one after the other.
        calls: everything that was asked.
    """

    answers: Mapping[str, object] = field(default_factory=dict)
    scripts: Sequence[str] = ()
    fault: str = "it"
    machine: str = "server"
    network: str = "lan"
    mac: str = MAC
    others: Mapping[str, str] = field(default_factory=lambda: {"client": "52:54:00:00:00:01"})
    unit: str = "web.service"
    calls: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = list(self.scripts)

    async def qmp(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        self.calls.append((command, dict(arguments or {})))
        return self.answers.get(command, {})

    async def run(self, command: Sequence[str]) -> GuestResult:
        self.calls.append(list(command))
        return ok(self._left.pop(0) if self._left else "")

    async def sh(self, script: str, *words: str) -> str:
        self.calls.append((script, words))
        return self._left.pop(0) if self._left else ""

    async def filter_frames(self, settings: Mapping[str, object], direction: str) -> Mapping[str, object]:
        self.calls.append(("filter", dict(settings), direction))
        return {"filters": []}

    async def filter_told(self, kept: Mapping[str, object]) -> str:
        return "1 frame filters run"

    async def end_filter(self, kept: Mapping[str, object]) -> None:
        self.calls.append("end filter")

    async def capture(self, snaplen: int) -> Mapping[str, object]:
        return {"path": "networks/it.pcap", "object": "it"}

    async def end_capture(self, kept: Mapping[str, object]) -> None:
        self.calls.append("end capture")


@dataclass
class FakeMonitor:
    """QMP of one machine; ``status`` follows ``stop`` and ``cont``."""

    status: str = "running"
    deaf: bool = False
    refuses: Callable[[str], bool] = lambda command: False
    commands: list[str] = field(default_factory=list)

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        del arguments
        if self.refuses(command):
            raise MachineError("QEMU of machine server refused it")
        self.commands.append(command)
        if command in ("stop", "cont") and not self.deaf:
            self.status = "paused" if command == "stop" else "running"
        return {"status": self.status} if command == "query-status" else {}
