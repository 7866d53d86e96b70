"""A save that fails is told with its reason, and all machines go on."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import CLOSE, Refused
from save_scene import staged
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError, OrchestratorError, SnapshotError
from orchestrator.snapshots import save as module
from orchestrator.snapshots.save import cont


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
            assert len(scene.paths("cont")) == 2

    run_simulated(scenario())


def test_no_room_for_the_disk_is_told_and_all_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            no_space_for(monkeypatch, "disk.qcow2")
            error = await scene.fails()
            assert error.what == "the snapshot could not be written"
            assert "No space left on device" in error.why
            assert error.where == (str(scene.folder),)
            assert scene.states() == ["running", "running"]

    run_simulated(scenario())


def test_no_room_for_the_memory_stops_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            no_space_for(monkeypatch, "ram")
            error = await scene.fails()
            assert "No space left on device" in error.why
            assert scene.paths("stop") == []
            assert scene.states() == ["running", "running"]

    run_simulated(scenario())


def test_a_machine_that_cannot_be_stopped_holds_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:

            def refuse(_: object) -> object:
                raise Refused("not now")

            scene.vms["client"].qmp.handlers["stop"] = refuse
            error = await scene.fails(MachineError)
            assert error.what == "QEMU of machine client refused stop"
            assert scene.paths("migrate") == []
            assert scene.states() == ["running", "running"]

    run_simulated(scenario())


def test_a_cancelled_save_lets_all_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            for vm in scene.vms.values():
                vm.outcome = "active"
            saving = asyncio.create_task(scene.save())
            limit = Deadline.after(5)
            while len(scene.paths("query-migrate")) < 4 and not limit.expired:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            assert scene.states() == ["paused", "paused"]
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
            assert scene.states() == ["running", "running"]
            assert scene.paths("cont") == [len(scene.told) - 2, len(scene.told) - 1]

    run_simulated(scenario())


def test_a_migration_that_never_ends_is_given_up_and_all_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            scene.server.outcome = "active"
            limit = Deadline.after(10)
            await scene.fails(OrchestratorError, limit=0.3)
            assert 0.25 < limit.elapsed < 1
            assert scene.states() == ["running", "running"]

    run_simulated(scenario())


def test_a_migration_that_never_ends_is_told_as_such(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.outcome = "active"
            error = await scene.fails(SnapshotError, limit=0.2)
            assert error.what == "QEMU did not save machine server within 0 s"

    run_simulated(scenario())


def test_no_migration_goes_on_behind_a_save_that_was_given_up(tmp_path: Path) -> None:
    """QEMU stops the machine at the end of a migration, also one that nobody waits for any more."""

    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.outcome = "active"
            await scene.fails(OrchestratorError, limit=0.2)
            assert scene.server.migration != "active"

    run_simulated(scenario())


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

    run_simulated(scenario())


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

    run_simulated(scenario())


def test_a_machine_that_is_lost_keeps_no_other_from_going_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            scene.server.qmp.handlers["query-migrate"] = lambda _: CLOSE
            scene.vms["client"].refusals = 7  # it needs another moment
            error = await scene.fails(MachineError)
            assert "machine server is lost" in error.what
            assert scene.vms["client"].state == "running"

    run_simulated(scenario())


# ------------------------------------------------------------------ going on


def test_a_refused_cont_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.state, scene.server.refusals = "finish-migrate", 5
            limit = Deadline.after(5)
            await cont(scene.monitor())
            assert limit.elapsed < 1
            assert scene.server.state == "running"
            assert len(scene.paths("cont")) == 6

    run_simulated(scenario())


def test_a_machine_that_runs_already_has_gone_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.refusals = 1000
            limit = Deadline.after(5)
            await cont(scene.monitor())
            assert limit.elapsed < 0.5
            assert 1 <= len(scene.paths("cont")) < 10

    run_simulated(scenario())


def test_a_machine_that_does_not_go_on_is_told_with_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONT_TRIES", 5)

    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            scene.server.state, scene.server.refusals = "postmigrate", 1000
            with pytest.raises(MachineError, match="machine server does not continue") as caught:
                await cont(scene.monitor())
            assert caught.value.why == "QEMU refuses cont; its state is postmigrate"
            assert caught.value.subject == "server"
            assert len(scene.paths("cont")) == 5

    run_simulated(scenario())
