"""Saving machines, over fake QMP servers and real files: one moment for all, and they go on whatever happens."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_qemu import CLOSE, FakeServer, Refused, run_async

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError, OrchestratorError, SnapshotError
from orchestrator.snapshots import save as module
from orchestrator.snapshots.manifest import SavedMachine, files_of
from orchestrator.snapshots.memory import MIB, digest, touched
from orchestrator.snapshots.save import CAPABILITIES, Source, go_on, save_machines
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
        (folder / "serial.log").write_text(f"{name} login:\n")
        (folder / "journal.jsonl").write_text("{}\n")
        commands = ("migrate-set-capabilities", "migrate-set-parameters", "stop", "migrate", "query-migrate", "cont",
                    "migrate_cancel", "query-status")  # fmt: skip
        self.qmp = FakeServer(folder / "qmp", {command: self._handler(command) for command in commands})

    def source(self, monitor: Monitor) -> Source:
        disk, serial, journal = (self.folder / name for name in ("disk.qcow2", "serial.log", "journal.jsonl"))
        return Source(self.name, monitor, self.ram, disk, "/images/server", "ssh-ed25519 A", serial, journal)

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

    def places(self, *commands: str) -> list[int]:
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


def test_all_machines_are_stopped_before_any_is_saved_and_go_on_when_all_are(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            await scene.save()
            prepared = scene.places("migrate-set-capabilities", "migrate-set-parameters")
            stopped, saved, ended = scene.places("stop"), scene.places("migrate"), scene.places("query-migrate")
            assert [len(prepared), len(stopped), len(saved)] == [4, 2, 2]
            assert max(prepared) < min(stopped), "what may be slow or refused comes while they run"
            assert max(stopped) < min(saved)
            assert scene.places("cont") == [len(scene.told) - 2, len(scene.told) - 1]
            assert max(ended) < min(scene.places("cont"))
            assert scene.states() == ["running", "running"]
            given = scene.server.given
            assert given["migrate-set-capabilities"] == CAPABILITIES
            assert given["migrate-set-parameters"]["max-bandwidth"] >= 1 << 36, "QEMU's own limit is 128 MiB/s"
            assert files_of(scene.folder, "server").state.read_bytes() == b"QEVMserver"
            assert files_of(scene.folder, "server").state.stat().st_mode & 0o077 == 0

    run_async(scenario())


def test_what_is_saved_is_described_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            saved = await scene.save()
            assert list(saved) == ["server", "client"]
            for name, one in saved.items():
                files, vm = files_of(scene.folder, name), scene.vms[name]
                assert (one.ram, one.state, one.disk) == (digest(files.ram), digest(files.state), digest(files.disk))
                assert files.ram.read_bytes() == vm.ram.read_bytes()
                assert files.disk.read_bytes() == (vm.folder / "disk.qcow2").read_bytes()
                assert files.state.read_bytes() == b"QEVM" + name.encode()
                assert PAGE <= touched(files.ram) < MIB, "what the guest never wrote is a hole in the copy too"
                assert (one.image, one.host_key) == ("/images/server", "ssh-ed25519 A")
            assert saved["server"].ram != saved["client"].ram

    run_async(scenario())


def test_nobody_else_can_read_a_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            before = os.umask(0)
            try:
                await scene.save()
            finally:
                os.umask(before)
            folder = scene.folder / "server"
            assert folder.stat().st_mode & 0o777 == 0o700
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
            names = ("ram", "state", "disk.qcow2", "serial.log", "journal.jsonl")
            assert modes == dict.fromkeys(names, 0o600)
            assert files_of(scene.folder, "server").serial.read_text() == "server login:\n"

    run_async(scenario())


def test_a_machine_that_never_said_anything_has_no_logs_to_save(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            (scene.server.folder / "journal.jsonl").unlink()
            (scene.server.folder / "serial.log").unlink()
            await scene.save()
            assert sorted(p.name for p in (scene.folder / "server").iterdir()) == ["disk.qcow2", "ram", "state"]

    run_async(scenario())


def test_what_the_guest_wrote_until_it_stood_still_is_in_the_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            vm, copy = scene.server, files_of(scene.folder, "server").ram
            seen: list[bytes] = []

            def last_words() -> None:
                seen.append(copy.read_bytes())  # the first copy is complete
                vm.write(0, b"\x17" * PAGE)
                vm.write(100, b"\x18" * PAGE)

            vm.on_stop = last_words
            saved = await scene.save()
            assert len(seen[0]) == 2 * MIB
            assert seen[0] != copy.read_bytes()
            assert copy.read_bytes() == vm.ram.read_bytes()
            assert saved["server"].ram == digest(vm.ram)

    run_async(scenario())


# ------------------------------------------------------------------ what fails


def no_space_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def copy(source: Path, target: Path, *, again: bool = False) -> int:
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return real(source, target, again=again)

    real = module.copy_sparse
    monkeypatch.setattr(module, "copy_sparse", copy)


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_migration_that_fails_says_what_qemu_says_and_all_go_on(tmp_path: Path, outcome: str) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            scene.server.outcome = outcome
            error = await scene.fails()
            assert error.what == "QEMU could not save machine server"
            assert error.subject == "server"
            assert {"failed": "non-migratable device 'virtio-fs'", "cancelled": "'cancelled'"}[outcome] in error.why
            assert "docs/snapshots.md" in error.hint
            assert scene.states() == ["running", "running"]
            assert len(scene.places("cont")) == 2

    run_async(scenario())


def test_no_room_for_the_disk_is_told_and_all_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            no_space_for(monkeypatch, "disk.qcow2")
            error = await scene.fails()
            assert error.what == "the snapshot could not be written"
            assert "No space left on device" in error.why
            assert error.where == (str(scene.folder),)
            assert scene.states() == ["running", "running"]

    run_async(scenario())


def test_no_room_for_the_memory_stops_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            no_space_for(monkeypatch, "ram")
            error = await scene.fails()
            assert "No space left on device" in error.why
            assert scene.places("stop") == []
            assert scene.states() == ["running", "running"]

    run_async(scenario())


def test_a_machine_that_cannot_be_stopped_holds_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:

            def refuse(_: object) -> object:
                raise Refused("not now")

            scene.vms["client"].qmp.handlers["stop"] = refuse
            error = await scene.fails(MachineError)
            assert error.what == "QEMU of machine client refused stop"
            assert scene.places("migrate") == []
            assert scene.states() == ["running", "running"]

    run_async(scenario())


def test_a_cancelled_save_lets_all_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            for vm in scene.vms.values():
                vm.outcome = "active"
            saving = asyncio.create_task(scene.save())
            limit = Deadline.after(5)
            while len(scene.places("query-migrate")) < 4 and not limit.expired:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            assert scene.states() == ["paused", "paused"]
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
            assert scene.states() == ["running", "running"]
            assert scene.places("cont") == [len(scene.told) - 2, len(scene.told) - 1]

    run_async(scenario())


def test_a_migration_that_never_ends_is_given_up_and_all_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            scene.server.outcome = "active"
            limit = Deadline.after(10)
            await scene.fails(OrchestratorError, limit=0.3)
            assert 0.25 < limit.elapsed < 1
            assert scene.states() == ["running", "running"]

    run_async(scenario())


def test_a_migration_that_never_ends_is_told_as_such(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.outcome = "active"
            error = await scene.fails(SnapshotError, limit=0.2)
            assert error.what == "QEMU did not save machine server within 0 s"

    run_async(scenario())


def test_no_migration_goes_on_behind_a_save_that_was_given_up(tmp_path: Path) -> None:
    """QEMU stops the machine at the end of a migration, also one that nobody waits for any more."""

    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.outcome = "active"
            await scene.fails(OrchestratorError, limit=0.2)
            assert scene.server.migration != "active"

    run_async(scenario())


def test_a_device_that_forbids_it_is_told_as_such(tmp_path: Path) -> None:
    """QEMU refuses the command itself where a device blocks migration."""

    async def scenario() -> None:
        async with staged(tmp_path) as scene:

            def refuse(_: object) -> object:
                raise Refused("Migration is disabled when VirtFS export path '/x' is mounted in the guest")

            scene.server.qmp.handlers["migrate"] = refuse
            error = await scene.fails(SnapshotError)
            assert "VirtFS export path '/x'" in error.why
            assert "9p" in error.hint
            assert scene.states() == ["running"]

    run_async(scenario())


@pytest.mark.parametrize("what", ["a folder of that name", "the logs"])
def test_whatever_cannot_be_written_is_a_snapshot_error(tmp_path: Path, what: str) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            if what == "the logs":
                scene.sources = [replace(scene.sources[0], serial=tmp_path)]  # a folder cannot be copied
            else:
                (scene.folder / "server").touch()
            error = await scene.fails()
            assert error.what == "the snapshot could not be written"
            assert scene.states() == ["running"]

    run_async(scenario())


def test_a_machine_that_is_lost_keeps_no_other_from_going_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            scene.server.qmp.handlers["query-migrate"] = lambda _: CLOSE
            scene.vms["client"].refusals = 7  # it needs another moment
            error = await scene.fails(MachineError)
            assert "machine server is lost" in error.what
            assert scene.vms["client"].state == "running"

    run_async(scenario())


# ------------------------------------------------------------------ going on


def test_a_refused_cont_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.state, scene.server.refusals = "finish-migrate", 5
            limit = Deadline.after(5)
            await go_on(scene.monitor())
            assert limit.elapsed < 1
            assert scene.server.state == "running"
            assert len(scene.places("cont")) == 6

    run_async(scenario())


def test_a_machine_that_runs_already_has_gone_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.refusals = 1000
            limit = Deadline.after(5)
            await go_on(scene.monitor())
            assert limit.elapsed < 0.5
            assert 1 <= len(scene.places("cont")) < 10

    run_async(scenario())


def test_a_machine_that_does_not_go_on_is_told_with_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONT_TRIES", 5)

    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.state, scene.server.refusals = "postmigrate", 1000
            with pytest.raises(MachineError, match="machine server does not go on") as caught:
                await go_on(scene.monitor())
            assert caught.value.why == "QEMU refuses cont; its state is postmigrate"
            assert caught.value.subject == "server"
            assert len(scene.places("cont")) == 5

    run_async(scenario())
