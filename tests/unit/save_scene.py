"""Machines that can be saved: fake QMP servers and real files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_qemu import FakeServer, Refused

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError, SnapshotError
from orchestrator.snapshots.manifest import SavedMachine
from orchestrator.snapshots.memory import MIB
from orchestrator.snapshots.save import Source, save_machines
from orchestrator.vm.qmp import Monitor, connect

PAGE = 4096


class Vm:
    """A running machine: a QEMU that can be saved, and its files.

    Attributes:
        told: what all machines of a scene were told, in order; ``given`` the arguments, by command.
        state: as query-status tells it; ``migration`` as query-migrate does.
        outcome: what a migration comes to; with ``active`` it never ends.
        refusals: how often cont is refused.
        on_stop: called when the machine is stopped.
    """

    def __init__(self, folder: Path, name: str, told: list[str]) -> None:
        folder.mkdir()
        self.name = name
        self.folder = folder
        self.told = told
        self.given: dict[str, dict[str, Any]] = {}
        self.state = "running"
        self.migration = "none"
        self.outcome = "completed"
        self.refusals = 0
        self.on_stop: Callable[[], object] = lambda: None
        self.ram = folder / "server.ram"
        with self.ram.open("wb") as file:
            file.truncate(2 * MIB)
            file.write(os.urandom(PAGE))
        (folder / "disk.qcow2").write_bytes(os.urandom(3 * PAGE))
        (folder / "layer.ext4").write_bytes(os.urandom(PAGE))
        (folder / "serial.log").write_text(f"{name} login:\n")
        (folder / "journal.jsonl").write_text("{}\n")
        commands = (
            "migrate-set-capabilities",
            "migrate-set-parameters",
            "stop",
            "migrate",
            "query-migrate",
            "cont",
            "migrate_cancel",
            "query-status",
            "query-cpus-fast",
            "qom-get",
        )
        self.qmp = FakeServer(folder / "qmp", {command: self._handler(command) for command in commands})

    def source(self, monitor: Monitor) -> Source:
        disk, serial, journal = (self.folder / name for name in ("disk.qcow2", "serial.log", "journal.jsonl"))
        rest = (serial, journal, None, (self.folder / "layer.ext4",))
        return Source(self.name, monitor, self.ram, disk, "/images/server", "ssh-ed25519 A", *rest)

    def write(self, page: int, content: bytes) -> None:
        """What the guest does to its memory while it runs."""
        with self.ram.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(content)

    def _handler(self, command: str) -> Callable[[dict[str, Any]], object]:
        does = getattr(self, "_" + command.replace("-", "_"), lambda _: {})

        def handle(arguments: dict[str, Any]) -> object:
            self.told.append(f"{self.name} {command}")
            self.given[command] = arguments
            return does(arguments)

        return handle

    def _stop(self, _: object) -> object:
        self.state = "paused"
        self.on_stop()
        return {}

    def _migrate(self, arguments: dict[str, Any]) -> object:
        self.qmp.content_to(arguments["uri"], b"QEVM" + self.name.encode())
        self.migration = "active"
        return {}

    def _query_migrate(self, _: object) -> object:
        told, self.migration = self.migration, self.outcome
        if told == "completed":
            self.state = "postmigrate"
        elif told == "failed":
            return {"status": told, "error-desc": "State blocked by non-migratable device 'virtio-fs'"}
        return {"status": told}

    def _migrate_cancel(self, _: object) -> object:
        self.migration = self.outcome = "cancelled"
        return {}

    def _cont(self, _: object) -> object:
        if self.refusals > 0:
            self.refusals -= 1
            raise Refused("Resetting the Virtual Machine is required")
        self.state = "running"
        return {}

    def _query_cpus_fast(self, _: object) -> object:
        return [{"qom-path": "/machine/unattached/device[0]"}]

    def _qom_get(self, arguments: dict[str, Any]) -> object:
        assert arguments["property"] == "type"
        return "pc-i440fx-10.0-machine" if arguments["path"] == "/machine" else "max-x86_64-cpu"

    def _query_status(self, _: object) -> object:
        return {"status": self.state, "running": self.state == "running"}


@dataclass
class Scene:
    vms: dict[str, Vm]
    sources: list[Source]
    folder: Path
    told: list[str]

    @property
    def server(self) -> Vm:
        return self.vms["server"]

    def monitor(self, name: str = "server") -> Monitor:
        return next(source.monitor for source in self.sources if source.name == name)

    def paths(self, *commands: str) -> list[int]:
        return [n for n, what in enumerate(self.told) if what.split()[1] in commands]

    def states(self) -> list[str]:
        return [vm.state for vm in self.vms.values()]

    async def save(self, limit: float = 10.0) -> dict[str, SavedMachine]:
        saved, paused = await save_machines(self.sources, self.folder, Deadline.after(limit))
        assert 0 < paused < limit
        return saved

    async def fails(self, kind: type[OrchestratorError] = SnapshotError, limit: float = 10.0) -> OrchestratorError:
        with pytest.raises(kind) as caught:
            await self.save(limit)
        return caught.value


@asynccontextmanager
async def staged(tmp_path: Path, *names: str) -> AsyncIterator[Scene]:
    told: list[str] = []
    folder = tmp_path / "snapshot"
    folder.mkdir(mode=0o700)
    vms = {name: Vm(tmp_path / name, name, told) for name in names or ("server",)}
    async with AsyncExitStack() as stack:
        sources = []
        for vm in vms.values():
            await stack.enter_async_context(vm.qmp.serving())
            monitor = await connect(vm.name, vm.qmp.path, Deadline.after(5))
            stack.push_async_callback(monitor.close)
            sources.append(vm.source(monitor))
        yield Scene(vms, sources, folder, told)
